#!/usr/bin/env bash
# The checks that a compiler does not make: formatting, file sizes, and that every header compiles
# alone against its declared dependencies. scripts/check.sh --fix formats in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folders=(runtime graph actors parallel kernels launcher tests examples benchmarks)
status=0

mapfile -t sources < <(find "${folders[@]}" -name '*.cc' -o -name '*.h' -o -name '*.cu' \
  -o -name '*.proto' | sort)
if command -v clang-format >/dev/null; then
  if [[ ${1:-} == --fix ]]; then
    clang-format -i "${sources[@]}"
  else
    clang-format --dry-run --Werror "${sources[@]}" || status=1
  fi
else
  echo "check.sh: no clang-format; formatting was not checked (apt-get install clang-format)" >&2
  status=1
fi

# CONTRIBUTING.md: split by concept before a file reaches 350 lines.
for file in "${sources[@]}"; do
  lines=$(wc -l <"$file")
  if [[ $lines -gt 350 ]]; then
    echo "$file: $lines lines, more than 350; split it by concept"
    status=1
  fi
done

if grep -nE '#include "[^/"]+"' "${sources[@]}"; then
  echo "the includes above are not full paths"
  status=1
fi

cmake --preset dev -DCMAKE_VERIFY_INTERFACE_HEADER_SETS=ON >/dev/null
cmake --build --preset dev --target all_verify_interface_header_sets -j"$(nproc)" || status=1
exit "$status"
