"""Gaussian elements."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..distributions import DiagonalNormal
from ..names import check_name
from ..parts import Family, Shape, part

# A learned σ has no lower bound of its own, and the density of data that is reproduced exactly has no upper one.
SMALLEST_SCALE = 1e-3


@part
def normal(scale: int | float = 1.0, learn: str = "fixed") -> Family:
    """Returns p(x|z) = N(μ(z), σ²) over real x (E5), a `DiagonalNormal`.

    The weight of the squared error is 1/(2σ²). A shared σ reaches, by gradient, the maximum-likelihood one that σ-VAE
    computes from each batch. Where σ is learned it is 10⁻³ + exp(·).

    Args:
      scale: σ, or where a learned one starts.
      learn: "fixed"; "shared" for one learned σ; "each" for a σ(z) of each element, which the network puts out.

    Raises:
      ValueError: for an unknown `learn`, or a scale that is not finite, positive and, where learned, above 10⁻³.

    Source: Kingma and Welling 2014, arXiv:1312.6114, appendix C.2; shared: Rybkin et al. 2021, arXiv:2006.13202.
    """
    check_name(learn, "learn", ("fixed", "shared", "each"))
    smallest = 0.0 if learn == "fixed" else SMALLEST_SCALE
    if not isinstance(scale, int | float) or not smallest < scale < math.inf:
        raise ValueError(f"scale must be a finite number above {smallest}, got {scale}")
    if learn == "fixed":
        return Family(
            outputs=lambda shape: shape,
            build=lambda own, mean, shape, given: DiagonalNormal(mean, jnp.asarray(scale, mean.dtype)),
            bias=lambda mean: mean,
        )
    start = math.log(scale - SMALLEST_SCALE)
    if learn == "shared":
        return Family(
            outputs=lambda shape: shape,
            build=lambda own, mean, shape, given: DiagonalNormal(mean, SMALLEST_SCALE + jnp.exp(own["log_scale"])),
            init=lambda key, shape: {"log_scale": jnp.asarray(start, float)},
            bias=lambda mean: mean,
        )

    def each(own: Any, numbers: Float[Array, "*event 2"], shape: Shape, given: Any) -> DiagonalNormal:
        return DiagonalNormal(numbers[..., 0], SMALLEST_SCALE + jnp.exp(start + numbers[..., 1]))

    return Family(
        outputs=lambda shape: (*shape, 2), build=each, bias=lambda mean: np.stack([mean, np.zeros_like(mean)], axis=-1)
    )
