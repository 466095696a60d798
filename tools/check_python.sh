#!/usr/bin/env bash
# Builds the wheel of python/ and tests it in fresh environments: types and stubs, the newest NumPy and the oldest, the
# examples, PYTHONMALLOC=debug, the platform tag, and what a call, the import and the wheel cost.
#
#     tools/check_python.sh [--medsegx FILE] [--wheel FILE] [--all] [--with-torch] [--no-times]
#
# --medsegx: the command line to compare with (target/release/medsegx); --wheel: test this wheel, and build none; --all: all
# 48 orientations instead of a quarter, 20 exits instead of 5, and of ten interrupts each in time instead of one of three;
# --with-torch: images of MONAI and TorchIO too, which bring some gigabytes of PyTorch; --no-times: without what is held to
# milliseconds, which a busy machine fails: interrupts and costs. Needs network to PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
cli=target/release/medsegx
wheel=
times=yes
torch=no
while [ $# -gt 0 ]; do
    case "$1" in
        --medsegx) cli=$2 && shift 2 ;;
        --wheel) wheel=$(realpath "$2") && shift 2 ;;
        --no-times) times=no && shift ;;
        --with-torch) torch=yes && shift ;;
        --all) export MEDSEGX_ORIENTATIONS=48 MEDSEGX_EXITS=20 MEDSEGX_INTERRUPTS=10 && shift ;;
        *) echo "unknown: $1" >&2 && exit 2 ;;
    esac
done
[ -x "$cli" ] || { echo "no command line at $cli: cargo build --release" >&2; exit 1; }
MEDSEGX_CLI=$(realpath "$cli")
export MEDSEGX_CLI MEDSEGX_REQUIRE="${MEDSEGX_REQUIRE:+$MEDSEGX_REQUIRE,}cli"
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$python is older than 3.11" >&2; exit 1; }
work="$PWD/target/check-python"
mkdir -p "$work"

begun=$SECONDS
title=
step() {
    [ -z "$title" ] || printf -- '--- %s: %d s\n' "$title" $((SECONDS - begun))
    begun=$SECONDS
    title=$*
    [ -z "$title" ] || printf '\n--- %s\n' "$title"
}

# An environment with these packages, of the versions in tools/requirements-python.txt.
environment() {
    [ -x "$work/$1/bin/pip" ] || "$python" -m venv "$work/$1"
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check --no-compile --constraint tools/requirements-python.txt "${@:2}"
}

fresh_environment() {
    rm -rf "${work:?}/$1"
    environment "$@"
}

tests() {
    local environment=$1
    shift
    (cd python/tests && "$work/$environment/bin/python" "$@" -p no:cacheprovider -q -rs --durations=5)
}

step "packages to build with"
environment build maturin ziglang auditwheel

if [ -z "$wheel" ]; then
    step "the wheel"
    rm -rf "$work/dist"
    (cd python && PATH="$work/build/bin:$PATH" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$work/target}" \
        maturin build --quiet --release --locked --zig --compatibility manylinux_2_17 --out "$work/dist")
    wheel=$(ls "$work"/dist/medsegx-*.whl)
fi

step "its platform tag"
case "$wheel" in *-cp311-abi3-manylinux*manylinux_2_17_x86_64.whl) ;; *) echo "unexpected tag: $wheel" >&2; exit 1 ;; esac
"$work/build/bin/auditwheel" show "$wheel" | tr -s '[:space:]' ' ' > "$work/auditwheel.txt"
grep -o 'consistent with the following platform tag: "manylinux_2_17_x86_64"' "$work/auditwheel.txt" ||
    { cat "$work/auditwheel.txt"; echo "auditwheel disagrees" >&2; exit 1; }

step "packages to test with: the newest NumPy"
fresh_environment newest "$wheel" numpy nibabel SimpleITK itk-core pydicom pytest mypy jupyter_client ipykernel

step "types and stubs: mypy --strict, stubtest"
(cd python/medsegx && "$work/newest/bin/mypy" --strict --cache-dir "$work/mypy" ./*.py)
(cd "$work" && MYPY_CACHE_DIR="$work/mypy" "$work/newest/bin/stubtest" medsegx._medsegx)

step "tests and examples with the newest NumPy"
if [ "$times" = yes ]; then
    tests newest -m pytest .
else
    echo "SKIPPED test_interrupts.py and the costs: --no-times"
    tests newest -m pytest . --ignore=test_interrupts.py
fi

step "tests with PYTHONMALLOC=debug"
PYTHONMALLOC=debug tests newest -X dev -m pytest test_arrays.py test_tools.py test_rough.py \
    -k 'layouts or types or session or tasks or awaitable or lies_as or refused'

if [ "$torch" = yes ]; then
    step "tests of images of MONAI and TorchIO"
    # Not a fresh one: PyTorch is fetched once.
    environment torch torch monai torchio numpy nibabel SimpleITK itk-core pytest
    environment torch --force-reinstall --no-deps "$wheel"
    MEDSEGX_REQUIRE="$MEDSEGX_REQUIRE,torch" tests torch -m pytest test_images.py
else
    echo "SKIPPED images of MONAI and TorchIO: no --with-torch"
fi

step "tests of arrays, images and processes with NumPy 1.26"
fresh_environment oldest "$wheel" 'numpy==1.26.4' nibabel pytest
tests oldest -m pytest test_arrays.py test_images.py test_rough.py test_processes.py

if [ "$times" = yes ]; then
    step "costs"
    "$work/newest/bin/python" tools/python_costs.py "$wheel"
fi
step ""
