"""The size of a model and the cost of a step, as `train` prints them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import digits
from experiments.run import build, size

MATRIX, BATCH = np.ones((3, 4), np.float32), np.ones((5, 4, 2), np.float32)


def flops(function, *arguments) -> int:
    return sum(size.matrix_flops(jax.make_jaxpr(function)(*arguments).jaxpr))


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (lambda a, b: a @ b, (MATRIX, MATRIX.T), 2 * 3 * 4 * 3),
        (jax.jit(lambda a, b: jnp.tanh(a @ b)), (MATRIX, MATRIX.T), 2 * 3 * 4 * 3),
        (jax.vmap(lambda a, b: a @ b, (None, 0)), (MATRIX, BATCH), 5 * 2 * 3 * 4 * 2),
        (lambda a: jax.lax.scan(lambda c, _: (c @ c, None), a, None, length=7)[0], (MATRIX @ MATRIX.T,), 7 * 2 * 27),
        (lambda a: a + a, (MATRIX,), 0),
        # A kernel [2, 2] over [6, 6] with 3 channels in and 4 out: 25 places.
        (
            lambda x, k: jax.lax.conv_general_dilated(
                x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ),
            (np.ones((1, 6, 6, 3), np.float32), np.ones((2, 2, 3, 4), np.float32)),
            2 * 25 * 4 * 2 * 2 * 3,
        ),
    ],
    ids=["product", "in jit", "batched", "in a scan", "a sum", "convolution"],
)
def test_products_are_counted_as_often_as_they_run(function, arguments, expected):
    assert flops(function, *arguments) == expected


def test_the_digits_network_has_its_numbers():
    """Of 784-200-200-50 and back; the encoder's input needs no gradient, all other products two."""
    experiment = build.build(digits.get_config(), data_dir=None)
    lines = build.check(experiment.config, experiment, num_devices=1)
    weights = [784 * 200, 200 * 200, 2 * 200 * 50, 50 * 200, 200 * 200, 200 * 784]
    biases = [200, 200, 100, 200, 200, 784]
    assert f"parameters: {sum(weights) + sum(biases):,} (decoder 207,984, encoder 217,300)" in lines[1]
    assert f"matrix products of a step: {(6 * sum(weights) - 2 * weights[0]) / 1e6:.3g} MFLOP per example" in lines[1]
    assert "posterior diagonal, prior standard_normal, likelihood bernoulli" in lines[0]
