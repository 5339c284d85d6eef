#!/usr/bin/env bash
# Tests and measures weft's CUDA backend on this machine's GPUs, in one call of a few minutes. Prints a
# JSON line for each result, and at the end a table of them.
#
#   benchmarks/gpu.sh [--only PART,...] [--output FILE] [--decoder-steps N]
#
#   tests     the programs of label gpu
#   sanitize  compute-sanitizer's memcheck and racecheck over the tests of kernels
#   curve     the losses of examples/jobs/tiny.pbtxt (fp32) on one GPU, and on two where there are two
#             (data:2 and model:2, as threads of one process and under mpirun where there is one),
#             each against the CPU's: the largest relative difference over the steps, which may be 1e-4
#   kernels   each kernel of the decoder's step beside its floor, products untuned and tuned
#   decoder   examples/jobs/decoder_1b.pbtxt on random tokens: tokens a second and MFU, the median of
#             the steps after the tenth, with the algorithms of products chosen by measuring and, as
#             untuned_*, by the library's first guess; beside it PyTorch on the same GPUs, where it is
#             installed
#   trace     a traced run of the decoder: where the time of a step goes by class of kernel beside its floor,
#             the three largest gaps, how long the GPU is idle, and what tracing costs. The traces lie beside
#             FILE. Floors are by the rates of this run's parts kernels and ceilings, or else measured anew
#   small     a model of 4 layers and hidden 256 at 8192 tokens a step: the step with CUDA graphs off and on
#             beside the time of its kernels, which Nsight Compute takes where it is installed
#   ceilings  what the GPUs can do at most: matrix products, cuDNN's attention, peer memory, streams (2
#             minutes)
#
# All but ceilings is the default. Runs in a bundle of scripts/bundle.sh, unpacked anywhere, or in a
# source tree, where it builds build/cuda first. LD_LIBRARY_PATH chooses CUDA and cuDNN. The results go
# to FILE (default gpu.jsonl here), headed by a line with machine, date and commit. Exits with 1 if
# anything failed.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
only=tests,sanitize,curve,kernels,small,decoder,trace
output=gpu.jsonl
decoder_steps=30
while [[ $# -gt 0 ]]; do
  case $1 in
    --only) only=$2; shift 2 ;;
    --output) output=$2; shift 2 ;;
    --decoder-steps) decoder_steps=$2; shift 2 ;;
    *) echo "gpu.sh: what is $1? See its head" >&2; exit 2 ;;
  esac
done

if [[ -x $root/run.sh ]]; then  # a bundle
  bin=$root/bin
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$root/lib
  commit=$(cat "$root/commit" 2>/dev/null || echo unknown)
else
  bin=$root/build/cuda/bin
  (cd "$root" && cmake --preset cuda >/dev/null && cmake --build --preset cuda --target weft gpu) || exit 1
  commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
fi
weft=$bin/weft
jobs=$root/examples/jobs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
mkdir -p "$(dirname "$output")"
: >"$output"

wants() { [[ ,$only, == *,$1,* ]]; }
# Prints standard input, which is lines of JSON, and keeps it.
keep() { tee -a "$output"; }

# Runs a program whose output is read by people; prints its end, and a result line under a name.
check() {
  local name=$1 code
  shift
  "$@" >"$work/check.log" 2>&1
  code=$?
  grep -vE '^\[( RUN| *OK|-)|^$' "$work/check.log" | tail -25
  [[ $code == 0 ]] || failed=1
  printf '{"check": "%s", "exit": %d}\n' "$name" "$code" | keep
}

# Runs weft train with arguments; its metrics go to $work/NAME.jsonl. A line where it fails. What weft
# keeps between runs lies in $work, too, so that no result depends on runs of before.
train() {
  local name=$1 code
  shift
  rm -f "$work/$name.jsonl"
  XDG_CACHE_HOME=$work/cache timeout -k 10 240 "$@" --metrics "$work/$name.jsonl" \
    >"$work/$name.out" 2>"$work/$name.log" && return 0
  code=$?
  failed=1
  python3 - "$name" "$code" "$work/$name.log" <<'PY' | keep
import json, sys
print(json.dumps({"failed": sys.argv[1], "exit": int(sys.argv[2]),
                  "stderr": open(sys.argv[3]).read()[-1500:]}))
PY
  return 1
}

# The losses of run NAME beside the CPU's.
compare() {
  python3 - "$1" "$work/cpu.jsonl" "$work/$1.jsonl" <<'PY' | keep
import json, sys
want, got = ([json.loads(line)["loss"] for line in open(path)] for path in sys.argv[2:4])
worst = max(abs(a - b) / abs(a) for a, b in zip(want, got))
times = sorted(json.loads(line)["step_ms"] for line in open(sys.argv[3]))
print(json.dumps({"curve": sys.argv[1], "steps": len(got), "first_loss": got[0], "last_loss": got[-1],
                  "worst_relative_difference": worst, "median_step_ms": times[len(times) // 2],
                  "good": len(want) == len(got) and worst <= 1e-4}))
PY
  tail -1 "$output" | grep -q '"good": true' || failed=1
}

gpus=$("$weft" doctor | grep -cE '^gpu [0-9]')
machine=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | sort | uniq -c |
  sed 's/^ *\([0-9]*\) */\1 x /' | paste -sd';')
