#!/usr/bin/env bash
# Ranks that fail at the same time, each for its own reason, all come out with one of them.
set -uo pipefail

program="${WEFT_BUILD_DIR:?}/bin/mpi_poison_test"
for ranks in 2 4; do
  for _ in 1 2 3; do
    timeout 60 mpirun --allow-run-as-root --oversubscribe -n "$ranks" "$program" --all >stdout.txt ||
      { cat stdout.txt >&2; exit 1; }
    [[ $(grep -c '^rank \([0-9]\) failed: reason \1$' stdout.txt) == "$ranks" &&
       $(sort -u stdout.txt | wc -l) == 1 ]] || { cat stdout.txt >&2; exit 1; }
  done
done
