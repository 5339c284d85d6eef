#!/usr/bin/env bash
# Installs what is missing, builds weft for the CPU into build/test and runs every test but those
# labelled slow. Arguments go to ctest: scripts/test.sh -R runtime.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh chromium graphviz  # tests look at plans with them
cmake --preset test
cmake --build --preset test -j"$(nproc)"
ctest --preset test "$@"
