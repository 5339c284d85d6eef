#!/usr/bin/env bash
# Measures what the GPUs of this machine can do at most: the ceilings that weft's CUDA backend is held
# against. Builds with nvcc and g++ alone, prints JSON lines and writes them, headed by one that names
# machine, date and commit. Takes about two minutes, most of it sustained matrix products.
#
#   benchmarks/gpu.sh [results file]
#
# cudnn-frontend's headers come from PyPI (nvidia-cudnn-frontend); on a machine that reaches no
# registry, CUDNN_FRONTEND names a folder with them. LD_LIBRARY_PATH chooses the cuDNN that runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=build/gpu
out=${1:-benchmarks/results/$(date -u +%F)-gpu-ceilings.jsonl}
mkdir -p "$build" "$(dirname "$out")"
cuda=$(dirname "$(dirname "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")
frontend=${CUDNN_FRONTEND:-$build/cudnn-frontend/include}
if [[ ! -e $frontend/cudnn_frontend.h ]]; then
  python3 -m pip download --quiet --no-deps --dest "$build" nvidia-cudnn-frontend
  python3 -m zipfile -e "$build"/nvidia_cudnn_frontend-*.whl "$build/cudnn-frontend"
fi

arch=(-gencode "arch=compute_90a,code=sm_90a")
"$cuda/bin/nvcc" -O2 -std=c++20 "${arch[@]}" benchmarks/gpu/gemm.cu -o "$build/gemm" -lcublasLt
"$cuda/bin/nvcc" -O2 -std=c++20 "${arch[@]}" benchmarks/gpu/peer.cu -o "$build/peer"
# No device code of its own, and nvcc takes minutes over the frontend's headers.
g++ -O1 -std=c++20 -w -I"$cuda/include" -I"$frontend" benchmarks/gpu/attention.cc \
  -o "$build/attention" -L"$cuda/lib64" -L"$cuda/lib" -lcudnn -lcudart -lnvrtc

gpus=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | sort | uniq -c |
  sed 's/^ *\([0-9]*\) */\1 x /' | paste -sd';')
printf '{"machine": "%s", "date": "%s", "commit": "%s"}\n' \
  "$gpus" "$(date -u +%F)" "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" >"$out"
for program in gemm peer attention; do
  "$build/$program" | tee -a "$out"
done
echo "written to $out"
