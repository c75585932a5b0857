"""Positive elements."""

from typing import Any

import numpy as np

from ..distributions import LogNormal
from ..parts import Family, part
from .location_scale import location_scale


@part
def lognormal(scale: int | float = 1.0, learn: str = "fixed") -> Family:
    """Returns p(x|z) = Π LogNormal(μ(z), σ) over x > 0, a `LogNormal`: log p(x|z) = Σ log N(log x; μ, σ²) − log x.

    Args:
      scale: σ, of log x, or where a learned one starts.
      learn: "fixed"; "shared" for one learned σ; "each" for a σ(z) of each element, as in `normal`.

    Raises:
      ValueError: as `normal`.

    Source: Johnson, Kotz and Balakrishnan 1994, Continuous Univariate Distributions 1, chapter 14; for columns of
    tables, Nazábal et al. 2020, arXiv:1807.03653, section 2.2.
    """
    return location_scale(
        LogNormal,
        scale,
        learn,
        bias=lambda mean: np.log(np.maximum(mean, 1e-6)) - 0.5 * float(scale) ** 2,
        unit=_of_logarithms,
    )


def _of_logarithms(mean: Any, deviation: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of log x for a lognormal x with these of its own."""
    variance = np.log1p((np.asarray(deviation) / np.maximum(mean, 1e-30)) ** 2)
    return np.log(np.maximum(mean, 1e-30)) - 0.5 * variance, np.sqrt(variance)
