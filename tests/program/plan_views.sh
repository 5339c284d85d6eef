#!/usr/bin/env bash
# The forms of `weft plan` as other programs read them: headless Chromium draws the page without an
# error and has its parts, wide, narrow and for a plan of many layers; graphviz accepts the DOT.
set -uo pipefail
: "${WEFT_BINARY:?}"
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
export HOME=$W  # Chromium's profile
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

for program in chromium dot; do
  if ! command -v "$program" >/dev/null; then
    echo "FAILED: no $program; scripts/setup.sh chromium graphviz installs it" >&2
    exit 1
  fi
done

# plan FILE ARGUMENTS...
plan() {
  local file=$1
  shift
  "$WEFT_BINARY" plan "$source_dir/examples/jobs/tiny.pbtxt" --output "$file" "$@" ||
    fail "weft plan $*"
}

# open_page FILE SIZE: the page's DOM after its scripts ran, in $W/dom; what it said, in $W/console.
open_page() {
  timeout 120 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --user-data-dir="$W/profile" --window-size="$2" --enable-logging=stderr --v=0 \
    --virtual-time-budget=5000 --dump-dom "file://$1#everything" >"$W/dom" 2>"$W/console" ||
    fail "chromium ended with $? on $1"
  if grep -E 'CONSOLE' "$W/console"; then
    fail "$1 at $2: the page wrote to the console"
  fi
  grep -q 'data-failure' "$W/dom" && fail "$1 at $2: $(grep -o 'data-failure="[^"]*"' "$W/dom")"
  grep -q 'data-ready="true"' "$W/dom" || fail "$1 at $2: the page did not finish"
}

# has PATTERN LEAST: at least so often in the page's DOM.
has() {
  local count
  count=$(grep -oE "$1" "$W/dom" | wc -l)
  ((count >= $2)) || fail "$count times '$1' in the page, not $2"
}

plan "$W/plan.html" --format html --mesh data:2,model:2
for size in 1400,900 420,800; do
  open_page "$W/plan.html" "$size"
  for part in graph conversions memory schedule tables; do has "<section id=\"$part\"" 1; done
  has 'class="op forward"' 10
  has 'class="op backward"' 10
  has 'class="op conversion"' 2
  has 'class="edge converted"' 2
  has 'data:S\(0\) model:P\(sum\)' 2
  has 'takes it as' 5
  has '<h3>optimizer' 3
  has 'is kept, from its first write' 1
  has '<tr>' 300
  has '<path d="M[^"]*Z" fill="var\(--activations\)"' 1
  has '<canvas[^>]*data-rows="([48]|1[26])"' 1
done

# What a person who is lost sees: an error says so, and the test sees it.
sed 's/"schema":"weft.plan"/"schema":"another"/' "$W/plan.html" >"$W/broken.html"
failures_before=$failures
open_page "$W/broken.html" 1400,900 2>/dev/null >/dev/null
if ((failures == failures_before)); then
  echo "FAILED: a broken page passes" >&2
  exit 1
fi
failures=$failures_before

# Many layers: folded, and soon there.
plan "$W/large.html" --format html --mesh data:2,model:2 --set model.decoder.layers=128 \
  --set train.microbatches=4
open_page "$W/large.html" 1400,900
has 'layers.[01] × 12[78]' 1  # the first layer's gradient may end otherwise
has 'class="note"' 1

# A pipeline: two stages, each with its streams, tables and memory.
plan "$W/stages.html" --format html --mesh data:2,stage:2 --set train.microbatches=4
open_page "$W/stages.html" 1400,900
has '<canvas[^>]*data-rows="[78]"' 1
has 'ranks? [0-9, -]*, stage 1</option>' 1
has 'slots between actors on rank [0-9]*, stage [01]' 2
has '4 ranks' 1

plan "$W/plan.dot" --format dot --mesh data:2,model:2
dot -Tsvg "$W/plan.dot" >"$W/plan.svg" 2>"$W/dot" || fail "dot: $(cat "$W/dot")"
[[ -s $W/dot ]] && fail "dot warns: $(cat "$W/dot")"
grep -q 'layers.0' "$W/plan.svg" || fail "no layer in dot's picture"

if "$WEFT_BINARY" plan "$source_dir/examples/jobs/tiny.pbtxt" --format json \
  --output "$W/no/such/folder" 2>"$W/error"; then
  fail "a file that cannot be written passes"
fi
grep -q 'cannot write' "$W/error" || fail "no word of the file that cannot be written"

((failures == 0)) && echo "plan views: all as they should be"
exit $((failures > 0))
