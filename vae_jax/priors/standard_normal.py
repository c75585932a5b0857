"""The usual prior."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from .. import distributions
from ..parts import Event, Latent, Prior, part


@part
def standard_normal() -> Prior:
    """Returns p(z) = N(0, I) over real z of any shape.

    Raises, where the model is built:
      ValueError: for a q(z|x) over z that are no real numbers.

    Source: Kingma and Welling 2014, arXiv:1312.6114, section 3.
    """
    return Prior(build=lambda own, latent, encode: distributions.standard_normal(latent.shape), init=_init)


def _init(key: Key[Array, ""], latent: Latent, event: Event) -> dict[str, Any]:
    if not jnp.issubdtype(latent.dtype, jnp.floating):
        raise ValueError(f"standard_normal is over real z, and q(z|x) draws z of type {latent.dtype}")
    return {}
