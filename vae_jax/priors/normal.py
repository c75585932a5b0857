"""A learned Gaussian."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from ..distributions import DiagonalNormal
from ..parts import Event, Latent, Prior, part, scale_of


@part
def normal() -> Prior:
    """Returns p(z) = N(μ, diag(σ²)) over real z of any shape, with μ and σ learned; it begins as N(0, I).

    A decoder whose first layer is linear can do the same with N(0, I).

    Raises, where the model is built:
      ValueError: for a q(z|x) over z that are no real numbers.

    Source: Kingma and Welling 2019, arXiv:1906.02691, section 2.3.
    """
    return Prior(_build, _init)


def _init(key: Key[Array, ""], latent: Latent, event: Event) -> dict[str, Array]:
    latent.check_real("normal")
    return {"mean": jnp.zeros(latent.shape), "log_variance": jnp.zeros(latent.shape)}


def _build(own: dict[str, Array], latent: Latent, event: Event, encode: Callable[..., Any]) -> DiagonalNormal:
    return DiagonalNormal(own["mean"], scale_of(own["log_variance"]))
