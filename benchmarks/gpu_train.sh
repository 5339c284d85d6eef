#!/usr/bin/env bash
# Tests and measures weft's CUDA backend on this machine's GPUs in one call of a few minutes, and prints
# a JSON line for each result:
#
#   benchmarks/gpu_train.sh [--build FOLDER] [--tests] [--decoder-steps N] [--work FOLDER]
#
#   doctor    what the machine has
#   tests     with --tests: the programs of label gpu
#   curve     the losses of examples/jobs/tiny.pbtxt (fp32) on one GPU, and on two where there are two
#             (data:2 and model:2, as threads of one process and under mpirun where there is one),
#             each against the CPU's: the largest relative difference over the steps, which may be 1e-4
#   decoder   examples/jobs/decoder_1b.pbtxt on random tokens: tokens a second and MFU, the median of
#             the steps after the tenth
#
# Runs in a bundle of scripts/bundle.sh (unpacked anywhere) or in a source tree with build/cuda. Exits
# with 1 if anything failed.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/cuda
if [[ -x $root/run.sh ]]; then build=$root; fi
work=$(mktemp -d)
tests=0
decoder_steps=30
while [[ $# -gt 0 ]]; do
  case $1 in
    --build) build=$2; shift 2 ;;
    --tests) tests=1; shift ;;
    --decoder-steps) decoder_steps=$2; shift 2 ;;
    --work) work=$2; shift 2 ;;
    *) echo "gpu_train.sh: what is $1?" >&2; exit 2 ;;
  esac
done
mkdir -p "$work"
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$build/lib
weft=$build/bin/weft
jobs=$root/examples/jobs
failed=0

text=/usr/share/common-licenses/GPL-3
if [[ ! -e $text ]]; then  # any text will do, as long as all runs have the same
  text=$work/text
  for _ in $(seq 4); do cat "$root"/benchmarks/*.sh; done >"$text"
fi

# Runs weft train with arguments; its losses go to $work/NAME.jsonl. Prints a line where it fails.
train() {
  local name=$1
  shift
  rm -f "$work/$name.jsonl"
  timeout 240 "$@" --metrics "$work/$name.jsonl" >"$work/$name.out" 2>"$work/$name.log" && return 0
  local code=$?
  failed=1
  python3 - "$name" "$code" "$work/$name.log" <<'EOF'
import json, sys
print(json.dumps({"failed": sys.argv[1], "exit": int(sys.argv[2]),
                  "stderr": open(sys.argv[3]).read()[-1500:]}), flush=True)
EOF
  return 1
}

compare() {
  python3 - "$1" "$work/cpu.jsonl" "$work/$1.jsonl" <<'EOF' || failed=1
import json, sys
want, got = ([json.loads(line)["loss"] for line in open(path)] for path in sys.argv[2:4])
steps = [json.loads(line) for line in open(sys.argv[3])]
worst = max(abs(a - b) / abs(a) for a, b in zip(want, got))
good = len(want) == len(got) and worst <= 1e-4
times = sorted(s["step_ms"] for s in steps[5:])
print(json.dumps({"curve": sys.argv[1], "steps": len(got), "first_loss": got[0], "last_loss": got[-1],
                  "worst_relative_difference": worst, "median_step_ms": times[len(times) // 2],
                  "good": good}), flush=True)
sys.exit(0 if good else 1)
EOF
}

"$weft" doctor
gpus=$("$weft" doctor | grep -cE '^gpu [0-9]')

if [[ $tests == 1 ]]; then
  for program in "$build"/bin/*cuda_tests; do
    [[ -x $program ]] || continue
    timeout 300 "$program" --gtest_brief=1 >"$work/tests.log" 2>&1
    code=$?
    tail -25 "$work/tests.log"
    [[ $code == 0 ]] || failed=1
    printf '{"tests": "%s", "exit": %d}\n' "$(basename "$program")" "$code"
  done
fi

tiny=("$weft" train "$jobs/tiny.pbtxt" --set "data.text=\"$text\"" --set 'checkpoint.dir=""')
cuda=(--set train.device=CUDA)
train cpu "${tiny[@]}"
train gpu "${tiny[@]}" "${cuda[@]}" && compare gpu
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

if ((decoder_steps > 0)); then
  python3 -c '
import random, sys
random.seed(1)
with open(sys.argv[1], "wb") as out:
    for _ in range(64):
        out.write(b"".join(random.randrange(32000).to_bytes(2, "little") for _ in range(16384)))
' "$work/tokens.bin"
  meshes=(data:1)
  if ((gpus >= 2)); then meshes+=(data:2 model:2); fi
  for mesh in "${meshes[@]}"; do
    name=decoder_${mesh/:/_}
    batch=4
    if [[ $mesh == data:2 ]]; then batch=8; fi
    train "$name" "$weft" train "$jobs/decoder_1b.pbtxt" --mesh "$mesh" --ranks "${mesh#*:}" \
      --set "data.tokens=\"$work/tokens.bin\"" --set "train.steps=$decoder_steps" \
      --set "train.global_batch=$batch" || continue
    python3 - "$mesh" "$work/$name.jsonl" <<'EOF'
import json, sys
steps = [json.loads(line) for line in open(sys.argv[2])]
late = steps[10:] or steps
middle = sorted(late, key=lambda s: s["step_ms"])[len(late) // 2]
print(json.dumps({"decoder": sys.argv[1], "steps": len(steps), "tokens_per_s": middle["tokens_per_s"],
                  "step_ms": middle["step_ms"], "mfu": middle["mfu"], "first_loss": steps[0]["loss"],
                  "last_loss": steps[-1]["loss"], "mem_peak_bytes": steps[-1]["mem_peak_bytes"]}),
      flush=True)
EOF
  done
fi
exit $failed
