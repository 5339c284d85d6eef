#!/usr/bin/env bash
# The tiny job under mpirun (2 to 4 ranks), with AdamW and LAMB, microbatches and a batch that no mesh
# divides, gives the curve of one rank within 1e-4.
set -euo pipefail
job="$WEFT_SOURCE_DIR/examples/jobs/tiny.pbtxt"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
common=(--set train.steps=4 --set data.sequence=32 --set checkpoint.dir=)

losses() { grep -o '"loss":[0-9.e+-]*' "$1" | cut -d: -f2; }

one() {  # one NAME SETS...: the curve of one rank
  "$WEFT_BINARY" train "$job" "${common[@]}" "${@:2}" --metrics "$folder/$1"
}
same() {  # same NAME RANKS MESH SETS...: the mesh gives the curve NAME
  local got="$folder/$1 on $3 ${*:4}"
  got=${got//[:=\{\}]/_}
  mpirun -n "$2" "$WEFT_BINARY" train "$job" --mesh "$3" "${common[@]}" "${@:4}" --metrics "$got"
  paste <(losses "$folder/$1") <(losses "$got") |
    awk -v name="$got" '
      { d = $1 - $2; if (d < 0) d = -d; if (d > 1e-4 * $1) { print name, "step", NR, $0; bad = 1 } }
      END { if (NR != 4) { print name ": " NR " steps"; bad = 1 } exit bad }'
}

one adamw
same adamw 2 data:2
same adamw 2 model:2
same adamw 4 data:2,model:2
same adamw 2 seq:2
same adamw 4 seq:4
same adamw 4 data:2,seq:2
same adamw 4 seq:2,model:2
for ranks in 3 4; do
  same adamw "$ranks" "data:$ranks"
  same adamw "$ranks" "model:$ranks"
done
# 3 microbatches do not divide 16 rows, nor 2 ranks 15.
same adamw 4 data:2,model:2 --set train.microbatches=3
lamb=(--set 'optimizer.lamb={lr: 1e-2 weight_decay: 0.01}')
one lamb "${lamb[@]}"
same lamb 4 data:2,model:2 "${lamb[@]}"
batch=(--set train.global_batch=15)
one batch "${batch[@]}"
same batch 4 data:2,model:2 "${batch[@]}"

# A bad job says so once, with exit code 2, and leaves nobody behind.
set +e
mpirun -n 2 "$WEFT_BINARY" train "$job" --mesh data:3 >"$folder/out" 2>"$folder/err"
code=$?
set -e
[[ $code == 2 ]] || { echo "exit code $code, want 2"; cat "$folder/err"; exit 1; }
[[ $(grep -c '^weft: ' "$folder/err") == 1 ]] || { echo "message not once"; cat "$folder/err"; exit 1; }
