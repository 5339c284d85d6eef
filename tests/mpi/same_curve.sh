#!/usr/bin/env bash
# The tiny job under mpirun (2 and 4 ranks) gives the curve of one rank within 1e-4.
set -euo pipefail
job="$WEFT_SOURCE_DIR/examples/jobs/tiny.pbtxt"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
common=(--set train.steps=4 --set data.sequence=32 --set checkpoint.dir=)

losses() { grep -o '"loss":[0-9.e+-]*' "$1" | cut -d: -f2; }

run() {  # run NAME RANKS MESH
  mpirun -n "$2" "$WEFT_BINARY" train "$job" --mesh "$3" "${common[@]}" --metrics "$folder/$1"
}

"$WEFT_BINARY" train "$job" "${common[@]}" --metrics "$folder/one"
run data2 2 data:2
run model2 2 model:2
run both 4 data:2,model:2
for name in data2 model2 both; do
  paste <(losses "$folder/one") <(losses "$folder/$name") |
    awk -v name="$name" '
      { d = $1 - $2; if (d < 0) d = -d; if (d > 1e-4 * $1) { print name, "step", NR, $0; bad = 1 } }
      END { if (NR != 4) { print name ": " NR " steps"; bad = 1 } exit bad }'
done

# A bad job says so once, with exit code 2, and leaves nobody behind.
set +e
mpirun -n 2 "$WEFT_BINARY" train "$job" --mesh data:3 >"$folder/out" 2>"$folder/err"
code=$?
set -e
[[ $code == 2 ]] || { echo "exit code $code, want 2"; cat "$folder/err"; exit 1; }
[[ $(grep -c '^weft: ' "$folder/err") == 1 ]] || { echo "message not once"; cat "$folder/err"; exit 1; }
