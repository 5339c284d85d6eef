#!/usr/bin/env bash
# Installs what is missing, then configures and builds weft for use: build/release/bin/weft.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
cmake --preset release
cmake --build --preset release -j"$(nproc)"
