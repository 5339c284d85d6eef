#!/usr/bin/env bash
# Broken jobs under mpirun: the message once, exit code 2, nobody left behind.
exec "$WEFT_SOURCE_DIR/tests/program/broken_jobs.sh" --mpi
