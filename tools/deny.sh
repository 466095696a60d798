#!/usr/bin/env bash
# What the packages in all three lock files may be, by deny.toml: licences, sources, bans and double versions.
#
#     tools/deny.sh                # licences, sources, bans
#     tools/deny.sh advisories     # known vulnerabilities and withdrawn versions; fetches RustSec's database
#
# Takes the cargo-deny on the path where it is of the version below; else installs it below target/, which takes many
# minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
deny=$(command -v cargo-deny || true)
if [ -z "$deny" ] || [ "$("$deny" --version)" != "cargo-deny $version" ]; then
    root="$PWD/target/ci-deny-$version"
    deny="$root/bin/cargo-deny"
    [ -x "$deny" ] || cargo install --quiet --locked --version "$version" --root "$root" cargo-deny
fi

[ $# -gt 0 ] || set -- licenses sources bans
for manifest in Cargo.toml python/Cargo.toml fuzz/Cargo.toml; do
    echo "$manifest"
    # What is allowed or skipped need not be in each of the three.
    "$deny" --log-level warn --locked --manifest-path "$manifest" --config "$PWD/deny.toml" check \
        -A unmatched-skip -A unused-wrapper -A license-exception-not-encountered "$@"
done
