#!/bin/bash
# Fuzzes every reader for so many seconds each, from its seeds and what the corpus has: fuzz/run.sh [SECONDS [TARGET...]]
# A crash ends the script; its bytes lie in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift $(($# > 0))
targets=("$@")
if [ $# = 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# The versions that the crate is built with.
[ -e fuzz/Cargo.lock ] || cp Cargo.lock fuzz/
TMPDIR=$(mktemp -d "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)/burn-cht-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    log=$TMPDIR/log
    status=0
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- -max_total_time="$seconds" \
        -max_len=8192 -len_control=10 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 2>"$log" || status=$?
    if [ "$status" != 0 ]; then
        tail -n 40 "$log"
        exit "$status"
    fi
    # Said when a file takes more than any before it; in few executions perhaps never.
    memory=$(grep -a '^memory:' "$log" | tail -n 1 || true)
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-18s %9s executions, corpus of %s; %s\n' "$target" "$runs" "$(ls "fuzz/corpus/$target" | wc -l)" "${memory:-no memory told}"
done
