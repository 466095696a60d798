#!/bin/bash
# Four shards of one batch as an array of Slurm jobs. Submit with:  mkdir -p logs && sbatch slurm-array.sh
# then the merge with:  sbatch --dependency=afterany:JOBID slurm-merge.sh
#SBATCH --job-name=medsegx
#SBATCH --array=0-3
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=logs/%x-%A_%a.log
#
# The number of shards stands here as in --array: SLURM_ARRAY_TASK_COUNT is 1 when one task is submitted again.
shards=4
manifest=${MEDSEGX_MANIFEST:-manifest.csv}
out=${MEDSEGX_OUT:-results}

# exec, as the last line: a program behind a shell gets no SIGTERM where Slurm tracks processes by cgroups.
exec "${MEDSEGX:-medsegx}" batch "$manifest" --out "$out" --resume --shard "$SLURM_ARRAY_TASK_ID/$shards" --progress plain
