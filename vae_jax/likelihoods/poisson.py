"""Counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import distributions
from ..parts import Family, Shape, Sized, part
from .bounded_exp import bounded_exp

# Between these a count's log-density is finite in float32.
LOG_MEANS = (-30.0, 20.0)


@part
def poisson() -> Family:
    """Returns p(x|z) = Π Poisson(μ(z)), a `Poisson`; x are whole numbers from 0 on, of any dtype.

    The network puts out log μ, which is held between −30 and 20. Where the total n of the counts is given, as `Sized`
    says, μ = n softmax(·) of the numbers: log p is then conditional on n.

    Source: Salakhutdinov and Hinton 2009, Replicated softmax (counts of words); in VAEs, Lopez et al. 2018, Nature
    Methods 15(12).
    """
    return Family(outputs=lambda shape: shape, build=_build, bias=log_mean)


def _build(own: Any, numbers: Array, shape: Shape, given: Any) -> distributions.Poisson:
    return distributions.Poisson(count_mean(numbers, given))


def count_mean(numbers: Float[Array, "*event"], given: Any) -> Float[Array, "*event"]:
    """Returns μ = exp(numbers), or n softmax(numbers) over the event where the total n of the counts is given."""
    if isinstance(given, Sized):
        # An example without counts has a mean of 0, whose logarithm is held where the others' are.
        total = jnp.log(jnp.maximum(jnp.asarray(given.size, numbers.dtype), jnp.finfo(numbers.dtype).tiny))
        numbers = total + jax.nn.log_softmax(numbers, axis=tuple(range(numbers.ndim)))
    return bounded_exp(numbers, *LOG_MEANS)


def log_mean(mean: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.asarray(np.log(np.maximum(mean, 1e-3)))  # a count that is always 0 has a log-mean of −∞
