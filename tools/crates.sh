#!/usr/bin/env bash
# Packs every package that goes to crates.io, without building them, and prints each one's size; fails where one is
# larger than crates.io takes, or where cargo warns of anything.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=$((10 * 1000 * 1000))
target=${CARGO_TARGET_DIR:-target}
rm -f "$target"/package/*.crate

# --allow-dirty: a check of what is being worked on; `cargo publish` itself asks for a clean tree.
messages=$(cargo package --workspace --exclude gpu_check --no-verify --allow-dirty 2>&1) || { echo "$messages" >&2; exit 1; }
if grep '^warning' <<< "$messages" >&2; then
    exit 1
fi

too_large=0
for package in "$target"/package/*.crate; do
    bytes=$(stat --format=%s "$package")
    printf '%-40s %9d bytes\n' "${package##*/}" "$bytes"
    [ "$bytes" -lt $limit ] || too_large=1
done
[ $too_large = 0 ] || { echo "crates.io takes less than $limit bytes" >&2; exit 1; }
