#!/usr/bin/env bash
# Runs the train command by real launchers, Open MPI and a Slurm of this one machine: tests/launchers/run.sh FOLDER
#
# Installs them from Debian if need be, which takes root. Everything is in FOLDER, every port on the loopback interface,
# every daemon ended at the end. Prints a line for each law that holds; or "skipped: …", status 77.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
python=${PYTHON:-$(command -v python)}

skip() { echo "skipped: $1"; exit 77; }
fail() { echo "failed: $1"; tail -n 40 "$folder"/*.out >&2; exit 1; }
holds() { echo "$1 ($((SECONDS - started)) s)"; started=$SECONDS; }
steps() { find "$folder/$1/checkpoints" -maxdepth 1 -name '[0-9]*' 2>/dev/null | sed 's|.*/||' | grep -x '[0-9]*' || true; }
newest() { steps "$1" | sort -n | tail -n 1 | grep . || echo 0; }

# within SECONDS COMMAND…: waits until it succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "waited in vain for: $*"
    sleep 0.2
  done
}

install() {
  if ! { command -v mpirun.openmpi && command -v slurmctld && command -v munged; } >/dev/null; then
    [ "$(id -u)" = 0 ] || skip "not root"
    command -v apt-get >/dev/null || skip "no apt-get"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends openmpi-bin slurm-wlm munge; } \
      >"$folder/apt.log" 2>&1 || skip "apt-get failed"
  fi
}

# A project folder with launch.sh and a .venv that is set up already: the interpreter that runs the tests.
project() {
  mkdir -p "$folder/project/.venv/bin"
  cd "$folder/project"
  cp "$repository"/{launch.sh,pyproject.toml} .
  ln -sfn "$repository"/{experiments,vae_jax} .
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$python" >.venv/bin/python
  chmod +x .venv/bin/python
  echo "$(cksum <pyproject.toml) $PWD" >.venv/installed-cpu
}

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

slurm() {
  local host
  host=$(hostname -s)
  cd "$folder"
  mkdir -p state spool
  head -c 128 /dev/urandom >munge.key
  chmod 400 munge.key
  cat >slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
# A job that is put back starts again when its old credential is void: two minutes, if nothing is said.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
MpiDefault=none
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES
CONF
  export SLURM_CONF=$folder/slurm.conf
  setsid munged --force --foreground --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
    --seed-file="$folder/munge.seed" --pid-file="$folder/munge.pid" >munged.log 2>&1 &
  daemons+=($!)
  setsid slurmctld -D -c >slurmctld.said 2>&1 &
  daemons+=($!)
  setsid slurmd -D >slurmd.said 2>&1 &
  daemons+=($!)
  for _ in $(seq 100); do
    ! sinfo --noheader --states=idle --format=%n 2>/dev/null | grep -q . || return 0
    sleep 0.2
  done
  skip "Slurm does not start"
}

end() {
  trap - EXIT
  [ -z "${SLURM_CONF:-}" ] || scancel --quiet --full --user="$(id -un)" || true
  [ -z "${SLURM_CONF:-}" ] || for _ in $(seq 200); do squeue --noheader | grep -q . && sleep 0.2 || break; done
  for ((number = ${#daemons[@]} - 1; number >= 0; number--)); do
    kill "${daemons[number]}" 2>/dev/null && wait "${daemons[number]}" || true
  done
}

gone() { ! squeue --noheader --jobs="$1" 2>/dev/null | grep -q .; }
reached() { [ "$(newest "$1")" -ge "$2" ]; }
summarised() { [ -s "$folder/$1/summary.json" ]; }
submit() {
  (cd "$folder/project" &&
    sbatch --parsable --ntasks=2 --output="$folder/$1.out" launch.sh train "${@:2}" --workdir="$folder/$1")
}

daemons=() started=$SECONDS
trap end EXIT
export ACCELERATOR=cpu JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=1
install
project
holds "set up"

small=(
  --config=experiments/configs/digits.py "--config.model.hidden=(16,)" --config.model.latent_dim=2
  --config.training.num_steps=60 --config.training.log_every=10 --config.training.eval_every=1000000
  --config.training.checkpoint_every=20 --config.evaluation.num_samples=20
)

cd "$folder/project"
mpirun.openmpi -n 2 --allow-run-as-root --oversubscribe --bind-to none ./launch.sh train "${small[@]}" \
  --workdir="$folder/mpi" >"$folder/mpi.out" 2>&1 || fail "mpirun"
summarised mpi || fail "mpirun left no summary"
grep -q "2 device(s) of 2 processes" "$folder/mpi.out" || fail "mpirun's processes did not meet"
holds "mpirun: two processes finish as one run"

slurm
holds "Slurm starts"

job=$(submit whole "${small[@]}")
within 300 gone "$job"
summarised whole || fail "the job left no summary"
grep -q "2 device(s) of 2 processes" "$folder/whole.out" || fail "the job's tasks did not meet"
holds "sbatch: two tasks finish as one run"

long=("${small[@]}" --config.training.num_steps=600)
job=$(submit requeued "${long[@]}")
within 300 reached requeued 40
scontrol requeue "$job"
within 60 grep -q "ended by SIGTERM" "$folder/requeued.out"
within 300 grep -q "resuming .* from step" "$folder/requeued.out"
# What Slurm sends in time before the time limit, by --signal=B:USR1@120.
within 300 reached requeued $(( $(newest requeued) + 100 ))
scancel --batch --signal=USR1 "$job"
within 300 gone "$job"
[ "$(grep -c "resuming .* from step" "$folder/requeued.out")" = 2 ] || fail "the job did not resume twice"
summarised requeued || fail "the requeued job left no summary"
holds "sbatch: a job put back, and one whose time is up, resume and finish"

job=$(submit cancelled "${small[@]}" --config.training.num_steps=1000000)
within 300 reached cancelled 40
scancel "$job"
within 60 gone "$job"
grep -q "ended by SIGTERM" "$folder/cancelled.out" || fail "scancel did not end it in order"
[ "$(newest cancelled)" -ge 40 ] || fail "scancel lost the checkpoints"
find "$folder/cancelled/checkpoints" -name '*.unfinished*' | grep -q . && fail "scancel left an unfinished checkpoint"
[ ! -e "$folder/cancelled/summary.json" ] || fail "a cancelled job finished"
holds "scancel: it saves and ends"
