#!/usr/bin/env bash
# Packs every package that goes to crates.io, without building them, and prints each one's size; fails where one is
# larger than crates.io takes, or where cargo warns of anything.
#
#     tools/crates.sh [--release]
#
# --release: fails at once where a package does not say where its repository is. Otherwise it is said in a line.
set -euo pipefail
cd "$(dirname "$0")/.."
release=no
case "$*" in
    '') ;;
    --release) release=yes ;;
    *) echo "unknown: $*" >&2 && exit 2 ;;
esac

# A version on crates.io cannot be changed: an address that it lacks stays missing.
homeless=$(cargo metadata --no-deps --locked --format-version 1 | python3 -c '
import json, sys
packages = json.load(sys.stdin)["packages"]
print(", ".join(p["name"] for p in packages if p["publish"] != [] and not p["repository"]))')
if [ -n "$homeless" ]; then
    echo "\`repository\` is missing in Cargo.toml of: $homeless"
    [ $release = no ] || { echo "no release without it: RELEASE.md, step 1" >&2; exit 1; }
fi

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
