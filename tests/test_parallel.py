"""Every way to spread a batch over devices gives the steps of one device.

Under plain SGD, whose steps are as long as the gradients: Adam would hide gradients too large by one factor.
"""

import contextlib
import os
import socket
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import commands
from tests.parallel_program import (
    FLOOR,
    NUM_DEVICES,
    NUM_EVALUATED,
    OF_ONE_LOSS,
    OF_ONE_PROCESS,
    OVER_PROCESSES,
    WAYS,
    evaluations,
)
from vae_jax import parallel

TOLERANCE = 1e-5
LOSSES = ("negative_elbo", "free_bits", "doubly_reparameterized")
SPREAD = [
    (loss, way)
    for loss in LOSSES
    for way in WAYS
    if way != "single" and (loss == "negative_elbo" or way not in OF_ONE_LOSS)
]
PROCESSES = 2
SPREAD_OVER_PROCESSES = [(loss, way) for loss, ways in OVER_PROCESSES.items() for way in ways]


def compute(path: Path, *environments: dict[str, str]) -> dict[str, np.ndarray]:
    """What tests/parallel_program.py computed on eight devices, in a process for each of these environments."""
    common = {
        "XLA_FLAGS": commands.xla_flags(NUM_DEVICES // len(environments)),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # the time goes into compilation
        "PYTHONPATH": str(commands.ROOT),
    }
    command = [sys.executable, str(Path(__file__).with_name("parallel_program.py")), str(path)]
    # To files: a process whose pipe is full would wait for a reader who waits for another process.
    said = [path.with_suffix(f".{rank}") for rank in range(len(environments))]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                commands.started(command, env=os.environ | common | own, stderr=stack.enter_context(file.open("wb")))
            )
            for file, own in zip(said, environments, strict=True)
        ]
        statuses = [process.wait(300) for process in processes]
    assert not any(statuses), (statuses, *(file.read_text()[-3000:] for file in said))
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, np.ndarray]:
    """Of one process."""
    return compute(tmp_path_factory.mktemp("parallel") / "results.npz", {})


@pytest.fixture(scope="module")
def results_of_two(tmp_path_factory) -> dict[str, np.ndarray]:
    """Of two processes with four devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    several = {"JAX_COORDINATOR_ADDRESS": coordinator, "JAX_NUM_PROCESSES": str(PROCESSES)}
    ranks = [several | {"JAX_PROCESS_ID": str(rank)} for rank in range(PROCESSES)]
    return compute(tmp_path_factory.mktemp("processes") / "results.npz", *ranks)


def test_there_are_eight_devices(results):
    assert results["num_devices"] == NUM_DEVICES


@pytest.mark.parametrize("loss", LOSSES)
def test_the_parameters_move_by_more_than_the_tolerance(results, loss):
    """The control of the test below: every parameter would be seen to move wrongly."""
    movement = np.abs(results[f"{loss}/single/params"] - results["start"])
    assert np.median(movement) > 1000 * TOLERANCE
    assert movement.min() > 10 * TOLERANCE


@pytest.mark.parametrize(("loss", "way"), SPREAD)
def test_parameters_after_twenty_steps_are_those_of_one_device(results, loss, way):
    np.testing.assert_allclose(
        results[f"{loss}/{way}/params"], results[f"{loss}/single/params"], rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize(("loss", "way"), SPREAD_OVER_PROCESSES)
def test_two_processes_of_four_devices_compute_what_one_device_does(results, results_of_two, loss, way):
    """Parameters and the loss of every step."""
    assert (results_of_two["num_processes"], results_of_two["num_devices"]) == (PROCESSES, NUM_DEVICES)
    for name in ("params", "loss"):
        expected = results[f"{loss}/single/{name}"]
        np.testing.assert_allclose(results_of_two[f"{loss}/{way}/{name}"], expected, rtol=1e-5, atol=TOLERANCE)


@pytest.mark.parametrize(("loss", "way"), SPREAD)
def test_metrics_of_every_step_are_those_of_one_device(results, loss, way):
    """Of the global batch: the loss and its terms, and the norm of the averaged gradient."""
    for name in ("loss", "reconstruction", "kl", "effective_sample_size", "gradient_norm"):
        expected = results[f"{loss}/single/{name}"]
        assert expected.shape == (20,)
        np.testing.assert_allclose(results[f"{loss}/{way}/{name}"], expected, rtol=1e-5, atol=TOLERANCE, err_msg=name)


def of_evaluation(computed: dict[str, np.ndarray], name: str, way: str) -> dict[str, np.ndarray]:
    """What the evaluation of this name found, by the path of the leaf."""
    prefix = f"{name}/{way}/"
    found = {key.removeprefix(prefix): values for key, values in computed.items() if key.startswith(prefix)}
    found.pop("multiplications", None)
    return found


@pytest.mark.parametrize("name", evaluations(None))
def test_the_figures_of_examples_divided_among_devices_are_those_of_one_device(results, results_of_two, name):
    """Among eight of one process, and among the four of each of two."""
    expected = of_evaluation(results, name, "single")
    assert expected
    for computed in (results,) if name in OF_ONE_PROCESS else (results, results_of_two):
        found = of_evaluation(computed, name, "spread")
        assert found.keys() == expected.keys()
        for path, values in expected.items():
            np.testing.assert_allclose(found[path], values, rtol=1e-4, atol=1e-4, err_msg=path)


@pytest.mark.parametrize("name", evaluations(None))
def test_a_device_of_eight_multiplies_for_two_of_thirteen_examples(results, name):
    whole = results[f"{name}/single/multiplications"]
    assert whole > 0
    assert results[f"{name}/spread/multiplications"] * NUM_EVALUATED == whole * -(-NUM_EVALUATED // NUM_DEVICES)


def test_free_bits_have_dimensions_above_and_below_the_floor(results):
    """The control of the batch-level loss: at the beginning and at the end, two of four dimensions are above."""
    for kls in results["free_bits/kls"]:
        assert kls[:2].min() > 1.2 * FLOOR
        assert kls[2:].max() < 0.9 * FLOOR


@pytest.mark.parametrize("backend", parallel.BACKENDS)
def test_an_uneven_batch_is_refused_naming_the_numbers(results, backend):
    message = "a batch of 10 cannot be divided evenly among 8 devices; use a multiple of 8"
    assert str(results[f"refusal/{backend}"]) == message


def test_an_unknown_backend_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown backend 'shardmap'\. Did you mean 'shard_map'"):
        parallel.data_parallel(
            lambda state, key, data, index: (state, {}), mesh=parallel.data_mesh(), backend="shardmap"
        )


def test_the_step_sees_an_axis_where_there_is_one():
    assert [parallel.axis_name(backend) for backend in ("jit", "pmap", "shard_map")] == [
        None,
        parallel.AXIS,
        parallel.AXIS,
    ]


def test_a_mesh_may_be_of_some_devices():
    device = jax.devices()[-1]
    mesh = parallel.data_mesh([device])
    assert (mesh.axis_names, list(mesh.devices.flat)) == ((parallel.AXIS,), [device])
