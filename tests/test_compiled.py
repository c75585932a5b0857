"""What XLA makes of the training step, by its shape: a step that has become slower shows here without a clock."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jaxlib
import pytest

from experiments.benchmarks import steps

RECORDED = Path(__file__).parent / "compiled.json"
# Of XLA's choices; those of the products and the loops are exact.
TOLERANCE = 0.1


def test_the_record_is_of_the_three_cases():
    assert list(recorded()["steps"]) == [str(case) for case in steps.CASES]


def recorded() -> dict[str, Any]:
    return json.loads(RECORDED.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    """In a process of its own, whose programs are optimised in full: those of the suite are not."""
    path = tmp_path_factory.mktemp("compiled") / "found.json"
    own = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.compiled_program", str(path)]
    subprocess.run(command, check=True, env={**os.environ, **own, "JAX_ENABLE_COMPILATION_CACHE": "false"})
    return json.loads(path.read_text())


@pytest.mark.parametrize("case", steps.CASES, ids=str)
def test_a_step_has_the_products_of_its_matrices_and_one_loop(found, case):
    """Three products a matrix, less the gradient of the data; the loop is the one over steps, and noise has none."""
    matrices = len(case.encoder) + len(case.decoder)
    of_case = found["steps"][str(case)]
    assert of_case["dot"] == 3 * matrices - 1
    assert of_case["while"] == 1
    assert of_case["all-reduce"] == 0
    # One step of the three, in which the products are nearly all.
    assert case.flops <= of_case["flops"] <= 1.12 * case.flops


@pytest.mark.parametrize("case", steps.CASES, ids=str)
@pytest.mark.parametrize("what", ["fusion", "copy", "temporary bytes", "flops"])
def test_a_step_is_compiled_to_what_was_recorded(found, case, what):
    """Fewer passes, copies or bytes are to be recorded anew: `python -m tests.compiled_program tests/compiled.json`."""
    if jaxlib.__version__ != recorded()["jaxlib"]:
        pytest.skip(f"recorded with jaxlib {recorded()['jaxlib']}")
    assert found["steps"][str(case)][what] == pytest.approx(recorded()["steps"][str(case)][what], rel=TOLERANCE)


def test_training_with_fifty_samples_takes_less_than_a_gigabyte(found):
    assert found["steps"][str(steps.CASES[2])]["temporary bytes"] < 2**30


@pytest.mark.parametrize("backend", ["jit", "shard_map"])
def test_eight_devices_exchange_the_gradients_in_one_sum_and_no_other_array(found, backend):
    """Beside them only the means of a few metrics."""
    case = steps.CASES[1]
    shapes = jax.eval_shape(steps.mlp(case).init, jax.random.key(0))
    of_parameters = sum(4 * leaf.size for leaf in jax.tree.leaves(shapes))
    largest, *others = sorted(found["devices"][backend]["reduced"], reverse=True)
    assert of_parameters <= largest <= of_parameters + 64
    assert sum(others) <= 64
    assert [found["devices"][backend][name] for name in ("all-gather", "all-to-all", "collective-permute")] == [0, 0, 0]
    assert found["devices"][backend]["while"] == 1
