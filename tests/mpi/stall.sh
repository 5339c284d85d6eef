#!/usr/bin/env bash
# How runs end that do not end well: a rank that fails (exit code 3), a rank that is stopped or stuck
# (4, all reports printed once, the absent rank named); and a signal, after which they go on.
set -uo pipefail
job="$WEFT_SOURCE_DIR/examples/jobs/tiny.pbtxt"
folder=$(mktemp -d)
trap 'kill -KILL $(cat "$folder"/pid.* 2>/dev/null) 2>/dev/null; rm -rf "$folder"' EXIT
common=(--mesh data:2 --set train.steps=1000000 --set train.global_batch=2 --set data.sequence=16
        --set model.decoder.layers=1 --set checkpoint.dir=)

fail() {
  echo "$*" >&2
  cat "$folder/err" >&2
  exit 1
}

# start ARGS...: trains in the background until a few steps are done; ranks leave their process ids.
start() {
  rm -f "$folder"/pid.* "$folder"/metrics
  touch "$folder/metrics"
  # shellcheck disable=SC2016
  timeout 120 mpirun -n 2 bash -c 'echo $$ >"$0/pid.$OMPI_COMM_WORLD_RANK"; exec "$@"' "$folder" \
    "$WEFT_BINARY" train "$job" "${common[@]}" --metrics "$folder/metrics" "$@" \
    >"$folder/out" 2>"$folder/err" &
  run=$!
  await '"step":3' "$folder/metrics"
}

# signal NAME: to every rank.
signal() {
  local file
  for file in "$folder"/pid.*; do kill "-$1" "$(cat "$file")"; done
}

# await PATTERN FILE: until the file has such a line, or the run has ended.
await() {
  grep -q -m1 -- "$1" < <(timeout 100 tail -n +1 -f --pid="$run" -s 0.1 "$2") ||
    fail "no '$1' in $(basename "$2")"
}

# expect CODE PATTERN...: the run ends with CODE; stderr has each pattern in exactly one line.
expect() {
  local want=$1 code pattern
  shift
  wait "$run"
  code=$?
  rm -f "$folder"/pid.*
  [[ $code == "$want" ]] || fail "exit code $code, want $want"
  for pattern in "$@"; do
    [[ $(grep -c -- "$pattern" "$folder/err") == 1 ]] || fail "not once: $pattern"
  done
}

# A signal at every rank, as mpirun hands it on: all reports, once. Then an interrupt, which ends
# training with 130 only because it has gone on.
start
signal USR1
await 'weft: what the ranks do' "$folder/err"
await "\"step\":$(($(wc -l <"$folder/metrics") + 5))," "$folder/metrics"
signal TERM
expect 130 'weft: what the ranks do' '^rank 0: ' '^rank 1: '

# A stopped rank, of which one is the rank that would gather.
for absent in 1 0; do
  start --deadline 3
  kill -STOP "$(cat "$folder/pid.$absent")"
  expect 4 "^weft: rank $((1 - absent)) made no progress for 3 s" "^rank $absent: absent" \
    "^rank $((1 - absent)): " "^rank $absent does not answer"
done

# Ranks of one process, one of them stuck for good: in a write to a pipe that nobody reads.
mkfifo "$folder/pipe"
exec 9<>"$folder/pipe"
head -c 64000 /dev/zero >&9
timeout 100 "$WEFT_BINARY" train "$job" "${common[@]}" --ranks 2 --metrics "$folder/pipe" \
  --deadline 3 >"$folder/out" 2>"$folder/err" &
run=$!
expect 4 'made no progress for 3 s$' '^rank 0: between steps' '^rank 1: ' \
  '^weft: a rank does not end after this failure'

# A rank whose metrics cannot be written fails all, and says so once.
rm -f "$folder"/pid.*
mpirun -n 2 "$WEFT_BINARY" train "$job" "${common[@]}" --metrics /dev/full \
  >"$folder/out" 2>"$folder/err" &
run=$!
expect 3 '^weft: .*cannot write metrics'
