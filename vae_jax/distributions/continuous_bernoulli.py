"""Elements between 0 and 1."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from ..precision import at_least_float32
from ._pytree import floating, pytree_dataclass
from .elementwise import Elementwise
from .support import Interval


@pytree_dataclass
class ContinuousBernoulli(Elementwise):
    """Independent continuous Bernoulli variables of log-odds l, over an event of any shape with elements in [0, 1].

    log p(x) = Σ x l − softplus(l) + log C(l), C = l/tanh(l/2), in nats. It is the normalised form of the Bernoulli
    density of grey values.

    Attributes:
      logits: l, of the event's shape.

    Source: Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845.
    """

    logits: Float[Array, "*event"]
    support: ClassVar[Interval] = Interval(0, 1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", floating(self.logits))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape

    @property
    def mean(self) -> Float[Array, "*event"]:
        """1/(1 − e^−l) − 1/l, the derivative of the log-normaliser."""
        return jax.jvp(_log_normaliser, (self.logits,), (jnp.ones_like(self.logits),))[1]

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        uniform = jax.random.uniform(key, self.logits.shape, self.logits.dtype)
        # By the inverse distribution function at −|l|, which cannot overflow.
        flat = jnp.abs(self.logits) < 1e-6  # uniform within 1.3e-7, the step of the noise
        size = jnp.where(flat, 1, -jnp.abs(self.logits))
        below = jnp.where(flat, uniform, jnp.log1p(uniform * jnp.expm1(size)) / size)
        return jnp.where(self.logits > 0, 1 - below, below)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats."""
        value, logits = at_least_float32(value, self.logits)
        return value * logits - _log_normaliser(logits)


def _log_normaliser(logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """log ∫₀¹ e^(xl) dx = l/2 + log(sinh(l/2)/(l/2)), which is softplus(l) − log C(l)."""
    near = jnp.abs(logits) < 1
    square = jnp.where(near, logits, 0) ** 2
    series = square * (
        1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square * (1 / 9676800 - square / 479001600)))
    )
    size = jnp.where(near, 1, jnp.abs(logits))
    return 0.5 * logits + jnp.where(near, series, 0.5 * size + jnp.log1p(-jnp.exp(-size)) - jnp.log(size))
