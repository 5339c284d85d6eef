#!/usr/bin/env bash
# After a failure, a rank that never comes to an end is aborted with all others: mpirun ends soon, with
# exit code 3, and stderr says why.
set -uo pipefail

program="${WEFT_BUILD_DIR:?}/bin/mpi_poison_test"
for ranks in 2 4; do
  timeout 60 mpirun --allow-run-as-root --oversubscribe -n "$ranks" "$program" --absent 2>stderr.txt
  code=$?
  if [[ $code -ne 3 ]]; then
    echo "exit code $code on $ranks ranks, expected 3" >&2
    cat stderr.txt >&2
    exit 1
  fi
  grep -q 'aborting all ranks.*op `matmul_7` read NaN' stderr.txt || { cat stderr.txt >&2; exit 1; }
done
