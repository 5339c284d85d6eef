"""Where the time of a traced step goes, by class of kernel, each beside its floor.

  breakdown.py TRACE.json --gemm TFLOP/S --copy GB/S [--attention TFLOP/S] [--attention-grad TFLOP/S]
               [--rank 0] [--label TEXT]

The trace is one of `weft train --trace` (docs/traces.md). A kernel's floor is the larger of its bytes over
the rate of a copy (--copy, reads and writes together) and, for classes that multiply matrices, its FLOPs
over the sustained rate of products (--gemm; attention has its own rates, by default that of products). What
is no kernel has the floor 0: exposed communication (computation stands still while ranks communicate), the
host (the device may have waited for it: at most so long) and idle time. All rows add up to the step.

Prints one JSON line on stdout; a table, and the three largest gaps with what would close them, on stderr.
Looks at whole steps with all gaps: from the first kernel of the first traced step to that of the last, or,
where one step was traced, to its end.
"""

import argparse
import json
import sys

PRODUCTS = ("contraction", "head", "attention", "attention_grad")

REMEDIES = {
    "contraction": "other algorithms and tiles for these shapes, and fewer, larger products",
    "head": "larger pieces of logits, and the softmax in the product's epilogue",
    "attention": "an attention kernel tuned to this head size and length",
    "attention_grad": "an attention gradient tuned to this head size and length",
    "norm": "fusing norms with the residual add before or the product behind them",
    "embedding": "gathering and scattering whole rows in wider loads",
    "optimizer": "one launch for many variables, and narrower states",
    "pointwise": "fusing them into the kernels before or behind, so that values are not read again",
    "reduction": "fusing them into the kernels that write what they read",
    "movement": "layouts that need no copy",
    "random": "fusing it into its reader",
    "exposed communication": "earlier and smaller pieces that travel under computation, or faster links",
    "host": "fewer launches, or a captured step: the host enqueues too slowly",
    "idle": "fewer and longer kernels, or a captured step: gaps between launches",
}


def merged(intervals):
    """The same moments as disjoint intervals in order."""
    result = []
    for begin, end in sorted(intervals):
        if result and begin <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        elif end > begin:
            result.append([begin, end])
    return result


def length(intervals):
    return sum(end - begin for begin, end in intervals)


