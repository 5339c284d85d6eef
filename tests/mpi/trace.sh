#!/usr/bin/env bash
# A trace of ranks that are processes: one file with the events of all, collectives with the bytes
# that metrics count.
set -euo pipefail
job="$WEFT_SOURCE_DIR/examples/jobs/tiny.pbtxt"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() { echo "$1" >&2; cat "$folder/err" >&2; exit 1; }

for case in "2 data:2" "4 data:2,model:2"; do
  read -r ranks mesh <<<"$case"
  rm -f "$folder"/*
  mpirun -n "$ranks" "$WEFT_BINARY" train "$job" --mesh "$mesh" --set train.steps=6 \
    --set data.sequence=32 --set checkpoint.dir= --metrics "$folder/metrics" \
    --trace "$folder/t.json" --trace-steps 3:4 2>"$folder/err"
  [[ $(ls "$folder") == "$(printf '%s\n' err metrics t.json)" ]] || fail "other files: $(ls "$folder")"
  for ((rank = 0; rank < ranks; ++rank)); do
    grep -q "\"process_name\",\"pid\":$rank," "$folder/t.json" || fail "no rank $rank"
  done
  for step in 3 4; do
    want=$(grep "\"step\":$step," "$folder/metrics" | grep -o '"bytes_sent":[0-9]*' | cut -d: -f2)
    got=$(grep "\"cat\":\"collective\".*\"step\":$step," "$folder/t.json" |
      grep -o '"bytes_sent":[0-9]*' | cut -d: -f2 | awk '{ sum += $1 } END { print sum }')
    [[ $want -gt 0 && $got == "$want" ]] || fail "step $step: $got bytes in the trace, $want sent"
  done
  grep -q '^weft: steps 3 to 4 are in ' "$folder/err" || fail "no summary"
  # By class of kernel: all rows add up to the step.
  command -v python3 >/dev/null || continue
  python3 "$WEFT_SOURCE_DIR/benchmarks/gpu/breakdown.py" "$folder/t.json" --gemm 0.05 --copy 10 --rank 1 \
    >"$folder/breakdown" 2>"$folder/err" || fail "no breakdown"
  [[ $(grep -c '^gap [123]: .* ms; closed by ' "$folder/err") == 3 ]] || fail "not three gaps"
  python3 - "$folder/breakdown" <<'PY' || fail "rows do not add up: $(cat "$folder/breakdown")"
import json, sys
result = json.load(open(sys.argv[1]))
total = sum(row["ms"] for row in result["classes"])
sys.exit(abs(total - result["step_ms"]) > 1e-6 * total or result["floor_ms"] <= 0)
PY
done
