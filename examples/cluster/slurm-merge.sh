#!/bin/bash
# One table of all shards; exit code 3 and the missing cases where some have no result. Safe to submit again at any time.
# afterany, not afterok: afterok on an array that ever had a failed task never holds again.
#SBATCH --job-name=medsegx-merge
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=1:00:00
#SBATCH --open-mode=append
#SBATCH --output=logs/%x-%j.log
manifest=${MEDSEGX_MANIFEST:-manifest.csv}
out=${MEDSEGX_OUT:-results}
exec "${MEDSEGX:-medsegx}" batch "$manifest" --merge "$out"
