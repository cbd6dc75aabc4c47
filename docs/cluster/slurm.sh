#!/bin/sh
# A study on three machines of Slurm: sbatch docs/cluster/slurm.sh, in a checkout on a shared disk.
#SBATCH --nodes=3 --ntasks-per-node=1 --cpus-per-task=16
set -eu
. .venv/bin/activate

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_ADDRESS="$first:6379" RAY_AUTH_MODE=token
ray get-auth-token --generate >/dev/null  # into ~/.ray, which the machines share
start="ray start --num-cpus=$SLURM_CPUS_PER_TASK --disable-usage-stats --block"

# RAY_ADDRESS would make a first machine look for another one.
env -u RAY_ADDRESS srun --nodes=1 --ntasks=1 --nodelist="$first" $start --head --port=6379 &
sleep 20
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
  srun --nodes="$others" --ntasks="$others" --exclude="$first" $start --address="$RAY_ADDRESS" &
  sleep 20
fi

recsys-posttrain run movielens_main --dataset ml-1m --seeds 3 --engine ray
