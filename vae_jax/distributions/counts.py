"""Counts: Poisson and negative binomial variables, and an excess of zeros.

The textbook forms are differences of log-gamma functions, which cancel: in float32 4e-3 nats are lost at a mean of 1e5.
Here the densities are written as their peak and a deviance from it (Loader 2000, Fast and accurate computation of
binomial probabilities).
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from ..precision import at_least_float32
from ._pytree import floating, pytree_dataclass
from .elementwise import Elementwise
from .support import WholeNumbers

_COUNTS = WholeNumbers(0, math.inf)
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@pytree_dataclass
class Poisson(Elementwise):
    """Independent Poisson variables with the given means, over an event of any shape.

    log p(x) = Σ x log μ − μ − log x!, in nats, over whole numbers of any dtype.

    Attributes:
      mean: μ > 0, of the event's shape.
    """

    mean: Float[Array, "*event"]
    support: ClassVar[WholeNumbers] = _COUNTS

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", floating(self.mean))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.mean.shape

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*event"]:
        # JAX accepts and rejects in float32: the distribution function of the draws is off by 0.004 at a mean of 1e5,
        # by 0.016 at 1e8, and by less than 0.001 at 1e4.
        return jax.random.poisson(key, self.mean)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-probability of each element of one value, in nats."""
        x, mean = at_least_float32(value, self.mean)
        above = jnp.where(x > 0, x, 1)
        deviance = above * _log_excess((above - mean) / above, mean / above)
        return jnp.where(x > 0, -_stirling_error(above) - deviance - 0.5 * jnp.log(above) - _HALF_LOG_2PI, -mean)


@pytree_dataclass
class NegativeBinomial(Elementwise):
    """Independent negative binomial variables of mean μ and variance μ + μ²/θ, over an event of any shape.

    log p(x) = Σ lnΓ(x + θ) − lnΓ(θ) − lnΓ(x + 1) + θ ln(θ/(θ + μ)) + x ln(μ/(θ + μ)), in nats, over whole numbers of
    any dtype. For θ → ∞ it is the Poisson distribution.

    Attributes:
      mean: μ > 0, of the event's shape.
      dispersion: θ > 0, the inverse dispersion, of the event's shape or a scalar.
    """

    mean: Float[Array, "*event"]
    dispersion: Float[Array, "*#event"]
    support: ClassVar[WholeNumbers] = _COUNTS

    def __post_init__(self) -> None:
        mean, dispersion = floating(self.mean), floating(self.dispersion)
        if dispersion.shape not in (mean.shape, ()):
            raise ValueError(
                f"NegativeBinomial: dispersion has shape {dispersion.shape}; it must be the mean's {mean.shape}, or ()"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "dispersion", dispersion)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.mean.shape

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*event"]:
        rate_key, count_key = jax.random.split(key)
        dispersion = jnp.broadcast_to(self.dispersion, self.mean.shape)
        log_rate = jax.random.loggamma(rate_key, dispersion) - jnp.log(dispersion) + jnp.log(self.mean)
        return jax.random.poisson(count_key, jnp.exp(log_rate))

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-probability of each element of one value, in nats."""
        x, mean, dispersion = at_least_float32(value, self.mean, self.dispersion)
        dispersion = jnp.broadcast_to(dispersion, mean.shape)
        above = jnp.where(x > 0, x, 1)
        number, total = above + dispersion, dispersion + mean
        # The binomial probability of θ among x + θ, with the deviations of both from their means.
        deviance = dispersion * _log_excess((mean - above) / total, number / total)
        share = dispersion / total
        deviance += above * _log_excess(share * (above - mean) / above, number / above * (mean / total))
        errors = _stirling_error(number) - _stirling_error(dispersion) - _stirling_error(above)
        logs = jnp.log(dispersion) - jnp.log(above) - jnp.log(number)
        return jnp.where(
            x > 0, errors - deviance + 0.5 * logs - _HALF_LOG_2PI, -dispersion * jnp.log1p(mean / dispersion)
        )


@pytree_dataclass
class ZeroInflated(Elementwise):
    """Counts of which some are zero whatever the component says, over an event of any shape.

    log p(x) = Σ log(π 1[x = 0] + (1 − π) p_component(x)), in nats.

    Attributes:
      component: `Poisson` or `NegativeBinomial`, or an `Elementwise` distribution of counts of one's own.
      logits: the log-odds of π, of the event's shape.

    Raises:
      ValueError: at construction, where the shapes disagree.
    """

    component: Elementwise
    logits: Float[Array, "*event"]
    support: ClassVar[WholeNumbers] = _COUNTS

    def __post_init__(self) -> None:
        logits = floating(self.logits)
        # A component of shape [1] would broadcast: its one draw would be shared by elements that count as independent.
        if self.component.event_shape != logits.shape:
            raise ValueError(
                f"ZeroInflated: logits have shape {logits.shape}; they must have the component's, "
                f"{self.component.event_shape}"
            )
        object.__setattr__(self, "logits", logits)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape

    @property
    def mean(self) -> Float[Array, "*event"]:
        """(1 − π) times the component's."""
        return jax.nn.sigmoid(-self.logits) * self.component.mean  # pyright: ignore[reportAttributeAccessIssue]

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*event"]:
        zero_key, count_key = jax.random.split(key)
        counts = self.component.sample(count_key)
        return jnp.where(jax.random.bernoulli(zero_key, jax.nn.sigmoid(self.logits)), 0, counts)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-probability of each element of one value, in nats."""
        logits, log_prob = at_least_float32(self.logits, self.component.log_prob_per_element(value))
        counted = jax.nn.log_sigmoid(-logits) + log_prob
        return jnp.where(value == 0, jnp.logaddexp(jax.nn.log_sigmoid(logits), counted), counted)


def _stirling_error(n: Float[Array, "..."]) -> Float[Array, "..."]:
    """log n! − log(√(2πn) (n/e)ⁿ), of real n > 0."""
    large = jnp.where(n > 5, n, 5)
    inverse = 1 / large**2
    series = (1 / 12 - (1 / 360 - inverse / 1260) * inverse) / large
    small = jnp.where(n > 5, 5, n)
    direct = jax.lax.lgamma(small + 1) - (small + 0.5) * jnp.log(small) + small - _HALF_LOG_2PI
    return jnp.where(n > 5, series, direct)


def _log_excess(t: Float[Array, "..."], ratio: Float[Array, "..."]) -> Float[Array, "..."]:
    """−log(1 − t) − t, given 1 − t as `ratio` too: t is exact where it is small, the ratio where it is."""
    near = jnp.abs(t) < 0.2
    small = jnp.where(near, t, 0)
    series = jnp.full_like(small, 1 / 14)
    for power in range(13, 1, -1):
        series = series * small + 1 / power
    return jnp.where(near, series * small**2, -jnp.log(jnp.where(near, 1, ratio)) - t)
