#!/usr/bin/env bash
#SBATCH --job-name=vae_jax
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# Slurm: `sbatch slurm.sh` in the clone. A job that is preempted, or whose time is up, saves, waits again and goes on.
exec ./launch.sh train --config=mnist --workdir=/shared/runs/a --config.training.batch_size=3200
