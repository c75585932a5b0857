"""How well a score tells abnormal examples from normal ones."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, stats


class Auroc(NamedTuple):
    """The area under the receiver operating characteristic, and the ends of its confidence interval."""

    value: float
    low: float
    high: float


def auroc(scores: Float[np.ndarray, " n"], is_abnormal: Bool[np.ndarray, " n"], *, level: float = 0.95) -> Auroc:
    """Returns the probability that an abnormal example has a larger score than a normal one, ties counting half.

    θ̂ = (R − m (m + 1) / 2) / (m n), R the sum of the ranks of the m abnormal among all m + n scores. The interval is
    of the θ for which |θ̂ − θ| ≤ c √(θ (1 − θ) (1 + h (1 − θ) / (2 − θ) + h θ / (1 + θ)) / (m n)), with h =
    (m + n) / 2 − 1 and c a quantile of the normal distribution: it lies within [0, 1], and has a length for θ̂ = 1 too.

    Args:
      scores: larger ones for what is more abnormal; ∞ for what has the probability 0.
      is_abnormal: of each example.
      level: of the interval, between 0 and 1.

    Raises:
      ValueError: for another level, scores that are NaN, other numbers of both, or examples of one class alone.

    Source: Hanley and McNeil 1982, Radiology 143(1) (the variance); Newcombe 2006, Statistics in Medicine 25(4),
    559–573, method 5 (the interval).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if scores.shape != is_abnormal.shape or scores.ndim != 1:
        raise ValueError(f"there must be a class for each score, got {scores.shape} and {is_abnormal.shape}")
    if (bad := np.flatnonzero(np.isnan(scores))).size:
        raise ValueError(f"scores must be numbers or infinite; that of row {bad[0]} is {scores[bad[0]]}")
    num_abnormal = int(is_abnormal.sum())
    num_normal = len(scores) - num_abnormal
    if not (pairs := num_abnormal * num_normal):
        raise ValueError(
            f"there must be rows of both classes, got {num_abnormal} abnormal and {num_normal} normal ones"
        )
    ranks = stats.rankdata(scores)[is_abnormal].sum()
    value = float((ranks - num_abnormal * (num_abnormal + 1) / 2) / pairs)
    width, half = stats.norm.ppf((1 + level) / 2), (num_abnormal + num_normal) / 2 - 1

    def beyond(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)) / pairs
        return abs(value - theta) - float(width) * math.sqrt(variance)

    def end(edge: float) -> float:
        near = value + (edge - value) * 1e-9  # the interval holds more than θ̂, also where that is 0 or 1
        root: Any = optimize.brentq(beyond, edge, near)
        return float(root)

    return Auroc(value, end(0.0), end(1.0))
