"""Every launcher's environment gives one cluster; the values are what those launchers set."""

import http.server
import re
import socket
import threading

import pytest

from vae_jax import cluster
from vae_jax.cluster import Cluster

EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "10.0.0.7:1234", "JAX_NUM_PROCESSES": "4"}
# The batch script's, as Slurm 22.05 sets it, and what its step has beside.
BATCH = {
    "SLURM_JOB_ID": "4099",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "8",
    "SLURM_NODELIST": "node[003-004]",
    "SLURM_TASKS_PER_NODE": "4(x2)",
}
STEP = {
    **BATCH,
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
    "SLURM_NODEID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "node[003-004]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_MCA_orte_hnp_uri": "1492975616.0;tcp://192.0.2.2,10.1.0.2:45479;tcp6://[fd00::2]:49091",
    "OMPI_MCA_orte_local_daemon_uri": "1492975616.1;tcp://192.0.2.3:40011",
}
ONE_MACHINE = {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}
HYDRA = {"PMI_SIZE": "2", "PMI_RANK": "1", "PMI_FD": "8", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}
TPU = {"TPU_WORKER_HOSTNAMES": "t-0.tpu,t-1.tpu,t-2.tpu,t-3.tpu", "TPU_WORKER_ID": "2"}
OPEN_MPI_PORT = 61440 + 1492975616 // 65536 % 4096


def detected(*environments: dict[str, str], without: tuple[str, ...] = ()) -> Cluster | None:
    merged = {name: value for environment in environments for name, value in environment.items()}
    return cluster.detect({name: value for name, value in merged.items() if name not in without})


def host(found: Cluster | None) -> str:
    assert found is not None
    return found.coordinator.rpartition(":")[0]


@pytest.mark.parametrize(
    "environment",
    [{}, {"HOME": "/root"}, {"SLURM_CPUS_ON_NODE": "2"}, {"JOB_COMPLETION_INDEX": "0"}],
)
def test_an_environment_that_names_no_peers_is_one_process(environment):
    assert detected(environment) is None


