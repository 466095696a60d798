#!/bin/bash
# The page of `medsegx batch --qc` with 500 cases in Debian's Chromium (package chromium; node, npm), and its CSV
# back in `batch --only`.
#   tools/check_qc.sh target/release/medsegx [FOLDER FOR SCREENSHOTS]
# Without a browser it is skipped; where MEDSEGX_REQUIRE lists `browser`, it fails.
set -euo pipefail
binary=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
modules=$here/../target/ci-node-qc
missing=
for program in chromium node npm; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -n "$missing" ]; then
    echo "SKIPPED the page of a batch in a browser: not there:$missing"
    [[ ",${MEDSEGX_REQUIRE:-}," != *,browser,* ]]
    exit
fi
if [ ! -d "$modules/node_modules/playwright-core" ]; then
    mkdir -p "$modules"
    npm install --silent --no-audit --no-fund --prefix "$modules" playwright-core@1.65.1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# No window, and nothing of this run outside its folder.
export HOME=$work XDG_RUNTIME_DIR=$work

python3 "$here/check_batch.py" --pages "$work" "$binary" --count 500
node "$here/check_qc.mjs" "$modules" "$(command -v chromium)" "$work/out/qc.html" "$work"
if [ -n "${2:-}" ]; then
    mkdir -p "$2"
    cp "$work"/*.png "$2"
fi

# What was to be redone is done again, and nothing else; one of these fails again (3), and the page has the same bytes.
before=$(sha256sum <"$work/out/qc.html")
redo=$(python3 -c 'import csv, sys; print(sum(row["decision"] == "redo" for row in csv.DictReader(open(sys.argv[1], encoding="utf-8-sig"))))' \
    "$work/qc.csv")
said=$("$binary" batch "$work/manifest.csv" --out "$work/out" --device cpu --qc --only "$work/qc.csv" 2>&1) || [ $? = 3 ]
grep -q "$redo cases, $redo to do" <<<"$said"
[ "$(sha256sum <"$work/out/qc.html")" = "$before" ]
echo "batch --only: $redo cases of the exported CSV done again, the page's bytes the same"
