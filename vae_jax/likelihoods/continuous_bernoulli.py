"""Elements between 0 and 1."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ..distributions import ContinuousBernoulli
from ..parts import Family, Shape, part


@part
def continuous_bernoulli() -> Family:
    """Returns p(x|z) = Π C(l) σ(l)^x σ(−l)^(1−x) over x in [0, 1], a `ContinuousBernoulli` of log-odds l(z).

    It is the normalised form of a Bernoulli likelihood of grey values, which is no density.

    Source: Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845.
    """
    return Family(outputs=lambda shape: shape, build=_build, bias=_log_odds)


def _build(own: Any, numbers: Array, shape: Shape, given: Any) -> ContinuousBernoulli:
    return ContinuousBernoulli(numbers)


def _log_odds(mean: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The l at which 1/(1 − e^−l) − 1/l is the mean, by bisection."""
    inside = np.clip(np.asarray(mean, np.float64), 1e-3, 1 - 1e-3)
    low, high = np.full(inside.shape, -2000.0), np.full(inside.shape, 2000.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        size = np.where(np.abs(middle) < 1e-3, 1.0, middle)
        found = np.where(np.abs(middle) < 1e-3, 0.5 + middle / 12, -1 / np.expm1(-np.abs(size)) - 1 / np.abs(size))
        found = np.where((np.abs(middle) >= 1e-3) & (middle < 0), 1 - found, found)
        low, high = np.where(found < inside, middle, low), np.where(found < inside, high, middle)
    return np.asarray(0.5 * (low + high))
