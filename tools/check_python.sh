#!/usr/bin/env bash
# Builds the wheel of python/, and tests it in fresh environments: the oldest NumPy and the newest, types and stubs, the
# platform tag, PYTHONMALLOC=debug. Prints what a call, the import and the wheel cost.
#
#     tools/check_python.sh [--medsegx target/release/medsegx]
set -euo pipefail
cd "$(dirname "$0")/.."
cli="$PWD/target/release/medsegx"
[ "${1:-}" != --medsegx ] || cli=$(realpath "$2")
[ -x "$cli" ] || { echo "no command line at $cli: cargo build --release" >&2; exit 1; }
export MEDSEGX_CLI="$cli" MEDSEGX_REQUIRE="${MEDSEGX_REQUIRE:-},cli"
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$python is older than 3.11" >&2; exit 1; }
work="$PWD/target/check-python"
mkdir -p "$work"

environment() {
    rm -rf "${work:?}/$1"
    "$python" -m venv "$work/$1"
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}

echo "--- wheel"
[ -x "$work/build/bin/maturin" ] || environment build 'maturin==1.16.0' 'ziglang==0.17.1' 'auditwheel==6.8.2'
rm -rf "$work/dist"
(cd python && PATH="$work/build/bin:$PATH" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$work/target}" \
    maturin build --release --locked --zig --compatibility manylinux_2_17 --out "$work/dist")
wheel=$(ls "$work"/dist/medsegx-*.whl)
case "$wheel" in *-cp311-abi3-manylinux*manylinux_2_17_x86_64.whl) ;; *) echo "unexpected tag: $wheel" >&2; exit 1 ;; esac
"$work/build/bin/auditwheel" show "$wheel" | tee "$work/auditwheel.txt"
tr -s '[:space:]' ' ' < "$work/auditwheel.txt" | grep -q 'manylinux_2_17_x86_64' || { echo "auditwheel disagrees" >&2; exit 1; }

echo "--- types: mypy --strict, stubtest"
environment newest "$wheel" numpy nibabel SimpleITK pydicom pytest mypy jupyter_client ipykernel
(cd python/medsegx && "$work/newest/bin/mypy" --strict ./*.py)
(cd "$work" && "$work/newest/bin/stubtest" medsegx._medsegx --ignore-missing-stub)

echo "--- tests with the newest NumPy"
(cd python/tests && "$work/newest/bin/pytest" -q -p no:cacheprovider --durations=5 .)

echo "--- tests of arrays, threads and processes with NumPy 1.26"
environment oldest "$wheel" 'numpy==1.26.4' 'nibabel<6' pytest
(cd python/tests && "$work/oldest/bin/pytest" -q -p no:cacheprovider test_arrays.py test_processes.py)

echo "--- with PYTHONMALLOC=debug"
(cd python/tests && PYTHONMALLOC=debug "$work/newest/bin/python" -X dev -m pytest -q -p no:cacheprovider \
    test_arrays.py test_tools.py -k 'layouts or types or session or tasks or awaitable')

echo "--- costs"
"$work/newest/bin/python" tools/python_costs.py "$wheel"
