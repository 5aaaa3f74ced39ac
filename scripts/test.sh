#!/usr/bin/env bash
# Every test of the workspace, and the sum of what ran. Tests that need servers are marked as
# ignored for those who type `cargo test`; here they run too, so that nothing skips itself.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p .cache
log=.cache/test.log
code=0
"${CARGO:-cargo}" test --release --locked --workspace --no-fail-fast -- --include-ignored \
    2>&1 | tee "$log" || code=$?

awk '/^test result: / { passed += $4; failed += $6; left += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, left
           exit passed == 0 || failed > 0 || left > 0 }' "$log" || code=1
exit "$code"
