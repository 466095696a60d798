#!/usr/bin/env bash
# fuzz/run.sh TARGET [libFuzzer's options]: builds a target with AddressSanitizer and coverage on the stable toolchain and
# runs it on fuzz/corpus/TARGET; without -max_total_time for ten minutes. fuzz/run.sh --build builds all and runs none.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
shift

which=(--bin "$target")
[ "$target" != --build ] || which=(--bins)
pass=llvm-args=-sanitizer-coverage
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address -Cpasses=sancov-module -C$pass-level=4 -C$pass-inline-8bit-counters -C$pass-pc-table
    -C$pass-trace-compares --cfg fuzzing"
# Set by fuzz/all.py, which has built them.
if [ -z "${FUZZ_NO_BUILD:-}" ]; then
    cargo build --release --target x86_64-unknown-linux-gnu "${which[@]}"
fi
[ "$target" != --build ] || exit 0

corpus=corpus/$target
mkdir -p "$corpus"
python3 seeds.py "$target"
# A panic that is caught inside a foreign decoder leaves its memory behind: leaks are not looked for.
# The library answers for memory that is refused, so a refusal is an answer here as it is outside.
export ASAN_OPTIONS=allocator_may_return_null=1
exec target/x86_64-unknown-linux-gnu/release/"$target" "$corpus" -max_total_time=600 -detect_leaks=0 -rss_limit_mb=3000 \
    -timeout=60 -print_final_stats=1 "$@"
