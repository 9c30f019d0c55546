#!/bin/bash
# The whole cluster within one job: scheduler, client and workers are its tasks. Submit it from this folder:
#   sbatch --ntasks=34 batch.sh CHECKPOINT
# for 32 workers. CHECKPOINT is a folder; when the walltime is near, another job is submitted, which resumes from there.
# It gets the options below and the number of tasks. Give others here, or as SBATCH_… in the environment.
#SBATCH --job-name=daskmgrit
#SBATCH --ntasks=10
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=2G
#SBATCH --time=02:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --no-requeue

# ---- of your site: take away one # each, and put in your names ----
##SBATCH --partition=PARTITION
##SBATCH --account=ACCOUNT
##SBATCH --nodes=1 --gres=gpu:4
# The last is for GPUs of each node: its tasks take them in turn. Of 6 tasks on one node 4 are workers, a GPU each.
# module load python cuda
# . "$HOME/daskmgrit/.venv/bin/activate"
# The environment that has daskmgrit. It must be named here where jobs do not get yours (--export=NONE).
# ---- end -----------------------------------------------------------

# Where jobs do not get your environment, the tasks of this one get this script's nevertheless.
unset SLURM_EXPORT_ENV
set -u
command -v python >/dev/null || { echo "no python: name your environment in batch.sh, see 'of your site'" >&2; exit 1; }
checkpoint=${1:?usage: sbatch batch.sh CHECKPOINT}
cd "$SLURM_SUBMIT_DIR" || exit
umask 077
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 DASK_LOGGING__DISTRIBUTED=warning

keys=$(mktemp -d "$PWD/.keys-XXXXXX") # on a file system that all nodes see
trap 'rm -rf "$keys" "scheduler-$SLURM_JOB_ID.json"' EXIT
trap 'exit 143' TERM
python -m daskmgrit.tls "$keys" || exit

next=
submit_next() {
    next=$(sbatch --parsable --ntasks="$SLURM_NTASKS" --dependency=afterany:"$SLURM_JOB_ID" batch.sh "$checkpoint")
    echo "the walltime is near: job $next resumes"
}
trap submit_next USR1

srun --kill-on-bad-exit=0 python runner.py "$keys" "$checkpoint" &
step=$!
wait "$step"
status=$?
# A signal ends the wait, not the step.
while kill -0 "$step" 2>/dev/null; do
    wait "$step"
    status=$?
done
[ "$status" = 0 ] && [ -n "$next" ] && scancel "$next" # done in time after all
exit "$status"
