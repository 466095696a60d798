#!/usr/bin/env bash
# Makes the folder that is carried to a machine with a GPU: bundle.sh DIR. Needs cargo; the folder needs nothing.
set -euo pipefail
target=$(mkdir -p "${1:?usage: bundle.sh DIR}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
most_bytes=60000000

cargo build --release --package gpu_check
# The test executable, whose name has a hash, and with it the program that it calls, which has the interpreter.
checks=$(cargo test --release --test cuda_device --no-run --message-format json |
    python3 -c 'import json, sys
names = [line["executable"] for line in map(json.loads, sys.stdin) if line.get("executable") and line["target"]["name"] == "cuda_device"]
print(names[-1])')

cp target/release/medsegx target/release/gpu_check tools/gpu_check/torch_compare.py tools/torch_model.py tools/gpu_check/README.md "$target"
cp "$checks" "$target/cuda_device"
mkdir -p "$target/tests/data"
cp -r tests/data/portable "$target/tests/data/"
strip "$target/medsegx" "$target/gpu_check" "$target/cuda_device" 2>/dev/null || true

bytes=$(du --summarize --bytes "$target" | cut -f 1)
echo "$target: $bytes bytes"
[ "$bytes" -lt "$most_bytes" ] || { echo "more than $most_bytes bytes" >&2; exit 1; }
