#!/usr/bin/env bash
# Bytes of the C library, shared and static, without DICOM, with it, and with JPEG 2000 too: the table of docs/c.md. Needs
# cargo-c and takes a build each.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "| features | libmedsegx.so | stripped | libmedsegx.a |"
echo "|---|---|---|---|"
for features in cuda cuda,dicom cuda,jpeg2000; do
    said=$(cargo cbuild --release --target-dir target/cargo-c --no-default-features --features "$features" 2>&1) ||
        { echo "$said" >&2; exit 1; }
    built=$(dirname "$(find target/cargo-c -path '*release/libmedsegx.so' | sed -n 1p)")
    strip -o target/cargo-c/stripped.so "$built/libmedsegx.so"
    bytes() { stat --format %s "$1" | sed ':a; s/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/; ta'; }
    echo "| \`$features\` | $(bytes "$built/libmedsegx.so") | $(bytes target/cargo-c/stripped.so) | $(bytes "$built/libmedsegx.a") |"
done
