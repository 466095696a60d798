#!/usr/bin/env bash
# ThreadSanitizer over what threads share: the fork-join protocol, sessions, loading, kept embeddings, volumes read and
# masks written beside a run, DICOM frames, batches, stopping and tuning, and calls through C from 32 threads. The standard
# library is compiled with it, so that its locks, channels and counters are seen as what they are and nothing is
# suppressed. First a small program shows that the same build reports races, and reports none where std's locks or the
# protocol itself order the threads; C code that races is shown to be reported too.
#
#     tools/tsan.sh [races] [c] [suite]
#
# Not run: the library's unit tests, since each further program takes many minutes to compile, and of the suite all but
# what is named below, since it is many times as slow here. Not seen: system calls, and loads and stores of more than 16
# bytes, as those of AVX2's kernels are; the portable level has none. Needs rustup and the network, where std's sources
# and the packages that it is made of are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu
reports=$PWD/target/tsan/reports
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(races c suite)
tests=(
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

# Three programs that race, five that do not.
races() {
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
}

# The static library under programs in C that are checked alike. Their runtime is the compiler's that built the library.
c() {
    local work=$PWD/target/tsan/c fixture=$PWD/target/tsan/c/fixture program
    local runtime
    runtime=$(rustc --print sysroot)/lib/rustlib/$target/lib/librustc-stable_rt.tsan.a
    mkdir -p "$work"
    env --unset RUSTFLAGS --unset RUSTC_BOOTSTRAP --unset CARGO_PROFILE_RELEASE_DEBUG CARGO_TARGET_DIR=target \
        MEDSEGX_CAPI_FIXTURE="$fixture" cargo test --quiet --release --test capi_fixture
    target/release/medsegx synth --config tiny -o "$fixture/tiny.safetensors" --force
    sha256sum <"$fixture/tiny.safetensors" >"$fixture/tiny.sha256"
    cargo rustc --locked "${build[@]}" --no-default-features --features capi --lib --crate-type staticlib
    local library=target/tsan/$target/release/libmedsegx.a
    link() { # program, sources
        local program=$1 objects=() source
        shift
        for source in "$@"; do
            objects+=("$work/$(basename "$source" .c).o")
            cc -std=c99 -g -fsanitize=thread -Iinclude -c "$source" -o "${objects[-1]}"
        done
        cc "${objects[@]}" "$library" -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive -lpthread -lm -ldl -lrt \
            -o "$work/$program"
    }
    link shared-mask tools/tsan_race/shared_mask.c
    report_of shared-mask "$work/shared-mask" "$fixture" || true
    is_reported shared-mask || { echo "no report of the race for a mask in C"; exit 1; }
    echo "reported: shared-mask"
    link stress tests/capi/stress.c
    link api tests/capi/{api,tune,nonsense,twice}.c
    for program in stress api; do
        report_of "$program" "$work/$program" "$fixture"
        if is_reported "$program"; then
            cat "$reports/$program"/*
            exit 1
        fi
        echo "not reported: $program"
    done
}

suite() {
    # A failed test does not keep the reports from being told.
    local failed=0
    report_of suite cargo test --locked "${build[@]}" --all-features --test it -- "${tests[@]}" || failed=1
    if is_reported suite; then
        cat "$reports"/suite/*
        exit 1
    fi
    [ "$failed" = 0 ]
}

for part in "${parts[@]}"; do
    "$part"
done
echo "no data race reported"
