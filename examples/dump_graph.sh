#!/usr/bin/env bash
# Submits what dump_graph.cc writes: plans it, trains it on two ranks and on one, and compares.
# EXAMPLE is the program of dump_graph.cc, WEFT_BINARY the weft program.
set -euo pipefail
: "${EXAMPLE:?}" "${WEFT_BINARY:?}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

"$EXAMPLE" "$dir"
"$WEFT_BINARY" plan "$dir/job.pbtxt" >"$dir/plan"
"$WEFT_BINARY" train "$dir/job.pbtxt" --ranks 2 --metrics "$dir/two.jsonl"
# The graph names a mesh; without it, it takes the job's.
sed -i '/^meshes/d; s/annotation: "[^"]*"//' "$dir/graph.pbtxt"
"$WEFT_BINARY" train "$dir/job.pbtxt" --mesh data:1 --metrics "$dir/one.jsonl" \
  --set train.microbatches=1

value() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" "$2"; }
least=$(cat "$dir/least_loss")
paste <(value loss "$dir/one.jsonl") <(value loss "$dir/two.jsonl") | awk -v least="$least" '
  { difference = $1 - $2; if (difference < 0) difference = -difference
    if (difference > 1e-4 * $1) { print "step " NR ": " $1 " and " $2; bad = 1 }
    sum += $2; if (NR > 190) last += $2 / 10 }
  END {
    if (NR != 200) { print NR " steps"; exit 1 }
    print "least loss of a linear model " least ", last ten steps " last
    # A batch is a sample of the rows, so its loss is not exactly the mean over all.
    exit bad || last > 1.2 * least
  }'
metric=$(value mean_absolute_error "$dir/two.jsonl" | tail -1)
held_out=$(value eval_mean_absolute_error "$dir/two.jsonl" | tail -1)
echo "mean absolute error $metric, of held-out rows $held_out"
# The noise is 0.1 everywhere.
awk -v a="$metric" -v b="$held_out" 'BEGIN { exit !(a > 0.09 && a < 0.11 && b > 0.09 && b < 0.11) }'