printf '{"machine": "%s", "date": "%s", "commit": "%s"}\n' "$machine" "$(date -u +%F)" "$commit" | keep
"$weft" doctor

if wants tests; then
  for program in "$bin"/*_cuda_tests; do
    check "$(basename "$program")" timeout 300 "$program"
  done
fi

if wants sanitize; then
  # racecheck reports hazards inside cuDNN's attention gradient. Whether they are real is not known;
  # its kernels are left out so that a hazard in weft's own shows.
  for tool in memcheck "racecheck --kernel-name-exclude kernel_substring=cudnn_generated"; do
    # shellcheck disable=SC2086 # the tool's words
    check "${tool%% *}" timeout 180 compute-sanitizer --tool $tool --error-exitcode 9 \
      "$bin/kernels_cuda_tests" --gtest_brief=1 --gtest_filter='*CudaLaws*:*CudaPacks*'
  done
fi

if wants curve; then
  text=/usr/share/common-licenses/GPL-3
  if [[ ! -e $text ]]; then  # any text will do, as long as all runs have the same
    text=$work/text
    for _ in $(seq 12); do cat "$root"/benchmarks/*.sh; done >"$text"
  fi
  tiny=("$weft" train "$jobs/tiny.pbtxt" --set "data.text=\"$text\"" --set 'checkpoint.dir=""')
  cuda=(--set train.device=CUDA)
  train cpu "${tiny[@]}"
  train gpu "${tiny[@]}" "${cuda[@]}" && compare gpu
  for graphs in OFF ON; do
    train "graphs_$graphs" "${tiny[@]}" "${cuda[@]}" --set "train.cuda_graphs=$graphs" &&
      compare "graphs_$graphs"
  done
  if ((gpus >= 2)); then
    for mesh in data:2 model:2; do
      name=threads_${mesh/:/_}
      train "$name" "${tiny[@]}" "${cuda[@]}" --mesh "$mesh" --ranks 2 && compare "$name"
      command -v mpirun >/dev/null || continue
      name=mpirun_${mesh/:/_}
      train "$name" mpirun --allow-run-as-root -n 2 "${tiny[@]}" "${cuda[@]}" --mesh "$mesh" &&
        compare "$name"
    done
  fi
fi

if wants kernels; then
  timeout 180 "$bin/bench_gpu_kernels" --tune | keep
  [[ ${PIPESTATUS[0]} == 0 ]] || failed=1
fi

if wants small; then
  python3 -c '
import random, sys
random.seed(1)
open(sys.argv[1], "wb").write(bytes(random.choices(range(256), k=1 << 20)))
' "$work/bytes"
  small=("$weft" train "$jobs/tiny.pbtxt" --set "data.text=\"$work/bytes\"" --set 'checkpoint.dir=""'
    --set train.device=CUDA --set train.dtype=BF16 --set train.steps=200 --set train.global_batch=8
    --set data.sequence=1024 --set model.decoder.layers=4 --set model.decoder.hidden=256
    --set model.decoder.heads=4 --set model.decoder.kv_heads=4 --set model.decoder.ffn=768)
  train small_OFF "${small[@]}" --set train.cuda_graphs=OFF &&
    train small_ON "${small[@]}" --set train.cuda_graphs=ON &&
    train small_AUTO "${small[@]}"
  if command -v ncu >/dev/null; then
    timeout 200 ncu --csv --clock-control none --metrics gpu__time_duration.sum "${small[@]}" \
      --set train.steps=3 --set train.cuda_graphs=OFF >"$work/small_kernels.csv" 2>"$work/ncu.log" ||
      tail -5 "$work/ncu.log"
  fi
  python3 - "$work" <<'PY' | keep
import csv, json, os, statistics, sys
folder = sys.argv[1]
result = {"small": "4 layers, hidden 256, 8192 tokens"}
for graphs in ("OFF", "ON", "AUTO"):
    path = f"{folder}/small_{graphs}.jsonl"
    if os.path.exists(path):
        late = [s["step_ms"] for s in map(json.loads, open(path)) if s["step"] >= 100]
        result[f"graphs_{graphs}_ms"] = statistics.median(late)
path = f"{folder}/small_kernels.csv"
if os.path.exists(path):
    rows = [line for line in open(path) if line.startswith('"')]
    units = {"ns": 1e-6, "nsecond": 1e-6, "us": 1e-3, "usecond": 1e-3, "ms": 1, "msecond": 1}
    ms = [float(row["Metric Value"].replace(",", "")) * units[row["Metric Unit"]]
          for row in csv.DictReader(rows) if row["Metric Name"] == "gpu__time_duration.sum"]
    result["kernels"] = len(ms) / 3
    result["kernels_ms"] = sum(ms) / 3
    if ms and "graphs_ON_ms" in result:
        result["times_kernels"] = result["graphs_ON_ms"] / result["kernels_ms"]
print(json.dumps(result))
PY
fi

if wants decoder || wants trace; then
  python3 -c '
import random, sys
random.seed(1)
with open(sys.argv[1], "wb") as out:
    for _ in range(64):
        out.write(b"".join(random.randrange(32000).to_bytes(2, "little") for _ in range(16384)))
' "$work/tokens.bin"
  meshes=(data:1)
  if ((gpus >= 2)); then meshes+=(data:2 model:2); fi
fi

# Trains the decoder for so many steps on a mesh, as run NAME, with further arguments.
train_decoder() {
  local name=$1 mesh=$2 steps=$3 batch=4
  shift 3
  if [[ $mesh == data:2 ]]; then batch=8; fi
  train "$name" "$weft" train "$jobs/decoder_1b.pbtxt" --mesh "$mesh" --ranks "${mesh#*:}" \
    --set "data.tokens=\"$work/tokens.bin\"" --set "train.steps=$steps" \
    --set "train.global_batch=$batch" "$@"
}

if wants decoder; then
  for mesh in "${meshes[@]}"; do
    name=decoder_${mesh/:/_}
    train_decoder "untuned_$name" "$mesh" "$decoder_steps" --set train.gemm_tuning=OFF || continue
    train_decoder "$name" "$mesh" "$decoder_steps" || continue
    grep 'matrix products' "$work/$name.log"
    python3 - "$mesh" "$work/$name.jsonl" "$work/untuned_$name.jsonl" <<'PY' | keep
import json, sys
def middle_of(steps):
    late = steps[10:] or steps
    return sorted(late, key=lambda s: s["step_ms"])[len(late) // 2]
steps, untuned = ([json.loads(line) for line in open(path)] for path in sys.argv[2:4])
middle, before = middle_of(steps), middle_of(untuned)
print(json.dumps({"decoder": sys.argv[1], "steps": len(steps), "tokens_per_s": middle["tokens_per_s"],
                  "step_ms": middle["step_ms"], "mfu": middle["mfu"],
                  "untuned_tokens_per_s": before["tokens_per_s"], "untuned_step_ms": before["step_ms"],
                  "untuned_mfu": before["mfu"], "first_loss": steps[0]["loss"],
                  "last_loss": steps[-1]["loss"], "untuned_last_loss": untuned[-1]["loss"],
                  "mem_peak_bytes": steps[-1]["mem_peak_bytes"]}))
PY
  done
  if python3 -c 'import torch' 2>/dev/null; then
    timeout 240 python3 "$root/benchmarks/gpu/torch_decoder.py" 2>"$work/torch.log" | keep
    [[ ${PIPESTATUS[0]} == 0 ]] || tail -5 "$work/torch.log"
  fi
fi

if wants ceilings; then
  for program in gemm peer streams attention; do
    [[ -x $bin/bench_gpu_$program ]] && "$bin/bench_gpu_$program" | keep
  done
fi

if wants trace; then
  cp "$output" "$work/rates.jsonl"
  grep -q '"copy_gb_per_s"' "$output" || timeout 120 "$bin/bench_gpu_kernels" >>"$work/rates.jsonl"
  if [[ -x $bin/bench_gpu_attention ]] && ! grep -q '"forward_tflops"' "$output"; then
    timeout 120 "$bin/bench_gpu_attention" >>"$work/rates.jsonl"
  fi
  # The arguments of breakdown.py.
  read -r -a rates < <(python3 - "$work/rates.jsonl" <<'PY'
import json, sys
found = {}
for line in open(sys.argv[1]):
    result = json.loads(line)
    if result.get("benchmark") == "gpu_attention" and (result["batch"], result["sequence"]) != (4, 4096):
        continue
    for key, option in (("copy_gb_per_s", "copy"), ("product_tflops", "gemm"),
                        ("forward_tflops", "attention"), ("backward_tflops", "attention-grad")):
        if key in result:
            found[option] = result[key]
print(" ".join(f"--{option} {rate}" for option, rate in found.items()))
PY
  )
  for mesh in "${meshes[@]}"; do
    name=trace_${mesh/:/_}
    trace=${output%.jsonl}-$name.json
    train_decoder "$name" "$mesh" 24 --trace "$trace" --trace-steps 13:16 || continue
    grep -A $((1 + ${mesh#*:})) '^weft: steps ' "$work/$name.log"
    python3 "$root/benchmarks/gpu/breakdown.py" "$trace" "${rates[@]}" --label "$mesh" | keep
    [[ ${PIPESTATUS[0]} == 0 ]] || failed=1
    python3 - "$mesh" "$work/$name.jsonl" <<'PY' | keep
import json, statistics, sys
times = {step["step"]: step["step_ms"] for step in map(json.loads, open(sys.argv[2]))}
# Step 17 has to wait until the trace is written.
print(json.dumps({"tracing": sys.argv[1], "traced_step_ms": statistics.median(times[s] for s in range(13, 17)),
                  "step_ms": statistics.median(times[s] for s in range(18, 25))}))
PY
  done
fi

python3 - "$output" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    result = json.loads(line)
    print("  ".join(f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in result.items() if key not in ("stderr", "classes", "gaps")))
PY
exit $failed
