"""Counts."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .. import distributions
from ..parts import Family, Shape, part
from .bounded_exp import bounded_exp

# Between these a count's log-density is finite in float32.
LOG_MEANS = (-30.0, 20.0)


@part
def poisson() -> Family:
    """Returns p(x|z) = Π Poisson(μ(z)), a `Poisson`; x are whole numbers from 0 on, of any dtype.

    The network puts out log μ, which is held between −30 and 20.

    Source: Salakhutdinov and Hinton 2009, Replicated softmax (counts of words); in VAEs, Lopez et al. 2018, Nature
    Methods 15(12).
    """
    return Family(outputs=lambda shape: shape, build=_build, bias=log_mean)


def _build(own: Any, numbers: Array, shape: Shape, given: Any) -> distributions.Poisson:
    return distributions.Poisson(bounded_exp(numbers, *LOG_MEANS))


def log_mean(mean: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.log(np.maximum(mean, 1e-3))  # a count that is always 0 has a log-mean of −∞
