"""Which process of how many this is: the one place that decides it, from the environment."""

import ipaddress
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

# A port for the coordinator where the system names none: one of 4096 by the job's number, so that jobs do not meet.
_FIRST_PORT, _PORTS = 61440, 4096
_STEPS = 8  # of one job at once, each with a port of its own
_TPU_PORT = 8482  # JAX's; 8476 is libtpu's


class Cluster(NamedTuple):
    """The processes of one run, and this one's place among them.

    Attributes:
      coordinator: "host:port", where process 0 listens.
      num_processes: how many.
      process_id: this one's number, from 0.
      local_device_ids: the GPUs of this process, where several on one machine see the same ones; None for all.
    """

    coordinator: str
    num_processes: int
    process_id: int
    local_device_ids: tuple[int, ...] | None = None


def detect(environ: Mapping[str, str]) -> Cluster | None:
    """Returns the cluster that an environment describes; None for a run of one process.

    In this order: JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID (for Kubernetes and the local
    launcher; the index of a Kubernetes Job, or a rank of what follows, may stand for the process id), Open MPI,
    MPICH's Hydra, a Slurm step, and the hosts of a TPU slice (TPU_WORKER_HOSTNAMES; with ACCELERATOR=tpu the metadata
    server of a TPU VM is asked).

    Raises:
      ValueError: for a variable that is missing, malformed or out of range, naming it with its value.
    """
    # Slurm after MPI: what mpirun starts within a Slurm job sees the step of mpirun's own helpers too.
    for read in (_explicit, _open_mpi, _hydra, _slurm, _tpu):
        cluster = read(environ)
        if cluster is not None:
            if not 0 <= cluster.process_id < cluster.num_processes:
                raise ValueError(f"process {cluster.process_id} of {cluster.num_processes}: count from 0")
            return cluster if cluster.num_processes > 1 else None
    return None


