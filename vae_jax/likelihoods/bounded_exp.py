"""Positive numbers of a network."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def bounded_exp(number: Float[Array, "*shape"], low: float, high: float) -> Float[Array, "*shape"]:
    """Returns exp(number), held between e^low and e^high, with the gradient of an exponential everywhere.

    With a plain clip the gradient outside would be 0, for ever.
    """
    return jnp.exp(number + jax.lax.stop_gradient(jnp.clip(number, low, high) - number))