def common(a, b):
    """Time in both of two lists of disjoint intervals in order."""
    total, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        total += max(0.0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return total


def floor_us(kind, args, rates):
    by_bytes = args.get("bytes", 0) / (rates.copy * 1e3)
    if kind not in PRODUCTS:
        return by_bytes
    rate = {"attention": rates.attention, "attention_grad": rates.attention_grad}.get(kind) or rates.gemm
    return max(by_bytes, args.get("flops", 0) / (rate * 1e6))


def break_down(trace, rates):
    events = [e for e in trace["traceEvents"]
              if e["ph"] == "X" and e["cat"] != "actor" and e["pid"] == rates.rank]
    kernels = [e for e in events if e["cat"] == "kernel"]
    if not kernels:
        raise SystemExit(f"breakdown.py: the trace has no kernels of rank {rates.rank}")
    steps = sorted({e["args"]["step"] for e in kernels})
    begin = min(e["ts"] for e in kernels if e["args"]["step"] == steps[0])
    end = (min(e["ts"] for e in kernels if e["args"]["step"] == steps[-1]) if len(steps) > 1
           else max(e["ts"] + e["dur"] for e in kernels))
    count = max(len(steps) - 1, 1)

    def clipped(event):
        return max(begin, event["ts"]), min(end, event["ts"] + event["dur"])

    rows, host = {}, 0.0
    for event in kernels:
        first, last = clipped(event)
        if last <= first:
            continue
        args = event["args"]
        kind = "attention_grad" if args["op"] == "attention_grad" else args["kind"]
        held = min(args.get("host_bound_us", 0.0), last - first)
        host += held
        row = rows.setdefault(kind, {"calls": 0, "ms": 0.0, "floor_ms": 0.0})
        row["calls"] += 1
        row["ms"] += (last - first - held) / 1e3
        row["floor_ms"] += floor_us(kind, args, rates) / 1e3
    computes = merged(map(clipped, kernels))
    collectives = [e for e in events if e["cat"] == "collective" and e["args"]["bytes"] > 0]
    communicates = merged(map(clipped, collectives))
    exposed = length(communicates) - common(communicates, computes)
    idle = end - begin - length(computes) - exposed
    for kind, us in (("exposed communication", exposed), ("host", host), ("idle", idle)):
        rows[kind] = {"calls": 0, "ms": us / 1e3, "floor_ms": 0.0}
    classes = []
    for kind, row in rows.items():
        row = {"class": kind, "calls": row["calls"] / count, "ms": row["ms"] / count,
               "floor_ms": row["floor_ms"] / count}
        row["gap_ms"] = row["ms"] - row["floor_ms"]
        classes.append(row)
    classes.sort(key=lambda row: -row["ms"])
    gaps = sorted(classes, key=lambda row: -row["gap_ms"])[:3]
    inside = [e for e in collectives if begin <= e["ts"] < end]
    result = {
        "breakdown": rates.label or trace["otherData"]["mesh"], "rank": rates.rank, "steps": count,
        "step_ms": (end - begin) / 1e3 / count,
        "floor_ms": sum(row["floor_ms"] for row in classes),
        # Neither computation nor communication, and what the host may have cost.
        "gpu_idle": (idle + host) / (end - begin),
        "compute_idle": (idle + host + exposed) / (end - begin),
        "communication_ms": length(communicates) / 1e3 / count,
        "bytes_sent": sum(e["args"]["bytes_sent"] for e in inside) / count,
        "classes": classes,
        "gaps": [{"class": row["class"], "gap_ms": row["gap_ms"],
                  "closed_by": REMEDIES.get(row["class"], "a look at its kernels")} for row in gaps],
    }
    return result


def print_table(result):
    say = lambda text: print(text, file=sys.stderr)
    say(f"{result['breakdown']}, rank {result['rank']}: {result['step_ms']:.2f} ms a step, "
        f"floor {result['floor_ms']:.2f} ms, GPU idle {100 * result['gpu_idle']:.2f} %")
    say(f"{'class':<22} {'calls':>7} {'ms':>9} {'share':>7} {'floor':>9} {'gap':>9} {'ms/floor':>9}")
    for row in result["classes"]:
        times = f"{row['ms'] / row['floor_ms']:9.2f}" if row["floor_ms"] > 0 else f"{'':>9}"
        say(f"{row['class']:<22} {row['calls']:7.0f} {row['ms']:9.3f} "
            f"{100 * row['ms'] / result['step_ms']:5.1f} % {row['floor_ms']:9.3f} {row['gap_ms']:9.3f} {times}")
    for i, gap in enumerate(result["gaps"], 1):
        say(f"gap {i}: {gap['class']}, {gap['gap_ms']:.3f} ms; closed by {gap['closed_by']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace")
    parser.add_argument("--gemm", type=float, required=True, help="sustained TFLOP/s of matrix products")
    parser.add_argument("--copy", type=float, required=True, help="GB/s of a copy, read and written")
    parser.add_argument("--attention", type=float, help="TFLOP/s of attention forward")
    parser.add_argument("--attention-grad", type=float, help="TFLOP/s of its gradient")
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--label", help="what the result is called; by default the mesh")
    rates = parser.parse_args()
    if min(rate for rate in (rates.gemm, rates.copy, rates.attention or 1, rates.attention_grad or 1)) <= 0:
        parser.error("rates must be above 0")
    try:
        with open(rates.trace) as file:
            trace = json.load(file)
    except (OSError, ValueError) as error:
        parser.error(f"cannot read {rates.trace}: {error}")
    result = break_down(trace, rates)
    print_table(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
