#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a while, starting from the seeds. Needs g++.
#
# Usage: smoke.sh [SECONDS [TARGET...]]
#
# What makes a target fail is left in tests/fuzz/artifacts/; pass such a file to the target's binary
# to see it fail again. New inputs are kept in tests/fuzz/corpus/.

set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-20}
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
    targets=(parse route frames session connect config transform http store_index store_consumer store_open store_records jetstream)
fi

# Coverage for the fuzzer, as cargo-fuzz sets it up; these options work on stable compilers.
coverage=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    --cfg fuzzing
)
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${coverage[*]}" cargo build --locked --release --target "$host" --target-dir target

for target in "${targets[@]}"; do
    printf '%s, for %d s: ' "$target" "$seconds"
    mkdir -p "corpus/$target" "artifacts/$target"
    log=artifacts/$target/log
    if ! "target/$host/release/$target" "corpus/$target" "seeds/$target" \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="artifacts/$target/" -verbosity=0 -print_funcs=0 -print_final_stats=1 \
        >"$log" 2>&1; then
        printf 'FAILED\n'
        tail -n 100 "$log"
        exit 1
    fi
    sed -n 's/^stat::number_of_executed_units: *\(.*\)/\1 inputs/p' "$log"
done
