"""Means of distributions, of which a distribution need not know its own."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from vae_jax.evaluation.expectations import stated

_DRAWS = 32


def mean(distribution: Any, key: Key[Array, ""]) -> Any:
    """Returns the mean of a distribution, or that of 32 draws where it knows none."""
    if knows_mean(distribution):
        return distribution.mean
    draws = jax.vmap(distribution.sample)(jax.random.split(key, _DRAWS))
    return jax.tree.map(lambda draws: jnp.mean(draws, axis=0), draws)


def knows_mean(distribution: Any) -> bool:
    """Returns whether a distribution states a mean."""
    return stated(distribution, "mean") is not None


def name(distribution: Any, of: str) -> str:
    """Returns what `mean` is called in a title: "means of q(z|x)", say, for `of` "q(z|x)"."""
    return f"means of {of}" if knows_mean(distribution) else f"means of {_DRAWS} draws of {of}"
