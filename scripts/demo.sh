#!/usr/bin/env bash
# Trains a small language model on an English dictionary, on two ranks under mpirun, and shows what
# came of it. Installs and builds what is missing first. Needs no GPU. Results: runs/demo/.
#
#   scripts/demo.sh [further options of `weft train`, such as --set train.seed=2]
#
# MINUTES, MAX_MINUTES: train so long, then on until the model beats both yardsticks, but no longer
# than that (3, 12).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=${MINUTES:-3}
max_minutes=${MAX_MINUTES:-12}
job=examples/jobs/demo.pbtxt
dir=runs/demo
ranks=2

say() { printf '\n== %s\n' "$*"; }

say "Packages and build"
scripts/setup.sh dict-gcide
cmake --preset release >/dev/null
cmake --build --preset release --target weft demo_report -j"$(nproc)"
weft=build/release/bin/weft
report=build/release/bin/demo_report

# Without bf16 products in the CPU a smaller model in fp32 learns more in the same time.
overrides=()
if grep -qE 'amx_bf16|avx512_bf16' /proc/cpuinfo; then
  echo "this CPU multiplies bf16: training in bf16"
else
  echo "this CPU has no bf16 products: training a smaller model in fp32"
  overrides+=(--set train.dtype=F32 --set model.decoder.hidden=128 --set model.decoder.heads=2
    --set model.decoder.kv_heads=2 --set model.decoder.ffn=384)
fi
overrides+=("$@")

# Open MPI refuses root and more ranks than cores unless told otherwise.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
launch=(mpirun --oversubscribe --bind-to none -n "$ranks")

mkdir -p "$dir"
rm -rf "$dir"/checkpoint "$dir"/*.jsonl "$dir"/*.json "$dir"/*.svg "$dir"/*.txt

say "Yardsticks on the last 5 % of the text"
loss_to_beat=$("$report" yardsticks --job "$job" --dir "$dir" "${overrides[@]}")

say "Plan"
"$weft" plan "$job" --ranks "$ranks" "${overrides[@]}" >"$dir/plan.txt"
awk 'NR <= 3 { print }
  /^conversions/ { print ""; left = 8 }
  /^memory/ { left = 24 }
  /^channels/ { left = 0 }
  left > 0 { print; if (--left == 0) print "  ..." }' "$dir/plan.txt"
echo "... the whole plan: $dir/plan.txt"

# On a terminal, one line that follows the metrics file; weft's own line cannot pass mpirun as one.
follow() {
  local began=$SECONDS line
  while sleep 1; do
    line=$(tail -n 1 "$dir/metrics.jsonl" 2>/dev/null) || continue
    [[ $line =~ \"step\":([0-9]+),\"loss\":([0-9.]+) ]] || continue
    local step=${BASH_REMATCH[1]} loss=${BASH_REMATCH[2]} rate='' held=''
    [[ $line =~ \"tokens_per_s\":([0-9]+) ]] && rate=${BASH_REMATCH[1]}
    held=$(grep -o '"eval_loss":[0-9.]*' "$dir/metrics.jsonl" | tail -n 1 | cut -d: -f2) || true
    awk -v t=$((SECONDS - began)) -v s="$step" -v l="$loss" -v r="$rate" -v h="$held" 'BEGIN {
      printf "\r%d:%02d  step %d  loss %.3f bits per byte", t / 60, t % 60, s, l / log(2)
      if (h != "") printf "  held out %.3f", h / log(2)
      printf "  %d bytes/s\033[K", r }'
  done
}

say "Training for $minutes minutes, then on until it beats both (at most $max_minutes)"
train=("${launch[@]}" "$weft" train "$job" --minutes "$minutes" --max-minutes "$max_minutes"
  --until-eval-below "$loss_to_beat" --metrics "$dir/metrics.jsonl" "${overrides[@]}")
if [[ -t 1 ]]; then
  follow &
  follower=$!
  trap 'kill "$follower" 2>/dev/null || true' EXIT
  status=0
  "${train[@]}" 2> >(grep --line-buffered -vE '^step [0-9]+[/: ]' >&2) || status=$?
  kill "$follower" 2>/dev/null || true
  wait "$follower" 2>/dev/null || true
  trap - EXIT
  echo
  [[ $status -eq 0 ]] || exit "$status"
else
  "${train[@]}"
fi

# One more step, and then all of the held-out text: the run itself evaluates on its first part only.
say "Evaluation on the whole held-out part (about a minute)"
last=$(tail -n 1 "$dir/metrics.jsonl" | grep -o '"step":[0-9]*' | cut -d: -f2)
"${launch[@]}" "$weft" train "$job" --resume --metrics "$dir/whole.jsonl" "${overrides[@]}" \
  --set train.steps=$((last + 1)) --set evaluate.every=1 --set evaluate.batches=0

say "A sample: \"A house is\" and what the model makes of it"
"$weft" generate --checkpoint "$dir/checkpoint" --prompt "A house is" --tokens 300 \
  --temperature 0.7 --seed 1 | tee "$dir/sample.txt"

say "Result"
"$report" report --job "$job" --dir "$dir" "${overrides[@]}"
