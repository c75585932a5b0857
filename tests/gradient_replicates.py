"""Gradients of a bound at independent keys, and what those of an unbiased estimator must have as their mean."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from tests.statistics_checks import assert_mean
from vae_jax import losses, oracles

Samples = dict[str, np.ndarray]  # of the bound's "value", [num], and of θ's and φ's gradient, [num, parameters]


def sampler(oracle: oracles.Oracle, x: jax.Array, bound: str, **options: Any) -> Callable[[int, int], Samples]:
    """(seed, num) -> the bound and its gradient at as many keys. Compiled once."""
    loss = functools.partial(getattr(losses, f"negative_{bound}"), vae=oracle.vae, **options)

    def replicate(key: jax.Array) -> dict[str, jax.Array]:
        (value, _), gradients = jax.value_and_grad(loss, has_aux=True)(oracle.params, key, x)
        return {"value": -value} | {part: -ravel_pytree(gradients[part])[0] for part in ("decoder", "encoder")}

    compute = jax.jit(lambda keys: jax.lax.map(replicate, keys, batch_size=10_000))
    return lambda seed, num: jax.tree.map(np.asarray, compute(jax.random.split(jax.random.key(seed), num)))


def value_and_gradient(bound: Callable[[Any, Any], jax.Array], params: Any, x: jax.Array) -> Samples:
    """Of an exact bound, in float64, at what may be float32's parameters and x."""
    with jax.enable_x64(True):
        params, x = jax.tree.map(lambda leaf: leaf.astype(float), (params, x))
        value, gradients = jax.jit(jax.value_and_grad(bound))(params, x)
        parts = {part: np.asarray(ravel_pytree(gradients[part])[0]) for part in ("decoder", "encoder")}
        return {"value": np.asarray(value)} | parts


def assert_unbiased(samples: Samples, exact: Samples, *, ceiling: float, resolution: float = 0.05) -> None:
    """Every component by its z-score (Bonferroni); and the whole, by a ceiling on the bias of θ's and φ's gradient.

    `resolution` is `assert_mean`'s: the share of the gradient that an error in one parameter must have to be seen.
    """
    assert_mean(samples["value"], exact["value"], resolution=0.01)
    gradients = lambda of: (of["decoder"], of["encoder"])
    assert_mean(gradients(samples), gradients(exact), resolution=resolution)
    for part in ("decoder", "encoder"):
        bias = relative_bias(samples[part], exact[part])
        assert bias < ceiling, f"the gradient of the {part} is off by {bias:.2%}"


def relative_bias(samples: np.ndarray, exact: np.ndarray) -> float:
    """‖mean − exact‖ / ‖exact‖."""
    return float(np.linalg.norm(samples.mean(axis=0, dtype=np.float64) - exact) / np.linalg.norm(exact))