@pytest.mark.parametrize(
    "environment",
    [
        {**EXPLICIT, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"},
        {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {**OPEN_MPI, **ONE_MACHINE, "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}
        | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"},
        {"PMI_SIZE": "1", "PMI_RANK": "0", "MPI_LOCALNRANKS": "1", "MPI_LOCALRANKID": "0"},
        {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
    ],
    ids=["explicit", "slurm", "open_mpi", "hydra", "tpu"],
)
def test_a_launcher_of_one_process_is_one_process(environment):
    assert detected(environment) is None


def test_explicit_variables_are_taken_as_they_are():
    assert detected(EXPLICIT, {"JAX_PROCESS_ID": "3"}) == Cluster("10.0.0.7:1234", 4, 3)


def test_the_index_of_a_kubernetes_job_is_a_process_id():
    assert detected(EXPLICIT, {"JOB_COMPLETION_INDEX": "2"}) == Cluster("10.0.0.7:1234", 4, 2)


@pytest.mark.parametrize(
    ("launcher", "rank"), [(OPEN_MPI, 3), (HYDRA, 1), (STEP, 6)], ids=["open_mpi", "hydra", "slurm"]
)
def test_a_launchers_rank_stands_for_the_process_id(launcher, rank):
    found = detected(EXPLICIT, {"JAX_NUM_PROCESSES": "8"}, launcher)
    assert found is not None
    assert (found.coordinator, found.process_id) == ("10.0.0.7:1234", rank)


@pytest.mark.parametrize(("launcher", "rank"), [(OPEN_MPI, 3), (HYDRA, 1)], ids=["open_mpi", "hydra"])
def test_the_rank_is_mpiruns_own_within_a_slurm_job(launcher, rank):
    """Every process has the batch script's SLURM_PROCID, 0."""
    found = detected(BATCH, EXPLICIT, launcher)
    assert found is not None
    assert found.process_id == rank


def test_explicit_variables_come_before_every_launcher():
    assert host(detected(EXPLICIT, {"JAX_PROCESS_ID": "1"}, STEP, OPEN_MPI, HYDRA, TPU)) == "10.0.0.7"


def test_a_slurm_task_is_one_process_of_the_step():
    assert detected(STEP) == Cluster("node003:61443", 8, 6, (2,))


def test_the_batch_script_of_slurm_is_one_process():
    assert detected(BATCH) is None


def test_two_steps_of_one_job_do_not_meet():
    first, second = (detected(STEP, {"SLURM_STEP_ID": step}) for step in "01")
    assert first is not None
    assert second is not None
    assert first.coordinator != second.coordinator


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node3", "node3"),
        ("node3,other", "node3"),
        ("node[003-015]", "node003"),
        ("node[007,009-015],other", "node007"),
        ("a-1,node[1-2]", "a-1"),
        ("rack[0-3]n[00-15]", "rack0n00"),
        ("node[1-2].cluster.org", "node1.cluster.org"),
    ],
)
def test_the_coordinator_is_the_first_of_slurms_nodes(nodes, first):
    assert host(detected(STEP, {"SLURM_STEP_NODELIST": nodes})) == first


# What one of two tasks of a machine sees; the figures in the ids are GPUs.
@pytest.mark.parametrize(
    ("gpus", "share"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_GPUS_ON_NODE": "4"}, (2, 3)),
        ({"CUDA_VISIBLE_DEVICES": "1", "SLURM_GPUS_ON_NODE": "2", "SLURM_GPUS_PER_TASK": "1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "SLURM_GPUS_ON_NODE": "4", "SLURM_GPUS_PER_TASK": "2"}, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, None),
        ({}, (1,)),
        ({"JAX_LOCAL_DEVICE_IDS": "0"}, None),
    ],
    ids=["four_shared", "one_each", "two_each", "hidden", "unknown", "explicit"],
)
def test_tasks_of_a_machine_share_the_gpus_that_all_of_them_see(gpus, share):
    found = detected(STEP, {"SLURM_STEP_TASKS_PER_NODE": "6,2", "SLURM_LOCALID": "1"}, gpus)
    assert found is not None
    assert found.local_device_ids == share


def test_a_task_alone_on_its_machine_has_all_gpus():
    alone = {"SLURM_STEP_TASKS_PER_NODE": "1(x8)", "SLURM_NODEID": "6", "SLURM_LOCALID": "0"}
    found = detected(STEP, alone, {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_GPUS_ON_NODE": "4"})
    assert found is not None
    assert found.local_device_ids is None


def test_open_mpi_on_one_machine_stays_on_the_loopback_interface():
    assert detected(OPEN_MPI, ONE_MACHINE) == Cluster(f"127.0.0.1:{OPEN_MPI_PORT}", 4, 3, (3,))


def test_open_mpi_on_several_machines_meets_where_mpirun_runs():
    assert detected(OPEN_MPI) == Cluster(f"192.0.2.2:{OPEN_MPI_PORT}", 4, 3, (1,))


def test_open_mpi_may_be_reached_by_version_6_alone():
    uri = "1492975616.0;tcp6://[2620:10d:c083::2,fd00::2]:43370"
    assert detected(OPEN_MPI, {"OMPI_MCA_orte_hnp_uri": uri}) == Cluster(
        f"[2620:10d:c083::2]:{OPEN_MPI_PORT}", 4, 3, (1,)
    )


def test_hydra_on_one_machine_stays_on_the_loopback_interface():
    found = detected(HYDRA)
    assert found is not None
    assert (host(found), *found[1:]) == ("127.0.0.1", 2, 1, (1,))


@pytest.mark.parametrize("launcher", [{**OPEN_MPI, **ONE_MACHINE}, HYDRA], ids=["open_mpi", "hydra"])
def test_mpi_comes_before_the_slurm_step_of_its_helper(launcher):
    helper = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"}
    assert detected(STEP, helper, launcher) == detected(launcher)


def test_slurms_own_pmi_is_a_slurm_step():
    assert detected(STEP, {"PMI_SIZE": "8", "PMI_RANK": "6", "PMI_JOBID": "4099.0"}) == detected(STEP)


def test_the_hosts_of_a_tpu_slice_are_one_process_each():
    assert detected(TPU) == Cluster("t-0.tpu:8482", 4, 2)


@pytest.fixture
def metadata_server():
    """Answers as Google's with what the test puts in; its address."""
    answers: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path.removeprefix("/computeMetadata/v1/instance/attributes/"))
            known = answer is not None and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write((answer or "").encode() if known else b"")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {"ACCELERATOR": "tpu", "GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}, answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "endpoints", ["10.164.0.5,10.164.0.6", "w-0:1:10.164.0.5,w-1:2:10.164.0.6"], ids=["new", "old"]
)
def test_the_metadata_server_names_the_hosts_of_a_tpu_slice(metadata_server, endpoints):
    environment, answers = metadata_server
    answers |= {"worker-network-endpoints": endpoints, "agent-worker-number": "1"}
    assert detected(environment) == Cluster("10.164.0.5:8482", 2, 1)


def test_a_metadata_server_without_endpoints_is_one_process(metadata_server):
    environment, _ = metadata_server
    assert detected(environment) is None


def test_an_absent_metadata_server_is_one_process():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert detected({"ACCELERATOR": "tpu", "GCE_METADATA_IP": address}) is None


def test_the_metadata_server_is_asked_on_tpus_alone(metadata_server):
    environment, answers = metadata_server
    answers |= {"worker-network-endpoints": "10.164.0.5,10.164.0.6", "agent-worker-number": "1"}
    assert detected(environment, {"ACCELERATOR": "cpu"}) is None


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({**EXPLICIT, "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES"),
        (EXPLICIT, "JAX_PROCESS_ID"),
        (STEP, "SLURM_JOB_ID"),
        (STEP, "SLURM_LOCALID"),
        (OPEN_MPI, "OMPI_COMM_WORLD_RANK"),
        (OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE"),
        (HYDRA, "PMI_RANK"),
        (TPU, "TPU_WORKER_ID"),
    ],
)
def test_a_missing_variable_is_named(environment, missing):
    with pytest.raises(ValueError, match=f"{missing} is '': a number is needed"):
        detected(environment, without=(missing,))


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({**EXPLICIT, "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES"),
        (EXPLICIT, "JAX_PROCESS_ID"),
        (EXPLICIT, "JOB_COMPLETION_INDEX"),
        (STEP, "SLURM_PROCID"),
        (STEP, "SLURM_STEP_ID"),
        (STEP, "SLURM_NODEID"),
        ({**STEP, "CUDA_VISIBLE_DEVICES": "0,1"}, "SLURM_GPUS_ON_NODE"),
        (OPEN_MPI, "OMPI_COMM_WORLD_SIZE"),
        (HYDRA, "PMI_SIZE"),
        (TPU, "TPU_WORKER_ID"),
    ],
)
@pytest.mark.parametrize("value", ["two", "-1", "1.0", "²"])
def test_what_is_no_number_is_named(environment, name, value):
    with pytest.raises(ValueError, match=f"{name} is '{value}': a number is needed"):
        detected(environment, {name: value})


@pytest.mark.parametrize(
    ("environment", "name"),
    [(EXPLICIT, "JAX_PROCESS_ID"), (STEP, "SLURM_PROCID"), (TPU, "TPU_WORKER_ID")],
)
def test_a_rank_beyond_the_last_is_refused(environment, name):
    with pytest.raises(ValueError, match=r"process 8 of [48]: count from 0"):
        detected(environment, {name: "8"})


@pytest.mark.parametrize(
    ("environment", "name", "value", "given"),
    [
        (STEP, "SLURM_NODEID", "2", "SLURM_STEP_TASKS_PER_NODE is '4(x2)'"),
        (STEP, "SLURM_LOCALID", "4", "SLURM_STEP_TASKS_PER_NODE is '4(x2)'"),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "0,8", "SLURM_NODEID": "0"}, "SLURM_LOCALID", "0", "is '0,8'"),
        ({**OPEN_MPI, **ONE_MACHINE}, "OMPI_COMM_WORLD_LOCAL_RANK", "4", "OMPI_COMM_WORLD_LOCAL_SIZE is 4"),
        (HYDRA, "MPI_LOCALRANKID", "2", "MPI_LOCALNRANKS is 2"),
    ],
)
def test_a_number_within_a_machine_beyond_the_last_is_refused(environment, name, value, given):
    with pytest.raises(ValueError, match=rf"{name} is {value}, but .*{re.escape(given)}: count from 0"):
        detected(environment, {name: value})


@pytest.mark.parametrize("tasks", ["", "four", "4(x2", "4x2", "4(x),3", "4,,3", "²", "-4"])
def test_malformed_numbers_of_slurms_tasks_are_refused(tasks):
    with pytest.raises(ValueError, match=re.escape(f"SLURM_STEP_TASKS_PER_NODE is {tasks!r}: numbers are needed")):
        detected(STEP, {"SLURM_STEP_TASKS_PER_NODE": tasks})


@pytest.mark.parametrize(
    "coordinator", ["", "node3", "node3:", ":1234", "node3:http", "[::1]", "::1", "node3:99999", "node3:0"]
)
def test_a_malformed_coordinator_is_refused(coordinator):
    with pytest.raises(ValueError, match="a coordinator is host:port"):
        detected(EXPLICIT, {"JAX_COORDINATOR_ADDRESS": coordinator, "JAX_PROCESS_ID": "0"})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({**OPEN_MPI, "OMPI_MCA_orte_hnp_uri": ""}, "does not say where mpirun runs"),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "0"}, "another machine than rank 0's"),
        ({**HYDRA, "MPI_LOCALNRANKS": "1"}, "nothing says where rank 0 runs"),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, "nothing says where rank 0 runs"),
        ({**TPU, "MEGASCALE_NUM_SLICES": "2"}, "several TPU slices"),
    ],
    ids=["open_mpi_5", "mpirun_elsewhere", "hydra_machines", "pmi_alone", "tpu_slices"],
)
def test_where_the_coordinator_is_not_known_it_is_asked_for(environment, message):
    with pytest.raises(ValueError, match=f"{message}.*set JAX_COORDINATOR_ADDRESS"):
        detected(environment)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(("name", "address"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]")])
def test_the_coordinator_listens_at_its_own_address(name, address):
    port = free_port()
    assert cluster.bind_address(f"{name}:{port}") == f"{address}:{port}"


def test_the_coordinators_name_is_resolved():
    assert cluster.bind_address(f"localhost:{free_port()}").rpartition(":")[0] in ("127.0.0.1", "[::1]")


@pytest.mark.parametrize("name", ["0.0.0.0", "[::]", "0", "00.0"])
def test_all_interfaces_are_refused(name):
    with pytest.raises(ValueError, match="all interfaces; name one address"):
        cluster.bind_address(f"{name}:1234")


def test_a_name_that_cannot_be_resolved_is_refused():
    with pytest.raises(ValueError, match=r"'nosuch\.invalid' cannot be resolved"):
        cluster.bind_address("nosuch.invalid:1234", patience_seconds=0.0)


def test_a_name_is_waited_for(monkeypatch):
    """Kubernetes tells a pod's name some time after the pod's start."""
    known, asked = socket.getaddrinfo, []

    def later(*arguments, **keywords):
        asked.append(arguments)
        if len(asked) == 1:
            raise socket.gaierror("Name or service not known")
        return known("127.0.0.1", *arguments[1:], **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", later)
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    assert cluster.bind_address(f"train-0.train:{(port := free_port())}") == f"127.0.0.1:{port}"


def test_a_port_that_another_run_listens_at_is_refused():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as JAX does
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match=r"process 0 cannot listen at the coordinator's 127\.0\.0\.1:.*in use"):
            cluster.bind_address(f"127.0.0.1:{other.getsockname()[1]}")


def test_another_machines_address_is_refused():
    with pytest.raises(OSError, match="process 0 cannot listen"):
        cluster.bind_address(f"203.0.113.1:{free_port()}")