def bind_address(coordinator: str, *, patience_seconds: float = 60) -> str:
    """Returns "address:port" for process 0 to listen at: that of the coordinator's name, never all interfaces.

    Raises:
      ValueError: for a name that stays unknown for `patience_seconds`, or that stands for all interfaces.
      OSError: where the address is another machine's, or the port is taken.
    """
    host, port = _split(coordinator)
    family, address = _resolve(host, time.monotonic() + patience_seconds)
    if address.is_unspecified:
        raise ValueError(f"the coordinator {coordinator} would listen at all interfaces; name one address")
    # Asked here, since JAX would share the port with another run's coordinator.
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((str(address), int(port)))
        except OSError as error:
            raise OSError(f"process 0 cannot listen at the coordinator's {coordinator}: {error.strerror}") from error
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _resolve(host: str, deadline: float) -> tuple[socket.AddressFamily, ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Returns the address of a host's name; that of a pod of Kubernetes is known some time after its start."""
    while True:
        try:
            family, _, _, _, place = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
            return family, ipaddress.ip_address(place[0])
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise ValueError(f"the coordinator's host {host!r} cannot be resolved: {error}") from error
        time.sleep(1)


def _explicit(environ: Mapping[str, str]) -> Cluster | None:
    coordinator = environ.get("JAX_COORDINATOR_ADDRESS")
    if coordinator is None:
        return None
    _split(coordinator)
    # SLURM_PROCID last: what mpirun starts inherits that of the batch script, which is 0.
    ranks = ("JAX_PROCESS_ID", "JOB_COMPLETION_INDEX", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
    rank = next((name for name in ranks if name in environ), ranks[0])
    devices = None if rank in ranks[:2] else _devices(environ)
    return Cluster(coordinator, _number(environ, "JAX_NUM_PROCESSES"), _number(environ, rank), devices)


def _open_mpi(environ: Mapping[str, str]) -> Cluster | None:
    if "OMPI_COMM_WORLD_SIZE" not in environ:
        return None
    size, rank = _number(environ, "OMPI_COMM_WORLD_SIZE"), _number(environ, "OMPI_COMM_WORLD_RANK")
    # "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911": where mpirun runs. The job's number is in the upper 16 bits.
    uri = environ.get("OMPI_MCA_orte_hnp_uri", "")
    job = int(number[0]) >> 16 if (number := re.match(r"\d+", uri)) else os.getppid()
    found = re.search(r"tcp://([^,:;]+)|tcp6://\[([^],]+)", uri)
    if _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE") == size:
        host = "127.0.0.1"
    elif found is None:
        raise ValueError("Open MPI does not say where mpirun runs; set JAX_COORDINATOR_ADDRESS=host:port of rank 0")
    elif rank == 0 and environ.get("OMPI_MCA_orte_local_daemon_uri", uri) != uri:
        raise ValueError("mpirun was called on another machine than rank 0's; set JAX_COORDINATOR_ADDRESS=host:port")
    else:
        host = found[1] or f"[{found[2]}]"
    return Cluster(f"{host}:{_port(job)}", size, rank, _devices(environ))


def _hydra(environ: Mapping[str, str]) -> Cluster | None:
    # Slurm's own PMI sets PMI_SIZE too.
    if "PMI_SIZE" not in environ or ("MPI_LOCALNRANKS" not in environ and "SLURM_STEP_NODELIST" in environ):
        return None
    size, rank = _number(environ, "PMI_SIZE"), _number(environ, "PMI_RANK")
    if environ.get("MPI_LOCALNRANKS") != str(size):
        raise ValueError("PMI_SIZE is set, but nothing says where rank 0 runs; set JAX_COORDINATOR_ADDRESS=host:port")
    return Cluster(f"127.0.0.1:{_port(os.getppid())}", size, rank, _devices(environ))


def _slurm(environ: Mapping[str, str]) -> Cluster | None:
    # The batch script itself has no step's node list: it is one process, which starts the step.
    if "SLURM_STEP_NODELIST" not in environ or "SLURM_PROCID" not in environ:
        return None
    step = _number(environ, "SLURM_STEP_ID") if "SLURM_STEP_ID" in environ else 0
    port = _port(_number(environ, "SLURM_JOB_ID") + step % _STEPS * (_PORTS // _STEPS))
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environ else "SLURM_NTASKS"
    coordinator = f"{_first_host(environ['SLURM_STEP_NODELIST'])}:{port}"
    return Cluster(coordinator, _number(environ, tasks), _number(environ, "SLURM_PROCID"), _devices(environ))


def _tpu(environ: Mapping[str, str]) -> Cluster | None:
    hosts, number = environ.get("TPU_WORKER_HOSTNAMES"), environ.get("TPU_WORKER_ID", "")
    if hosts is None and environ.get("ACCELERATOR") == "tpu":
        server = environ.get("GCE_METADATA_IP", "metadata.google.internal")
        # One host's address, or "name:id:address", for each.
        hosts, number = _metadata(server, "worker-network-endpoints"), _metadata(server, "agent-worker-number") or ""
    if environ.get("MEGASCALE_NUM_SLICES", "1") != "1":
        raise ValueError("of several TPU slices (MEGASCALE_NUM_SLICES) nothing is known; set JAX_COORDINATOR_ADDRESS")
    if hosts is None or "," not in hosts:
        return None
    addresses = [host.strip().split(":")[-1] for host in hosts.split(",")]
    coordinator = f"{addresses[0]}:{_TPU_PORT}"
    return Cluster(coordinator, len(addresses), _number({"TPU_WORKER_ID": number}, "TPU_WORKER_ID"))


def _metadata(server: str, name: str) -> str | None:
    url = f"http://{server}/computeMetadata/v1/instance/attributes/{name}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None  # no machine of Google's, or one host alone


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not re.fullmatch("[0-9]+", value):
        raise ValueError(f"the environment asks for several processes, but {name} is {value!r}: a number is needed")
    return int(value)


def _split(coordinator: str) -> tuple[str, str]:
    parts = re.fullmatch(r"(?:\[([^]]+)\]|([^:]+)):([0-9]{1,5})", coordinator)
    if parts is None or not 0 < int(parts[3]) < 2**16:
        raise ValueError(f"a coordinator is host:port, got {coordinator!r}")
    return parts[1] or parts[2], parts[3]


def _port(job: int) -> int:
    return _FIRST_PORT + job % _PORTS


def _first_host(nodes: str) -> str:
    """Returns the first of Slurm's lists: "node3,other", "node[003-015,20],other", "rack[0-3]n[00-15]"."""
    return re.sub(r"\[([^-,\]]*)[^\]]*\]", r"\1", nodes).split(",")[0]


def _devices(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Returns a process's share of the GPUs that all processes of its machine see; None for all that it sees."""
    if "JAX_LOCAL_DEVICE_IDS" in environ:
        return None  # JAX reads it
    local, count = _local_rank(environ)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if count == 1 or visible == "":
        return None
    if visible is None:
        return (local,)  # how many there are is not known: one each
    number = len(visible.split(","))
    # Slurm shows each task its own, where it was asked to bind them.
    on_node = _number(environ, "SLURM_GPUS_ON_NODE") if "SLURM_GPUS_ON_NODE" in environ else number
    share = 0 if number < on_node else number // count
    return tuple(range(local * share, (local + 1) * share)) or None


def _local_rank(environ: Mapping[str, str]) -> tuple[int, int]:
    """Returns this process's number among those of its machine, and how many these are."""
    for rank, size in (
        ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
        ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ):
        if rank in environ:
            count = _number(environ, size)
            return _index(environ, rank, count, f"{size} is {count}"), count
    if "SLURM_STEP_TASKS_PER_NODE" not in environ:
        return 0, 1
    tasks, counts = environ["SLURM_STEP_TASKS_PER_NODE"], []
    for text in tasks.split(","):  # of "4(x2),3": four on each of two machines, three on another
        found = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", text)
        if found is None:
            raise ValueError(f"SLURM_STEP_TASKS_PER_NODE is {tasks!r}: numbers are needed, as in '4(x2),3'")
        counts += [int(found[1])] * int(found[2] or 1)
    given = f"SLURM_STEP_TASKS_PER_NODE is {tasks!r}"
    count = counts[_index(environ, "SLURM_NODEID", len(counts), given)]
    return _index(environ, "SLURM_LOCALID", count, given), count


def _index(environ: Mapping[str, str], name: str, count: int, given: str) -> int:
    number = _number(environ, name)
    if number >= count:
        raise ValueError(f"{name} is {number}, but {given}: count from 0")
    return number
