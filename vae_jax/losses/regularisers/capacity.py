"""A capacity that the KL is drawn to."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..terms import Terms
from .regularizer import Regularizer


def capacity(gamma: int | float, target: int | float, *, beta: float | Float[Array, ""] = 1.0) -> Regularizer:
    """Returns −E[log p(x|z)] + γ |KL − β C|, with the expectation and the KL means over the minibatch, in nats.

    The latents are made to carry C nats, no fewer and no more. With a schedule of β that rises to 1, `linear(10000)`
    say, the capacity rises from 0 to C, as the source has it.

    Args:
      gamma: γ, the price of a nat too many or too few, at least 0.
      target: C, in nats, at least 0.
      beta: the share of C that is reached.

    Raises:
      ValueError: for a negative γ or C.

    Source: Burgess et al. 2018, arXiv:1804.03599, equation 8.
    """
    if not (gamma >= 0 and target >= 0):
        raise ValueError(f"capacity: gamma and target must be at least 0, got {gamma!r} and {target!r}")

    def replace(terms: Terms) -> Float[Array, ""]:
        return -jnp.mean(terms.reconstruction) + gamma * jnp.abs(jnp.mean(terms.kl) - beta * target)

    return Regularizer(replace, replaces=True, uses_kl=True)
