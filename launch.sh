#!/usr/bin/env bash
#SBATCH --job-name=vae_jax
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#
# Sets up .venv and runs a command of experiments/ in it:
#
#   ./launch.sh                        the main job: train on the bundled digits, evaluate, draw, into runs/digits
#   ./launch.sh test [flags of pytest]  the tests
#   ./launch.sh docs                   the site of the documentation, into docs/_build/html
#   ./launch.sh train --config=experiments/configs/digits.py --workdir=runs/digits
#   ./launch.sh evaluate --workdir=runs/digits        also: report, sample, encode, reconstruct, score, impute,
#                                                     export, checkpoints, parts, gradient_study, benchmark
#
# In several processes, see docs/launching.md:
#
#   PROCESSES=2 ./launch.sh train --max_restarts=3 …  on this machine
#   sbatch --nodes=4 launch.sh train …                under Slurm; a preempted job, or one whose time is up, goes on
#   mpirun -n 8 ./launch.sh train …                   by Open MPI
#
# ACCELERATOR=cpu|cuda|tpu chooses JAX's build; it is detected if unset. EXTRAS=tables,anndata installs these extras too
# (benchmark: the PyTorch that `benchmark` compares with).
set -euo pipefail

# Under sbatch $0 is a copy in a spool folder, and the project is where sbatch was called.
root=$(dirname "$0")
[ -f "$root/pyproject.toml" ] || root=${SLURM_SUBMIT_DIR:-$root}
cd "$root"
# Where a job's step called sbatch, the batch script inherits that step's variables.
[ "${0##*/}" != slurm_script ] || unset "${!SLURM_STEP_@}"

accelerator() {
  if [ -n "${ACCELERATOR:-}" ]; then
    echo "$ACCELERATOR"
  elif command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    echo cuda
  elif compgen -G "/dev/accel*" >/dev/null || [ -n "${TPU_NAME:-}" ]; then
    echo tpu
  else
    echo cpu
  fi
}

# install EXTRAS: the project, editable, into .venv; nothing where that was done for this pyproject.toml.
install() {
  local extras=$1 stamp
  stamp="$(cksum <pyproject.toml) $PWD"
  exec 9>.venv.lock
  ! command -v flock >/dev/null || flock 9
  for extra in ${extras//,/ }; do
    if [ "$(cat ".venv/installed-$extra" 2>/dev/null)" != "$stamp" ]; then
      echo "setting up .venv with the extras: $extras" >&2
      if command -v uv >/dev/null; then
        [ -x .venv/bin/python ] || uv venv --quiet --python ">=3.11" .venv
        VIRTUAL_ENV=.venv uv pip install --quiet --editable ".[$extras]"
      else
        if [ ! -x .venv/bin/python ]; then
          interpreter=$(python_311)
          "$interpreter" -m venv .venv
        fi
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
      fi
      for done in ${extras//,/ }; do echo "$stamp" >".venv/installed-$done"; done
      break
    fi
  done
  exec 9>&-
}

python_311() {
  for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "error: no Python of version 3.11 or later was found; install one, or uv" >&2
  exit 1
}

# under_slurm COMMAND…: a job's step, told in time that the job's time is up; the job is then put back into the queue.
under_slurm() {
  local step status=0 requeue=""
  # srun does not take it from sbatch, and each task would have one core.
  [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
  trap 'requeue=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
  srun --kill-on-bad-exit=1 "$@" &
  step=$!
  while kill -0 "$step" 2>/dev/null; do
    status=0
    wait "$step" || status=$?
  done
  if [ -n "$requeue" ] && [ "$status" = 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$status"
}

accelerator=$(accelerator)
case $accelerator in
  cpu | cuda | tpu) ;;
  *) echo "error: ACCELERATOR=$accelerator is unknown; choose cpu, cuda or tpu" >&2; exit 1 ;;
esac

command=${1:-train}
[ $# -eq 0 ] || shift
case $command in
  test)
    install "experiments,$accelerator,test"
    # A worker for each core, a file in one worker: its fixtures are made once. The slowest files come first.
    exec .venv/bin/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder "$@"
    ;;
  docs)
    install "experiments,$accelerator,test,docs"
    exec .venv/bin/python -m sphinx --quiet --fail-on-warning --keep-going --jobs=auto docs docs/_build/html "$@"
    ;;
  *)
    if [[ ! $command =~ ^[a-z_]+$ ]] || [ ! -f "experiments/$command.py" ] || [[ $command = _* ]]; then
      commands=$(basename -a -s .py experiments/[a-z]*.py | paste -sd ' ')
      echo "error: unknown command '$command'; choose test docs $commands" >&2
      exit 1
    fi
    install "experiments,$accelerator${EXTRAS:+,$EXTRAS}"
    export ACCELERATOR=$accelerator
    if [ -n "${SLURM_JOB_ID:-}" ] && [ -z "${SLURM_STEP_NODELIST:-}" ]; then
      under_slurm .venv/bin/python -m "experiments.$command" "$@"
    elif [ "${PROCESSES:-1}" != 1 ] || [[ " $* " == *" --max_restarts"* ]]; then
      exec .venv/bin/python -m experiments.command.processes "$command" "$@"
    else
      exec .venv/bin/python -m "experiments.$command" "$@"
    fi
    ;;
esac
