#!/usr/bin/env bash
# `weft bench comm` under mpirun: every result is right, the links of both axes are written, and plan
# and simulate read them.
set -euo pipefail
job="$WEFT_SOURCE_DIR/examples/jobs/tiny.pbtxt"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
links="$folder/links.pbtxt"

fail() { echo "$1"; cat "${@:2}"; exit 1; }

mpirun -n 4 "$WEFT_BINARY" bench comm --mesh data:2,model:2 -b 64 -e 256K -f 64 -n 3 -w 1 \
  --write-links "$links" >"$folder/out"
# 2 axes of 6 collectives of 3 sizes.
[[ $(grep -cE '^ +[0-9]+ +[0-9]+ +f32 ' "$folder/out") == 36 ]] || fail "not 36 rows" "$folder/out"
grep -q '^# wrong elements: 0$' "$folder/out" || fail "something is wrong" "$folder/out"
[[ $(grep -c '^group {' "$links") == 2 ]] || fail "not 2 groups" "$links"

mesh=(--mesh data:2,model:2)
"$WEFT_BINARY" plan "$job" "${mesh[@]}" --cluster "$links" >"$folder/plan"
grep -q 'measured along model of 2: ' "$folder/plan" || fail "not in the plan" "$folder/plan"
"$WEFT_BINARY" simulate "$job" "${mesh[@]}" --cluster "$links" --steps 1 >"$folder/simulated"
grep -q '^step time' "$folder/simulated" || fail "not simulated" "$folder/simulated"

# Results of one group of all ranks, as JSON.
mpirun -n 3 "$WEFT_BINARY" bench comm all_reduce broadcast -b 1K -e 1K -n 2 -d bf16 --json >"$folder/json"
[[ $(grep -c '"wrong":0.*"wrong":0' "$folder/json") == 2 ]] || fail "not 2 objects" "$folder/json"

# A mistake is told once, with exit code 2.
set +e
mpirun -n 2 "$WEFT_BINARY" bench comm "${mesh[@]}" >"$folder/out" 2>"$folder/err"
code=$?
set -e
[[ $code == 2 ]] || fail "exit code $code, want 2" "$folder/err"
[[ $(grep -c '^weft: --mesh data:2,model:2 has 4 places and there are 2 ranks' "$folder/err") == 1 ]] ||
  fail "message not once" "$folder/err"

# Links that have nowhere to go are refused before anything is measured.
set +e
mpirun -n 2 "$WEFT_BINARY" bench comm --write-links "$folder/none/links" >"$folder/out" 2>"$folder/err"
code=$?
set -e
[[ $code == 2 ]] || fail "exit code $code, want 2" "$folder/err"
[[ $(grep -c '^weft: --write-links: cannot write ' "$folder/err") == 1 ]] ||
  fail "message not once" "$folder/err"
[[ ! -s $folder/out ]] || fail "measured all the same" "$folder/out"
