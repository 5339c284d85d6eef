#!/usr/bin/env bash
# Runs the weft program over broken_jobs.txt: each case ends soon with exit code 2 and one message
# that says where and what to do, on one process and, with --mpi, for its cases under mpirun -n 2,
# where the message appears once and no rank stays behind.
set -uo pipefail
mpi=0
[[ ${1:-} == --mpi ]] && mpi=1
table="$(dirname "${BASH_SOURCE[0]}")/broken_jobs.txt"
: "${WEFT_BINARY:?}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
mesh=data:1
((mpi)) && mesh=data:2

cat >"$W/good_job.pbtxt" <<EOF
name: "good"
model { decoder { layers: 2 hidden: 32 heads: 4 kv_heads: 2 ffn: 64 vocab: 256 } }
data { text: "$W/text.txt" tokenizer: BYTES sequence: 32 }
mesh: "data:1"
train { steps: 50 global_batch: 8 microbatches: 1 seed: 1 }
optimizer { adamw { lr: 1e-3 beta1: 0.9 }
  schedule { warmup_steps: 10 decay: COSINE } }
EOF
sed -i "s/data:1/$mesh/" "$W/good_job.pbtxt"
cat >"$W/good_graph.pbtxt" <<'EOF'
name: "good"
inputs { name: "tokens" value { type: "i32[8,32]" annotation: "[data:S(0)]" } }
inputs { name: "targets" value { type: "i32[8,32]" annotation: "[data:S(0)]" } }
inputs { name: "loss_scale" value { type: "f32[]" rate: STEP } }
variables { name: "embedding" value { type: "f32[256,32]" }
  init_op: "random_normal"
  init_attrs { key: "shape" value { ints { values: 256 values: 32 } } }
  init_attrs { key: "stddev" value { f: 0.1 } }
  trainable: true }
#
#
variables { name: "head" value { type: "f32[256,32]" }
  init_op: "random_normal"
  init_attrs { key: "shape" value { ints { values: 256 values: 32 } } } # head
  init_attrs { key: "stddev" value { f: 0.1 } }
  trainable: true }
#
#
nodes { name: "hidden" op: "embedding" inputs: "tokens" inputs: "embedding" }
nodes { name: "logits" op: "head_cross_entropy" inputs: "hidden" inputs: "head" inputs: "targets" outputs { name: "lse" } outputs { name: "target_logit" } }
nodes { name: "sum" op: "token_loss" inputs: "lse" inputs: "target_logit" inputs: "targets" inputs: "loss_scale" }
outputs { name: "loss" value: "sum" }
EOF
cat >"$W/good_rows_job.pbtxt" <<EOF
name: "rows"
model { graph_file: "$W/good_rows_graph.pbtxt" }
data { input: "x" csv: "$W/rows.csv" columns: "a" columns: "b" }
data { input: "y" array: "$W/y.f32" type: "f32[6,1]" }
mesh: "$mesh"
train { steps: 3 global_batch: 4 }
optimizer { sgd { lr: 0.1 } }
EOF
cat >"$W/good_rows_graph.pbtxt" <<'EOF'
inputs { name: "x" value { type: "f32[4,2]" annotation: "[data:S(0)]" } }
inputs { name: "y" value { type: "f32[4,1]" } }
variables { name: "w" value { type: "f32[2,1]" }
  init_op: "random_normal"
  init_attrs { key: "shape" value { ints { values: 2 values: 1 } } }
  trainable: true }
nodes { name: "p" op: "einsum" inputs: "x" inputs: "w" attrs { key: "equation" value { s: "bi,io->bo" } } }
nodes { name: "d" op: "sub" inputs: "p" inputs: "y" }
nodes { name: "q" op: "square" inputs: "d" }
nodes { name: "m" op: "reduce_mean" inputs: "q" attrs { key: "axes" value { ints { values: 0 values: 1 } } } }
outputs { name: "loss" value: "m" }
EOF
printf '%s\n' a,b,c 1,2,3 4,5,6 7,8,9 1,1,1 2,2,2 0,-1,.5 >"$W/rows.csv"
sed '3s/5/abc/' "$W/rows.csv" >"$W/word.csv"
sed '4s/7/nan/' "$W/rows.csv" >"$W/nan.csv"
sed '2s/2//' "$W/rows.csv" >"$W/gap.csv"
sed '4s/,9//' "$W/rows.csv" >"$W/ragged.csv"
sed '3s/.*//' "$W/rows.csv" >"$W/blank.csv"
sed '2s/2/"2/' "$W/rows.csv" >"$W/quote.csv"
sed 1q "$W/rows.csv" >"$W/header.csv"
head -c 24 /dev/zero >"$W/y.f32"
head -c 20 /dev/zero >"$W/y5.f32"
printf '\223NUMPY\001\000\166\000{' >"$W/cut.npy"
printf "\\223NUMPY\\001\\000\\100\\000{'descr': '<f4', 'fortran_order': True, 'shape': (6, 1), }%*s" 6 "" >"$W/fortran.npy"
mkdir "$W/folder"
: >"$W/empty.txt"
printf 'too short' >"$W/short.txt"
for _ in {1..200}; do printf 'The quick brown fox jumps over the lazy dog. '; done >"$W/text.txt"
awk 'BEGIN { srand(7); for (i = 0; i < 4000; ++i) printf "%c", 1 + int(rand() * 255) }' >"$W/random.bin"
head -c 3000 /dev/zero >"$W/zeros.bin"
head -c 2000000 /dev/zero | tr '\0' '#' >"$W/huge.pbtxt"
awk 'BEGIN { for (i = 0; i < 20000; ++i) printf "model { " }' >"$W/deep.pbtxt"
awk 'BEGIN { for (i = 0; i < 20000; ++i) printf "[" }' >"$W/deep_known.pbtxt"
awk 'BEGIN { for (i = 0; i < 20000; ++i) printf "nodes { " }' >"$W/deep_graph.pbtxt"
# 4000 tokens of 16 bits; number 7 is 60000.
{ head -c 14 /dev/zero; printf '\140\352'; head -c 7984 /dev/zero; } >"$W/big.u16"
{ cat "$W/big.u16"; printf 'x'; } >"$W/odd.u16"
# llm.c: magic 20240520, version 1, a count of 9999 tokens and none of them.
{ printf '\210\330\064\001\001\000\000\000\017\047\000\000'; head -c 1012 /dev/zero; } >"$W/damaged.bin"
gzip -c "$W/text.txt" | head -c 60 >"$W/damaged.gz"

