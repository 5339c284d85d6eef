#!/usr/bin/env python3
"""Largest batch and longest sequence that fit a rank's memory, sequence against tensor parallel.

The tables of Sequence Parallelism (arXiv 2105.13120, section 4) at 1 to 8 ranks, by `weft plan`: a
plan names to the byte what a rank takes, so nothing has to run. Shapes of BERT Base and Large, 16 GB
a rank as the paper's P100s, fp32 with Adam, states whole on every rank (plan.shard_states: NEVER).

usage: sequence_memory.py [--weft build/release/bin/weft] [--ranks 1,2,4,8] [--json FILE]
"""
import argparse
import json
import subprocess
import sys
import tempfile

SHAPES = {
    "base": {"layers": 12, "hidden": 768, "heads": 12, "ffn": 3072, "vocab": 30522},
    "large": {"layers": 24, "hidden": 1024, "heads": 16, "ffn": 4096, "vocab": 30522},
}
MEMORY = 16 * 10**9
JOB = """name: "bert"
model {{ decoder {{ layers: {layers} hidden: {hidden} heads: {heads} ffn: {ffn} vocab: {vocab} norm: LAYER activation: GELU }} }}
data {{ tokens: "none.bin" sequence: {sequence} }}
mesh: "{mesh}"
train {{ steps: 1 global_batch: {batch} memory_bytes: {memory} }}
optimizer {{ adamw {{ lr: 1e-3 }} }}
plan {{ shard_states: NEVER {way} }}
"""


class Planner:
    def __init__(self, weft):
        self.weft = weft
        self.known = {}

    def memory(self, shape, mesh, batch, sequence):
        """Bytes of the fullest rank, or None if the plan is over the limit or refused."""
        key = (shape, mesh, batch, sequence)
        if key not in self.known:
            way = "sequence: RING" if mesh.startswith("seq") else ""
            text = JOB.format(mesh=mesh, way=way, batch=batch, sequence=sequence, memory=MEMORY, **SHAPES[shape])
            with tempfile.NamedTemporaryFile("w", suffix=".pbtxt") as job:
                job.write(text)
                job.flush()
                run = subprocess.run([self.weft, "plan", job.name, "--format", "json"],
                                     capture_output=True, text=True, check=False)
            if run.returncode != 0 and "memory" not in run.stderr:
                sys.exit(f"{mesh}, batch {batch}, sequence {sequence}: {run.stderr}")
            self.known[key] = None
            if run.returncode == 0:
                ranks = json.loads(run.stdout)["ranks"]
                self.known[key] = max(
                    r["memory"]["arena_bytes"] + r["memory"]["variable_bytes"] for r in ranks)
        return self.known[key]

    def most(self, fits, step):
        """The largest multiple of `step` that fits; 0 if none does."""
        low, high = 0, step
        while fits(high):
            low, high = high, 2 * high
        while high - low > step:
            middle = (low + high) // 2 // step * step
            if fits(middle):
                low = middle
            else:
                high = middle
        return low


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--weft", default="build/release/bin/weft")
    arguments.add_argument("--ranks", default="1,2,4,8")
    arguments.add_argument("--json")
    args = arguments.parse_args()
    planner = Planner(args.weft)
    rows = []
    for shape in SHAPES:
        for ranks in map(int, args.ranks.split(",")):
            for axis in ("seq", "model"):
                mesh = f"{axis}:{ranks}"
                batch = planner.most(lambda b: planner.memory(shape, mesh, b, 512), 1)
                length = planner.most(
                    lambda s: planner.memory(shape, mesh, 64 if shape == "base" else 16, s), 32)
                rows.append({"benchmark": "sequence_memory", "shape": shape, "mesh": mesh,
                             "batch_at_512": batch, "length": length})
                print(json.dumps(rows[-1]), flush=True)
    # Weak scaling: the sequence grows with the ranks; the paper's memory grows, by its S x S scores.
    for ranks in map(int, args.ranks.split(",")):
        used = planner.memory("base", f"seq:{ranks}", 16, 512 * ranks)
        rows.append({"benchmark": "weak_scaling", "shape": "base", "mesh": f"seq:{ranks}",
                     "batch": 16, "sequence": 512 * ranks, "bytes": used})
        print(json.dumps(rows[-1]), flush=True)
    if args.json:
        with open(args.json, "a", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)


main()
