"""Which process of how many this is: the one place that decides it, from the environment."""

import ipaddress
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

# A port for the coordinator where the system names none: one of 4096 by the job's number, so that jobs do not meet.
_FIRST_PORT, _PORTS = 61440, 4096
_TPU_PORT = 8476


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
    """The cluster that an environment describes; None for a run of one process.

    In this order: JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID (for Kubernetes and the local
    launcher; the index of a Kubernetes Job, or a rank of what follows, may stand for the process id), a Slurm step,
    Open MPI, MPICH's Hydra, and the hosts of a TPU slice (TPU_WORKER_HOSTNAMES; with ACCELERATOR=tpu the metadata
    server of a TPU VM is asked).

    Raises:
      ValueError: for a variable that is missing or no number, naming it.
    """
    for read in (_explicit, _slurm, _open_mpi, _hydra, _tpu):
        cluster = read(environ)
        if cluster is not None:
            if not 0 <= cluster.process_id < cluster.num_processes:
                raise ValueError(f"process {cluster.process_id} of {cluster.num_processes}: count from 0")
            return cluster if cluster.num_processes > 1 else None
    return None


def bind_address(coordinator: str) -> str:
    """ "address:port" to listen at: the one address that the coordinator's name stands for, never all interfaces.

    Raises:
      ValueError: for a name that cannot be resolved, or that stands for all interfaces.
    """
    host, port = _split(coordinator)
    try:
        address = ipaddress.ip_address(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, ValueError) as error:
        raise ValueError(f"the coordinator's host {host!r} cannot be resolved: {error}") from error
    if address.is_unspecified:
        raise ValueError(f"the coordinator {coordinator} would listen at all interfaces; name one address")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _explicit(environ: Mapping[str, str]) -> Cluster | None:
    coordinator = environ.get("JAX_COORDINATOR_ADDRESS")
    if coordinator is None:
        return None
    _split(coordinator)
    ranks = ("JAX_PROCESS_ID", "JOB_COMPLETION_INDEX", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
    rank = next((name for name in ranks if name in environ), ranks[0])
    return Cluster(coordinator, _number(environ, "JAX_NUM_PROCESSES"), _number(environ, rank), _devices(environ, None))


def _slurm(environ: Mapping[str, str]) -> Cluster | None:
    # The batch script itself has no step's node list: it is one process, which starts the step.
    if "SLURM_STEP_NODELIST" not in environ or "SLURM_PROCID" not in environ:
        return None
    coordinator = f"{_first_host(environ['SLURM_STEP_NODELIST'])}:{_port(_number(environ, 'SLURM_JOB_ID'))}"
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environ else "SLURM_NTASKS"
    local = _number(environ, "SLURM_LOCALID") if "SLURM_LOCALID" in environ else None
    return Cluster(coordinator, _number(environ, tasks), _number(environ, "SLURM_PROCID"), _devices(environ, local))


def _open_mpi(environ: Mapping[str, str]) -> Cluster | None:
    if "OMPI_COMM_WORLD_SIZE" not in environ:
        return None
    size, rank = _number(environ, "OMPI_COMM_WORLD_SIZE"), _number(environ, "OMPI_COMM_WORLD_RANK")
    # "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911": where mpirun runs, which is the first host's machine.
    uri = environ.get("OMPI_MCA_orte_hnp_uri", "")
    job = int(number[0]) if (number := re.match(r"\d+", uri)) else 0
    found = re.search(r"tcp://([^,:;]+)|tcp6://\[([^],]+)", uri)
    local = _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK")
    if _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE") == size:
        host = "127.0.0.1"
    elif found is None:
        raise ValueError("Open MPI does not say where mpirun runs; set JAX_COORDINATOR_ADDRESS=host:port of rank 0")
    else:
        host = found[1] or f"[{found[2]}]"
    return Cluster(f"{host}:{_port(job // _PORTS)}", size, rank, _devices(environ, local))


def _hydra(environ: Mapping[str, str]) -> Cluster | None:
    if "PMI_SIZE" not in environ:
        return None
    size, rank = _number(environ, "PMI_SIZE"), _number(environ, "PMI_RANK")
    if environ.get("MPI_LOCALNRANKS") != str(size):
        raise ValueError("PMI_SIZE is set, but nothing says where rank 0 runs; set JAX_COORDINATOR_ADDRESS=host:port")
    local = _number(environ, "MPI_LOCALRANKID")
    return Cluster(f"127.0.0.1:{_FIRST_PORT + os.getppid() % _PORTS}", size, rank, _devices(environ, local))


def _tpu(environ: Mapping[str, str]) -> Cluster | None:
    hosts, number = environ.get("TPU_WORKER_HOSTNAMES"), environ.get("TPU_WORKER_ID", "")
    if hosts is None and environ.get("ACCELERATOR") == "tpu":
        server = environ.get("GCE_METADATA_IP", "metadata.google.internal")
        # One host's address, or "name:id:address", for each.
        hosts, number = _metadata(server, "worker-network-endpoints"), _metadata(server, "agent-worker-number") or ""
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
    if not value.isdigit():
        raise ValueError(f"the environment asks for several processes, but {name} is {value!r}: a number is needed")
    return int(value)


def _split(coordinator: str) -> tuple[str, str]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"a coordinator is host:port, got {coordinator!r}")
    return host.strip("[]"), port


def _port(job: int) -> int:
    return _FIRST_PORT + job % _PORTS


def _first_host(nodes: str) -> str:
    """Of Slurm's lists: "node3", "node3,other", "node[003-015,20],other"."""
    name, bracket, rest = nodes.partition("[")
    if "," in name or not bracket:
        return name.split(",")[0]
    return name + re.split(r"[-,\]]", rest)[0]


def _devices(environ: Mapping[str, str], local: int | None) -> tuple[int, ...] | None:
    """One GPU for each process of a machine, where all of them see more than one."""
    visible = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return (local,) if local is not None and len(visible) > 1 and local < len(visible) else None