failed=0
count=0
fail() {  # fail NAME WHAT
  echo "FAILED $1: $2" >&2
  sed 's/^/    /' "$W/err" >&2
  failed=1
}

check() {  # check NAME WORDS COMMAND...
  local name=$1 words=$2 code word messages
  shift 2
  timeout 30 "$@" </dev/null >"$W/out" 2>"$W/err"
  code=$?
  ((++count))
  [[ $code == 2 ]] || fail "$name" "exit code $code, expected 2"
  messages=$(grep -ac '^weft: ' "$W/err")
  [[ $messages == 1 ]] || fail "$name" "$messages messages, expected one"
  # Nothing but the message; mpirun adds banners of its own.
  if ((!mpi)) && [[ $(wc -l <"$W/err") != 1 ]]; then fail "$name" "more than the message"; fi
  if grep -qE 'INTERNAL|INVALID_ARGUMENT|Check failed|\*\*\* |weft\.Job|terminate called' "$W/err"; then
    fail "$name" "words for developers"
  fi
  while IFS= read -r word; do
    [[ -z $word ]] && continue
    grep -qaF -- "${word//\$W/$W}" <(grep -a '^weft: ' "$W/err") || fail "$name" "it does not say: $word"
  done < <(sed 's/ ~ /\n/g' <<<"$words")
}

while IFS= read -r line; do
  [[ -z $line || $line == \#* ]] && continue
  IFS='|' read -r name command script arguments words < <(sed 's/ *| */|/g' <<<"$line")
  if [[ $command == mpi:* ]]; then command=${command#mpi:}; elif ((mpi)); then continue; fi
  script=${script//\$W/$W}
  job="$W/job.pbtxt"
  graph="$W/graph.pbtxt"
  # The folder of $W in column numbers does not matter: no case counts columns behind it.
  if [[ $command == rows:* ]]; then
    command=${command#rows:}
    sed "$script" "$W/good_rows_job.pbtxt" >"$job"
  elif [[ $command == graph:* ]]; then
    command=${command#graph:}
    if [[ $script == @* ]]; then graph="$W/${script#@}"; else sed "$script" "$W/good_graph.pbtxt" >"$graph"; fi
    sed "s#^model.*#model { graph_file: \"$graph\" }#" "$W/good_job.pbtxt" >"$job"
  elif [[ $script == @* ]]; then
    job="$W/${script#@}"
  else
    sed "${script//data:1/$mesh}" "$W/good_job.pbtxt" >"$job"
  fi
  read -r -a more <<<"${arguments//\$W/$W}"
  run=("$WEFT_BINARY" "$command" "$job" "${more[@]}")
  ((mpi)) && run=(mpirun -n 2 "${run[@]}")
  check "$name" "$words" "${run[@]}"
done <"$table"

# The good ones are good, or else the cases above prove nothing.
sed "s#^model.*#model { graph_file: \"$W/good_graph.pbtxt\" }#" "$W/good_job.pbtxt" >"$W/good_graph_job.pbtxt"
for job in good_job good_graph_job good_rows_job; do
  run=("$WEFT_BINARY" train "$W/$job.pbtxt" --set train.steps=2)
  ((mpi)) && run=(mpirun -n 2 "${run[@]}")
  timeout 60 "${run[@]}" >"$W/out" 2>"$W/err" || fail "$job" "a good job fails"
done
if ! command -v pgrep >/dev/null; then
  fail "ranks" "no pgrep to look for processes that stay behind; install procps"
elif pgrep -f "$W" >"$W/left"; then
  fail "ranks" "processes stay behind: $(tr '\n' ' ' <"$W/left")"
fi
echo "$count broken jobs"
exit $failed
