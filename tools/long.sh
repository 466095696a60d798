#!/usr/bin/env bash
# Checks that take longer than .ci/run may, or that a busy machine fails: by hand, on a quiet one, before a release. Needs
# cargo, rustup and python3.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each step's minutes are printed as it ends, and the whole script's at the end.
begun=$SECONDS
title=
step() {
    if [ -n "$title" ]; then
        printf -- '--- %s: %s minutes\n' "$title" "$(awk -v s=$((SECONDS - begun)) 'BEGIN { printf "%.1f", s / 60 }')"
    fi
    begun=$SECONDS
    title=$*
    [ -z "$title" ] || printf '\n=== %s\n' "$title"
}

# Packages from PyPI, pinned, in an environment of their own below target/.
python_environment() {
    [ -x target/ci-python/bin/python3 ] || python3 -m venv target/ci-python
    target/ci-python/bin/python3 -m pip install --quiet --disable-pip-version-check \
        --requirement tools/requirements-checks.txt
    PATH="$PWD/target/ci-python/bin:$PATH"
    export PATH
}

# One version of ptxas, from NVIDIA's package, by its hash; never committed or redistributed. Prints where it is.
ptxas_from_pypi() {
    local folder=target/ci-ptxas-$1 ptxas=$PWD/target/ci-ptxas-$1/nvidia/cu13/bin/ptxas
    if [ ! -x "$ptxas" ]; then
        mkdir -p "$folder"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" "nvidia-cuda-nvcc==$1"
        (cd "$folder" && python3 -m zipfile --extract nvidia_cuda_nvcc-*.whl . && rm nvidia_cuda_nvcc-*.whl)
        chmod +x "$ptxas"
    fi
    echo "$2  $ptxas" | sha256sum --check --quiet
    echo "$ptxas"
}

step "binary"
cargo build --release

step "Python packages for the checks"
python_environment

step "the Python package: wheel, types, tests with the newest and the oldest NumPy, examples, costs, MONAI and TorchIO"
tools/check_python.sh --medsegx target/release/medsegx --with-torch

step "faults, every single one"
MEDSEGX_EVERY_FAULT=1 cargo test --release --test it -- input_faults:: output_faults::

step "fork-join: every order of its threads that loom tries, and broken variants of it"
(cd tools/fork_join_model && cargo run --release --locked)

step "ThreadSanitizer over what threads share"
tools/tsan.sh

step "the portable level on aarch64, emulated"
tools/aarch64.sh

step "masks of the processor's levels beside each other"
python3 tools/same_bytes.py target/release/medsegx

step "tuning: faults planted in its ways back, each of which a test of one operation has to see"
tools/planted_gradients.py

step "fuzzing, ten minutes a target"
python3 fuzz/all.py --seconds 600 --jobs 2

step "the newest ptxas beside the one that the tables are of"
PTXAS=$(ptxas_from_pypi 13.0.88 daba837a68265cae38c832d13399b61dab811891de9b8914defddef143b849f2)
PTXAS_NEWEST=$(ptxas_from_pypi 13.5.37 b3e295413e9628ee261a63ea3f70ec5af20988c9809214c064661662206574a3)
export PTXAS PTXAS_NEWEST
MEDSEGX_REQUIRE=ptxas-newest cargo test --release --test it -- --nocapture the_newest_ptxas

step "LiteMedSAM: every figure of its table"
python3 tools/litemedsam.py check

step "packages: licences, sources, bans, double versions"
tools/deny.sh

step "two builds in different folders are the same bytes"
tools/equal_builds.sh

step "batch: killed and resumed, beside single commands, outside the network, in memory, at 10,000 files, stopped"
python3 tools/check_batch.py target/release/medsegx

step ""
printf '=== passed in %s minutes\n' "$(awk -v s=$SECONDS 'BEGIN { printf "%.1f", s / 60 }')"
