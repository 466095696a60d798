#!/usr/bin/env bash
# Two builds of HEAD in folders of different names are the same bytes: nothing of a machine's paths or time is in them.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for folder in one another/deeper; do
    mkdir -p "$work/$folder"
    git archive HEAD | tar -x -C "$work/$folder"
    (cd "$work/$folder" && CARGO_INCREMENTAL=0 cargo build --quiet --release --locked)
done
sha256sum "$work/one/target/release/medsegx" "$work/another/deeper/target/release/medsegx" | sed "s,$work/,,"
cmp "$work/one/target/release/medsegx" "$work/another/deeper/target/release/medsegx"
echo "equal"
