"""A learned mixture of Gaussians."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..checks import check_count
from ..distributions import DiagonalNormal, Mixture
from ..parts import Event, Latent, Prior, part, scale_of


@part
def mixture(num_components: int = 10) -> Prior:
    """Returns p(z) = Σ_k w_k N(z; μ_k, diag(σ_k²)), a `Mixture` over real z, with w, μ and σ learned.

    It begins with equal weights, σ_k = 1 and μ_k ~ N(0, I).

    Args:
      num_components: K, at least 1.

    Raises:
      ValueError: for a K below 1; where the model is built, for a q(z|x) over z that are no real numbers.

    Source: Dilokthanakul et al. 2016, arXiv:1611.02648, section 3; the "MoG" of Tomczak and Welling 2018,
    arXiv:1705.07120, section 4.
    """
    count = check_count(num_components, "num_components")

    def init(key: Key[Array, ""], latent: Latent, event: Event) -> dict[str, Array]:
        latent.check_real("mixture")
        shape = (count, *latent.shape)
        return {
            "log_weights": jnp.zeros(count),
            "mean": jax.random.normal(key, shape),
            "log_variance": jnp.zeros(shape),
        }

    def build(own: dict[str, Array], latent: Latent, event: Event, encode: Callable[..., Any]) -> Mixture:
        components = jax.vmap(DiagonalNormal)(own["mean"], scale_of(own["log_variance"]))
        return Mixture(components, own["log_weights"])

    return Prior(build, init)
