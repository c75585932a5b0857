"""Independent Gaussians."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import DiagonalNormal
from ..parts import Family, Shape, part


@part
def diagonal() -> Family:
    """Returns q(z|x) = N(μ(x), diag(σ(x)²)), a `DiagonalNormal` over z of any shape.

    The network puts out "mean", μ, and "log_variance", log σ².

    Source: Kingma and Welling 2014, arXiv:1312.6114, section 3.
    """
    return Family(outputs=lambda shape: {"mean": shape, "log_variance": shape}, build=_build)


def scale_of(log_variance: Float[Array, "*latent"]) -> Float[Array, "*latent"]:
    """Returns σ = exp(½ log σ²), at least the smallest normal number, with the gradient of an exponential everywhere.

    A σ of 0 has a KL of infinity, whose gradient is NaN; with a plain maximum the gradient would be 0, for ever.
    """
    half = 0.5 * log_variance
    lift = jnp.maximum(math.log(jnp.finfo(half.dtype).tiny) + 0.01 - half, 0)
    return jnp.exp(half + jax.lax.stop_gradient(lift))


def _build(own: Any, numbers: dict[str, Array], shape: Shape, given: Any) -> DiagonalNormal:
    return DiagonalNormal(numbers["mean"], scale_of(numbers["log_variance"]))
