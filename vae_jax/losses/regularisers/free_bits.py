"""A floor under the KL of each dimension."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..terms import Terms
from .regularizer import Regularizer


def free_bits(minimum: int | float, *, beta: float | Float[Array, ""] = 1.0) -> Regularizer:
    """Returns −E[log p(x|z)] + β Σ_d max(λ, KL_d), with the expectation and KL_d the means over the minibatch, in nats.

    A latent dimension costs nothing until it carries λ nats on average over the minibatch, which keeps it from
    collapsing early in training. The floor is on the minibatch's mean, so this is a `replace` of `over_batch`.

    Args:
      minimum: λ, nats per latent dimension, at least 0 (at 0 this is the mean of `negative_elbo`).
      beta: weight of the floored KL.

    Raises:
      ValueError: for a negative λ; from the returned function, where q and p do not factorise.

    Source: Kingma et al. 2016, arXiv:1606.04934, the objective with free bits.
    """
    if not minimum >= 0:
        raise ValueError(f"free_bits: minimum must be at least 0 nats, got {minimum!r}")

    def replace(terms: Terms) -> Float[Array, ""]:
        if terms.kl_per_dimension is None:
            raise ValueError("free_bits needs the KL of each dimension: a posterior and a prior that factorise")
        floored = jnp.maximum(minimum, jnp.mean(terms.kl_per_dimension, axis=0))
        return -jnp.mean(terms.reconstruction) + beta * jnp.sum(floored)

    return Regularizer(replace, replaces=True)
