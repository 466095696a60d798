#!/usr/bin/env bash
# ThreadSanitizer over what threads share: the fork-join protocol, sessions, loading, kept embeddings, volumes read and
# masks written beside a run, DICOM frames, batches, stopping and tuning. The standard library is compiled with it, so
# that its locks, channels and counters are seen as what they are and nothing is suppressed. First a small program shows
# that the same build reports races, and reports none where std's locks or the protocol itself order the threads.
#
#     tools/tsan.sh [filters of tests]
#
# Not run: the library's unit tests, calls through C among them, since each further program takes many minutes to
# compile, and of the suite all but what is named below, since it is many times as slow here. System calls are not seen.
# Needs rustup and the network, where std's sources and the packages that it is made of are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu
reports=$PWD/target/tsan/reports
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(
    determinism::threads_and_batches embeddings:: streaming:: reading:: batch_run:: batch_resume::
    propagate::what_cannot tune::neither_threads tune_all::a_step_ends dicom_pixels::
    surroundings::a_signal
)

# Flags of unstable features; the compiler is the one that ships the binary.
export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread
export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=target/tsan CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
build=(--release --target "$target" -Zbuild-std=std,panic_unwind,test)
[ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ] || rustup component add rust-src

# Each process writes its reports into a file of its own: a test that expects a command to fail hides none.
report_of() { # name, command
    local name=$1
    shift
    mkdir -p "$reports/$name"
    TSAN_OPTIONS="log_path=$reports/$name/report" "$@"
}
is_reported() { grep --quiet --recursive "WARNING: ThreadSanitizer" "$reports/$1"; }

rm -rf "$reports"
cargo build --quiet --locked "${build[@]}" --manifest-path tools/tsan_race/Cargo.toml
for way in unguarded relaxed broken-fork-join; do
    report_of "$way" "target/tsan/$target/release/tsan-race" "$way" >/dev/null || true
    is_reported "$way" || { echo "no report of the race \"$way\""; exit 1; }
    echo "reported: $way"
done
for way in released lock condition channel fork-join; do
    report_of "$way" "target/tsan/$target/release/tsan-race" "$way" >/dev/null
    ! is_reported "$way" || exit 1
    echo "not reported: $way"
done

# A failed test does not keep the reports from being told.
failed=0
report_of suite cargo test --locked "${build[@]}" --all-features --test it -- "${tests[@]}" || failed=1
if is_reported suite; then
    cat "$reports"/suite/*
    exit 1
fi
[ "$failed" = 0 ]
echo "no data race reported"
