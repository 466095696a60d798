#!/usr/bin/env bash
# The portable level on aarch64: built for it, its tests run by qemu. Every processor without AVX2 computes with this
# code.
#
#     tools/aarch64.sh [filters of tests]
#
# Not run: models above the smallest, tuning by commands, the kernels on the interpreter, batches, most commands and what
# kills processes or measures time and memory, since qemu is many times as slow as the machine and has its own signals;
# and the one unit test that starts its own program, which qemu hands to the system. AVX and GPUs are not there. Needs
# rustup, which fetches std for aarch64 where it is missing; the cross linker and qemu-user are installed where that is
# possible.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
folder=$PWD/target/aarch64/$target/release
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(
    golden::tiny golden::adapters ops:: determinism::threads_and_batches halves:: resize:: metrics:: score:: raster::
    npz:: dicom_pixels:: dicom_series:: dicom_values:: hostile_volume:: embeddings:: reading::
)

if ! command -v qemu-aarch64 >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null; then
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user) >/dev/null
fi
rustup --quiet target add "$target"

export CARGO_TARGET_DIR=target/aarch64 CARGO_INCREMENTAL=0 CARGO_PROFILE_TEST_DEBUG=0
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
emulated=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
programs=$(cargo test --release --target "$target" --lib --test it --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')

# Tests start the command by its path, and the system, not qemu, runs what they start.
[ "$(head -c 2 "$folder/medsegx")" = "#!" ] || mv "$folder/medsegx" "$folder/medsegx.aarch64"
printf '#!/bin/sh\nexec %s %s "$@"\n' "${emulated[*]}" "$folder/medsegx.aarch64" >"$folder/medsegx"
chmod +x "$folder/medsegx"
file_of() { grep "/deps/$1-" <<<"$programs"; }
"${emulated[@]}" "$(file_of medsegx)" --skip a_panic_poisons_the_session
"${emulated[@]}" "$(file_of it)" --skip cuda_ --skip sam1024 "${tests[@]}"
