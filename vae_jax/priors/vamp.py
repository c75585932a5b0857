"""A mixture of the posteriors of learned inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..checks import check_count
from ..distributions import Mixture
from ..parts import Event, Latent, Prior, part


@part
def vamp(num_components: int = 500) -> Prior:
    """Returns p(z) = (1/K) Σ_k q(z|u_k), a `Mixture`, of K pseudo-inputs u_k that are trained with the model.

    They begin at examples of the data where the model is given some (`examples=xs`; the commands do), else at random
    in [0, 1]. They are encoded once for each call of `vae.prior`, so once a step. With u_k = x_k for all of the data
    this is the aggregate posterior.

    Args:
      num_components: K, at least 1.

    Raises:
      ValueError: for a K below 1; where the model is built, for fewer examples than K.

    Source: Tomczak and Welling 2018, arXiv:1705.07120, equation 10.
    """
    count = check_count(num_components, "num_components")

    def init(key: Key[Array, ""], latent: Latent, event: Event) -> dict[str, Array]:
        if event.examples is None:
            return {"pseudo_inputs": jax.random.uniform(key, (count, *event.shape))}
        if (number := len(event.examples)) < count:
            raise ValueError(f"vamp({count}) begins at {count} examples of the data, and there are {number}")
        rows = jax.random.permutation(key, number)[:count]
        return {"pseudo_inputs": jnp.asarray(event.examples, float)[rows]}

    def build(own: dict[str, Array], latent: Latent, encode: Callable[[Any], Any]) -> Mixture:
        return Mixture(jax.vmap(encode)(own["pseudo_inputs"]))

    return Prior(build, init, num_examples=count)
