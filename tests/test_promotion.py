"""No loss and no estimate relies on types being promoted: all trace where JAX refuses to do so."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests.fixed_oracles import ppca
from vae_jax import VAE, evaluation, losses
from vae_jax.distributions import Masked

NUM = 12


def impute(params: Any, keys: Any, xs: Any, *, vae: VAE) -> Any:
    """Of whole numbers, whose missing ones have means that are none."""
    of_numbers = dataclasses.replace(vae, encode=lambda params, x: vae.encode(params, x.filled(0).astype(float)))
    xs = Masked(xs.astype(int), xs > 0)
    return evaluation.impute(params, keys, xs, vae=of_numbers, num_samples=4, num_draws=2)


RUNS: dict[str, Any] = {
    **{
        f"{gradient} gradient": functools.partial(
            lambda gradient, params, keys, xs, vae: jax.grad(
                lambda params: losses.negative_ciwae(params, keys[0], xs[0], vae=vae, num_samples=4, gradient=gradient)[
                    0
                ]
            )(params),
            gradient,
        )
        for gradient in losses.GRADIENTS
    },
    "renyi": lambda params, keys, xs, vae: losses.negative_renyi(params, keys[0], xs[0], vae=vae, alpha=2.0)[0],
    "wake-sleep": lambda params, keys, xs, vae: losses.negative_wake_sleep(
        params, keys[0], xs[0], vae=vae, num_samples=4, phi="both"
    )[0],
    "thermodynamic": lambda params, keys, xs, vae: losses.negative_thermodynamic(params, keys[0], xs[0], vae=vae)[0],
    "log_evidence": functools.partial(evaluation.log_evidence, num_samples=40, num_bootstrap=5),
    "annealed": functools.partial(evaluation.annealed_log_evidence, num_temperatures=3, num_chains=2),
    "bidirectional": lambda params, keys, xs, vae: evaluation.bidirectional_log_evidence(
        params, keys, vae=vae, num_temperatures=3, num_chains=2
    ),
    "impute": impute,
    "gaps": functools.partial(evaluation.inference_gaps, num_steps=3, num_samples=20),
}


@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_promoted(name):
    oracle = ppca()
    keys, xs = jax.random.split(jax.random.key(1), NUM), jnp.ones((NUM, 3))
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(functools.partial(RUNS[name], vae=oracle.vae), oracle.params, keys, xs)
