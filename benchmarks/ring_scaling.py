#!/usr/bin/env python3
"""Ring attention on up to 64 H200 by `weft simulate`: what of a step its messages take in the open.

The mesh axis seq, tokens a rank, and query heads a key head vary; beside it the condition under which
hops hide behind blocks: forward c >= e F / (g W), backward with f32 gradients c >= 2.4 F / (g W), for c
tokens a rank, e bytes an element, F FLOP/s, g query heads a key head, W bytes/s of the slowest link of
the ring. On 64 ranks every ring passes from server to server.

usage: ring_scaling.py [--weft build/release/bin/weft] [--json FILE]
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile

CLUSTER = "examples/clusters/h200_nodes.pbtxt"
FLOPS, NODE, NETWORK = 6.5e14, 3.5e11, 4.5e10
JOB = """name: "ring"
model {{ decoder {{ layers: 4 hidden: 2048 heads: 16 kv_heads: {kv_heads} ffn: 5632 vocab: 32000 }} }}
data {{ tokens: "none.bin" sequence: {sequence} }}
mesh: "seq:{ranks}"
train {{ steps: 1 global_batch: 1 dtype: BF16 device: CUDA }}
optimizer {{ adamw {{ lr: 1e-3 }} }}
plan {{ sequence: RING }}
"""


def simulate(weft, ranks, tokens, kv_heads):
    with tempfile.NamedTemporaryFile("w", suffix=".pbtxt") as job:
        job.write(JOB.format(ranks=ranks, sequence=ranks * tokens, kv_heads=kv_heads))
        job.flush()
        run = subprocess.run([weft, "simulate", job.name, "--cluster", CLUSTER],
                             capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(run.stderr)
    step = float(re.search(r"step time\s+([\d.e+-]+) ms", run.stdout).group(1))
    exposed = float(re.search(r"exposed communication\s+([\d.e+-]+) ms", run.stdout).group(1))
    memory = int(re.search(r"planned memory\s+(\d+) bytes", run.stdout).group(1))
    return step, exposed, memory


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--weft", default="build/release/bin/weft")
    arguments.add_argument("--json")
    args = arguments.parse_args()
    rows = []
    print(f"{'ranks':>5} {'g':>2} {'tokens':>6} {'needed':>6} {'step ms':>9} {'exposed':>8} {'GB':>6}")
    for ranks in (8, 16, 64):
        link = NODE if ranks <= 8 else NETWORK
        for group in (1, 8):
            needed = 2.4 * FLOPS / (group * link)
            for tokens in (1024, 4096, 16384, 65536):
                step, exposed, memory = simulate(args.weft, ranks, tokens, 16 // group)
                rows.append({"benchmark": "ring_scaling", "ranks": ranks, "group": group,
                             "tokens": tokens, "needed": round(needed), "step_ms": step,
                             "exposed": exposed / step, "bytes": memory})
                print(f"{ranks:5} {group:2} {tokens:6} {needed:6.0f} {step:9.2f} "
                      f"{exposed / step:8.1%} {memory / 1e9:6.2f}", flush=True)
    if args.json:
        with open(args.json, "a", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)


main()
