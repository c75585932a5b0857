"""An affine coupling flow."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from ..checks import check_count, check_sizes
from ..distributions import CouplingFlow, coupling_layers
from ..parts import Event, Latent, Prior, part


@part
def coupling(num_layers: int = 4, hidden: int | tuple[int, ...] = (64,)) -> Prior:
    """Returns p(z), a learned `CouplingFlow` over real z of any shape with at least two elements.

    Each step moves one half of z to b ⊙ exp(s) + t, where s and t depend on the other half. It begins as N(0, I).

    Args:
      num_layers: steps, at least 1; with one, half of the elements stay N(0, I).
      hidden: widths of the hidden layers of a step's network.

    Raises:
      ValueError: for a number or a width below 1; where the model is built, for a z of one element, or a q(z|x) over z
        that are no real numbers.

    Source: Dinh et al. 2017, arXiv:1605.08803, equations 4–8; as the prior of a VAE: Chen et al. 2017,
    arXiv:1611.02731, section 3.2, with an autoregressive flow.
    """
    num_layers, widths = check_count(num_layers, "num_layers"), check_sizes(hidden, "hidden", fewest=1)

    def init(key: Key[Array, ""], latent: Latent, event: Event) -> Any:
        latent.check_real("coupling")
        return coupling_layers(key, math.prod(latent.shape), num_layers=num_layers, hidden=widths)

    def build(own: Any, latent: Latent, event: Event, encode: Callable[..., Any]) -> CouplingFlow:
        return CouplingFlow(jnp.zeros(latent.shape), jnp.ones(()), None, own)

    return Prior(build, init)
