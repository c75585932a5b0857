"""Draws and log-densities of a distribution, many at once."""

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from ..distributions import Distribution


def log_probs(distribution: Distribution, values: Any) -> Float[Array, " number"]:
    """Returns the log-density of each of some values, along their leading axis."""
    if jax.tree_util.all_leaves([distribution]):  # no pytree: it would be compiled as a constant, again each time
        return jax.vmap(distribution.log_prob)(values)
    return _log_probs(distribution, values)


def draws(distribution: Distribution, key: Key[Array, ""], number: int) -> Any:
    """Returns some independent draws, along a leading axis."""
    keys = jax.random.split(key, number)
    if jax.tree_util.all_leaves([distribution]):
        return jax.vmap(distribution.sample)(keys)
    return _samples(distribution, keys)


@jax.jit
def _log_probs(distribution: Any, values: Any) -> Any:
    return jax.vmap(distribution.log_prob)(values)


@jax.jit
def _samples(distribution: Any, keys: Any) -> Any:
    return jax.vmap(distribution.sample)(keys)
