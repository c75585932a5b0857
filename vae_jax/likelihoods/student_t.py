"""Elements with tails of powers."""

import math

import jax.numpy as jnp

from ..distributions import StudentT
from ..parts import Family, part
from .location_scale import location_scale


@part
def student_t(df: int | float, scale: int | float = 1.0, learn: str = "fixed") -> Family:
    """Returns p(x|z) = Π t_ν(μ(z), s) over real x, a `StudentT`, which outliers pull less than a Gaussian.

    Args:
      df: ν, the degrees of freedom, positive.
      scale: s, or where a learned one starts.
      learn: "fixed"; "shared" for one learned s; "each" for an s(z) of each element, as in `normal`.

    Raises:
      ValueError: for a ν that is not positive and finite, and as `normal`.

    Source: Takahashi et al. 2018, Student-t variational autoencoder for robust density estimation, IJCAI.
    """
    if not 0 < df < math.inf:
        raise ValueError(f"df must be a finite number above 0, got {df!r}")
    return location_scale(lambda location, scale: StudentT(location, scale, jnp.asarray(df, float)), scale, learn)
