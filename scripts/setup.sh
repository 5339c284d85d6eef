#!/usr/bin/env bash
# Installs what weft needs to build and run, from Debian packages, by name. Idempotent, and quick
# when everything is there. Run as root or as a user with sudo.
#
#   scripts/setup.sh [further packages...]
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache
  libabsl-dev libprotobuf-dev protobuf-compiler libgoogle-glog-dev
  libdnnl-dev libhwy-dev
  libopenmpi-dev openmpi-bin
  libcli11-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev procps
  "$@"
)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup.sh: this is not Debian; install the equivalents of: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: not root and no sudo; as root run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup.sh: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
