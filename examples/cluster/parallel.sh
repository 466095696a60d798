#!/bin/bash
# Four shards under GNU parallel, two at a time, then the merge. Run it again to go on where it was stopped.
# The list is the shards' numbers, and resuming is medsegx's: parallel's own --resume goes by number and would skip a case that
# was added to the manifest. --termseq: one SIGTERM and 30 s to save, not three within 0.4 s and then SIGKILL.
shards=4
manifest=${1:-manifest.csv}
out=${2:-results}
medsegx=${MEDSEGX:-medsegx}
export manifest out medsegx shards
parallel --jobs 2 --termseq TERM,30000,KILL,25 --line-buffer --tag \
    'exec "$medsegx" batch "$manifest" --out "$out" --resume --shard {}/"$shards" --progress plain' ::: $(seq 0 $((shards - 1)))
# Its exit code is a number of failed jobs; what counts is whether each case has a result.
exec "$medsegx" batch "$manifest" --merge "$out"
