#!/bin/bash
# examples/cluster/parallel.sh under GNU parallel: 24 cases in four shards, stopped by SIGTERM in the middle, run again, and
# merged to the bytes of one process. Needs Debian's parallel, python3.
#   tools/check_parallel.sh target/release/medsegx
# Without it, it is skipped; where MEDSEGX_REQUIRE lists `parallel`, it fails.
set -euo pipefail
binary=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
if ! command -v parallel >/dev/null; then
    echo "SKIPPED batch under GNU parallel: not there: parallel"
    [[ ",${MEDSEGX_REQUIRE:-}," != *,parallel,* ]]
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 "$here/check_batch.py" --make "$work" --count 24
cd "$work"
export HOME=$work # parallel keeps files of its own there
"$binary" batch manifest.csv --out clean --quiet
export MEDSEGX=$binary
records() { find results/.medsegx/cases -name '*.json' 2>/dev/null | wc -l; }

# In a group of its own, whose first process is the script and then parallel's parent.
setsid "$here/../examples/cluster/parallel.sh" manifest.csv results >first.log 2>&1 &
script=$!
for _ in $(seq 1200); do
    [ "$(records)" -ge 3 ] && break
    sleep 0.05
done
pkill -TERM -P "$script"
wait "$script" && code=0 || code=$?
done=$(records)
# The merge at the script's end names what is missing.
[ "$code" = 3 ] && [ "$done" -ge 3 ] && [ "$done" -lt 24 ]
! find results -name '*.tmp' | grep -q .
"$here/../examples/cluster/parallel.sh" manifest.csv results >second.log 2>&1
python3 "$here/check_batch.py" --compare clean results
echo "four shards under GNU parallel, stopped after $done of 24 cases and run again: the bytes of one process"
