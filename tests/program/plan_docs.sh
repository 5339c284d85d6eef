#!/usr/bin/env bash
# docs/plans/ is what weft says now.
exec "$(dirname "${BASH_SOURCE[0]}")/../../scripts/plan_docs.sh" --check
