"""Independent binary variables."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from ..precision import at_least_float32
from ._pytree import floating, pytree_dataclass
from .elementwise import Elementwise
from .support import Binary


@pytree_dataclass
class Bernoulli(Elementwise):
    """Independent Bernoulli variables with the given log-odds, over an event of any shape.

    log p(x) = Σ x log σ(l) + (1−x) log σ(−l), in nats. For grey values x in [0, 1] this is minus the
    cross-entropy: finite, with a finite gradient x − σ(l), at every finite logit, but no normalised density.
    """

    logits: Float[Array, "*event"]
    support: ClassVar[Binary] = Binary()

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", floating(self.logits))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape

    @property
    def mean(self) -> Float[Array, "*event"]:
        """P(x = 1) = σ(logits)."""
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        """Zeros and ones, in the logits' floating type."""
        return jax.random.bernoulli(key, self.mean).astype(self.logits.dtype)

    def log_prob_per_element(self, value: ArrayLike) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats."""
        # Flattened: XLA's CPU backend takes fourteen times as long over an image's trailing axis of one channel.
        logits, value = at_least_float32(jnp.ravel(self.logits), jnp.ravel(value))
        return _log_probs(logits, value).reshape(self.event_shape)


@jax.custom_jvp
def _log_probs(logits: Float[Array, " n"], value: Float[Array, " n"]) -> Float[Array, " n"]:
    """Returns x l − softplus(l), in operations that XLA's CPU backend fuses with a decoder's matrix products.

    It neither overflows (log σ(l) and log(−expm1(·)) are −inf or NaN from a logit of about 100 on in float32) nor
    cancels where a confident logit is right. But |l| and max(l, 0) have no second derivative at l = 0.
    """
    return logits * value - jnp.maximum(logits, 0) - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_log_probs.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return jax.jvp(_smooth_log_probs, primals, tangents)


def _smooth_log_probs(logits: Float[Array, " n"], value: Float[Array, " n"]) -> Float[Array, " n"]:
    """Returns the same, whose derivatives, the first of which is x − σ(l), are exact at l = 0 too."""
    positive = logits >= 0
    minus_size = jnp.where(positive, -logits, logits)
    return logits * (value - positive.astype(logits.dtype)) - jnp.log1p(jnp.exp(minus_size))
