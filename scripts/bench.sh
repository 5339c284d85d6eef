#!/usr/bin/env bash
# Runs the CPU benchmarks on this machine and writes their JSON lines, headed by one that names machine,
# date and commit, to benchmarks/results/. Installs and builds what is missing first. Best on a machine
# that does nothing else; each figure stands beside a peer or a limit measured in the same run.
#
#   scripts/bench.sh [name of the results file, by default date and CPU]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh libcaf-dev
cmake --preset release >/dev/null
cmake --build --preset release --target bench_step bench_actors bench_comm bench_compile -j"$(nproc)"
bin=build/release/bin

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
date=$(date -u +%F)
name=${1:-$date-$(tr -cs 'A-Za-z0-9\n' '-' <<<"${cpu:-cpu}" | sed 's/-*$//')}
out=benchmarks/results/$name.jsonl
mkdir -p benchmarks/results
dirty=$(git status --porcelain -uno | head -n 1)
printf '{"machine": "%s", "cores": %d, "date": "%s", "commit": "%s%s"}\n' \
  "$cpu" "$(nproc)" "$date" "$(git rev-parse --short HEAD)" "${dirty:+ with changes}" >"$out"

# One thread per rank, as ranks run.
export OMP_NUM_THREADS=1
runs=(
  "bench_step --dtype F32" "bench_step --dtype BF16" bench_actors bench_comm bench_compile
  "bench_compile --layers 96 --mesh pod:2,data:2,model:2"
  "bench_compile --job examples/jobs/decoder_175b.pbtxt --cluster examples/clusters/gpu_nodes.pbtxt"
)
failed=0
for run in "${runs[@]}"; do
  echo "== $run"
  # shellcheck disable=SC2086
  $bin/$run | tee -a "$out" || { echo "bench: $run failed" >&2; failed=1; }
done
echo "written to $out"
exit $failed
