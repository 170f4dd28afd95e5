#!/bin/bash
# A harvest as a Slurm array, a task per GPU. Begin the store first, from a notebook: Harvest::new
# writes run.json. Then:
#   sbatch --array=0-7 environment/slurm-harvest.sh /shared/stores/gpt2-r5
# A task that is lost can be sent again; it goes on where its last whole unit ended.
#SBATCH --job-name=eigenlens-harvest
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --requeue
set -euo pipefail
part=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))/$SLURM_ARRAY_TASK_COUNT
exec eigenlens-engine harvest "$1" --part "$part"
