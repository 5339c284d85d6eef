#!/usr/bin/env bash
# Makes a tarball of a CUDA build that runs on machines without a compiler and with another (newer)
# C library: weft, the programs of label gpu, benchmarks, jobs and scripts, and the shared libraries
# that such a machine may lack. CUDA, cuDNN, NCCL, MPI and the C library are the machine's own;
# LD_LIBRARY_PATH chooses them there. run.sh in it runs a program of it.
#
#   scripts/bundle.sh [--output FILE.tgz] [--build FOLDER] [program...]
#
# By default build/cuda and all programs that its bin/ has of: weft and those whose name has cuda or
# gpu. Fails where the tarball is larger than 48 MB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=build/cuda
output=build/weft-cuda.tgz
programs=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --output) output=$2; shift 2 ;;
    --build) build=$2; shift 2 ;;
    *) programs+=("$1"); shift ;;
  esac
done
if [[ ${#programs[@]} -eq 0 ]]; then
  for file in "$build"/bin/weft "$build"/bin/*cuda* "$build"/bin/*gpu*; do
    if [[ -x $file ]]; then programs+=("$(basename "$file")"); fi
  done
fi
if [[ ${#programs[@]} -eq 0 ]]; then
  echo "bundle.sh: $build/bin has no programs; build them first (cmake --build $build)" >&2
  exit 1
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/weft/bin" "$folder/weft/lib"
# The machine's own: the C and C++ runtimes' lowest layers, drivers, CUDA and MPI with what it loads.
own='/(ld-linux|libc\.|libm\.|libdl|libpthread|librt|libresolv|libutil|libcu|libnv|libnccl|libmpi|libopen-)'
for program in "${programs[@]}"; do
  strip -o "$folder/weft/bin/$program" "$build/bin/$program"
  ldd "$build/bin/$program" | awk '$3 ~ /^\// {print $3}' | grep -vE "$own" | sort -u |
    xargs -r -I{} cp -Lu {} "$folder/weft/lib/"
done
strip --strip-unneeded "$folder"/weft/lib/*.so* 2>/dev/null || true
mkdir -p "$folder/weft/benchmarks" "$folder/weft/examples"
cp -r examples/jobs "$folder/weft/examples/"
cp benchmarks/*.sh "$folder/weft/benchmarks/"
mkdir -p "$folder/weft/benchmarks/gpu"
cp benchmarks/gpu/*.py "$folder/weft/benchmarks/gpu/"
git rev-parse --short HEAD >"$folder/weft/commit" 2>/dev/null || true
cat >"$folder/weft/run.sh" <<'EOF'
#!/usr/bin/env bash
# run.sh PROGRAM ARGUMENT...: runs a program of bin/. Libraries of the machine go first; those in lib/
# stand in for what it lacks.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib
program=$1
shift
exec "$here/bin/$program" "$@"
EOF
chmod +x "$folder/weft/run.sh"
mkdir -p "$(dirname "$output")"
tar -C "$folder" -czf "$output" weft
bytes=$(stat -c %s "$output")
echo "$output: ${programs[*]}; $((bytes / 1000000)) MB"
if ((bytes > 48000000)); then
  echo "bundle.sh: more than 48 MB" >&2
  exit 1
fi
