#!/usr/bin/env bash
# Writes docs/plans/ anew: the plan of the decoder of examples/jobs/tiny.pbtxt on data:2,model:2 as
# JSON, DOT and HTML. With --check it writes nothing and fails where a file is not what weft says now.
#
#   scripts/plan_docs.sh [--check]
#
# WEFT_BINARY: the weft program, else that of build/release or build/test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

weft=${WEFT_BINARY:-}
for preset in release test; do
  [[ -z $weft && -x build/$preset/bin/weft ]] && weft=build/$preset/bin/weft
done
if [[ -z $weft ]]; then
  echo "plan_docs.sh: no weft program; run scripts/build.sh first" >&2
  exit 1
fi

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
for format in json dot html; do
  "$weft" plan examples/jobs/tiny.pbtxt --mesh data:2,model:2 --format "$format" \
    --output "$new/decoder_data2_model2.$format"
done

if [[ ${1:-} == --check ]]; then
  status=0
  for file in "$new"/*; do
    old=docs/plans/$(basename "$file")
    if ! cmp --silent "$file" "$old"; then
      echo "$old is not what weft says now: run scripts/plan_docs.sh and review the difference" >&2
      status=1
    fi
    size=$(stat --format=%s "$file")
    if ((size > 1000000)); then
      echo "$old: $size bytes, more than 1 MB" >&2
      status=1
    fi
  done
  exit "$status"
fi
mkdir -p docs/plans
cp "$new"/* docs/plans/
