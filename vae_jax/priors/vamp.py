"""A mixture of the posteriors of learned inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..checks import check_count
from ..distributions import Mixture
from ..parts import Event, Latent, Prior, part


@part
def vamp(num_components: int = 500) -> Prior:
    """Returns p(z) = (1/K) Σ_k q(z|u_k), a `Mixture`, of K pseudo-inputs u_k that are trained with the model.

    They begin at examples of the data where the model is given some (`examples=xs`; the commands do), else at random
    in [0, 1]. They are encoded once for each call of `vae.prior`, so once a step. With u_k = x_k for all of the data
    this is the aggregate posterior. Where x is no array of real numbers, or has missing entries, the u_k stay the first
    K examples. In a conditional VAE each u_k keeps the c_k of its example, so that p(z) does not depend on c.

    Args:
      num_components: K, at least 1.

    Raises:
      ValueError: for a K below 1; where the model is built, for fewer examples than K, or for none where they stay.

    Source: Tomczak and Welling 2018, arXiv:1705.07120, equation 10.
    """
    count = check_count(num_components, "num_components")

    def init(key: Key[Array, ""], latent: Latent, event: Event) -> dict[str, Array]:
        if event.examples is None:
            return {"pseudo_inputs": jax.random.uniform(key, (count, *event.shape))} if event.is_real else {}
        if (number := len(jax.tree.leaves(event.examples)[0])) < count:
            raise ValueError(f"vamp({count}) begins at {count} examples of the data, and there are {number}")
        if not event.is_real:
            return {}
        x, *conditions = event.examples
        rows = np.arange(count) if conditions else jax.random.permutation(key, number)[:count]
        return {"pseudo_inputs": jnp.asarray(x, float)[rows]}

    def build(own: dict[str, Array], latent: Latent, event: Event, encode: Callable[..., Any]) -> Mixture:
        kept = event.examples
        if kept is None and not event.is_real:
            raise ValueError(f"vamp({count}) keeps examples of the data where x is no real array: give it `examples`")
        x, *conditions = (own["pseudo_inputs"],) if kept is None else jax.tree.map(lambda leaf: leaf[:count], kept)
        return Mixture(jax.vmap(encode)(own["pseudo_inputs"] if event.is_real else x, *conditions))

    return Prior(build, init, num_examples=count)
