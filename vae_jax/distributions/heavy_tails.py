"""Real and positive elements with other tails than a Gaussian's."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Key, Shaped

from .. import threefry
from ..precision import at_least_float32
from ._pytree import floating, pytree_dataclass
from .elementwise import Elementwise
from .protocol import check_positive
from .support import Interval


@pytree_dataclass
class _LocationScale(Elementwise):
    location: Float[Array, "*event"]
    scale: Float[Array, "*#event"]

    def __post_init__(self) -> None:
        location, scale = floating(self.location), floating(self.scale)
        if scale.shape not in (location.shape, ()):
            raise ValueError(
                f"{type(self).__name__}: scale has shape {scale.shape}; it must be the location's, {location.shape}, "
                "or ()"
            )
        if not isinstance(scale, Tracer):
            check_positive(scale, f"{type(self).__name__}: every scale must be positive")
        object.__setattr__(self, "location", location)
        object.__setattr__(self, "scale", scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.location.shape

    def _standardised(self, value: Any) -> tuple[Float[Array, "*event"], Float[Array, "*#event"]]:
        value, location, scale = at_least_float32(value, self.location, self.scale)
        return (value - location) / scale, scale


@pytree_dataclass
class Laplace(_LocationScale):
    """Independent Laplace variables: log p(x) = Σ −|x − μ|/b − log 2b, in nats, over real x.

    Attributes:
      location: μ, of the event's shape.
      scale: b > 0, of the event's shape, or a scalar shared by all of it.
    """

    @property
    def mean(self) -> Float[Array, "*event"]:
        return self.location

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        return self.location + self.scale * jax.random.laplace(key, self.location.shape, self.location.dtype)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats."""
        standardised, scale = self._standardised(value)
        return -jnp.abs(standardised) - jnp.log(2 * scale)


@pytree_dataclass
class StudentT(_LocationScale):
    """Independent Student t variables of ν degrees of freedom, over real x.

    log p(x) = Σ ln Γ((ν + 1)/2) − ln Γ(ν/2) − ½ log νπ − log s − ½(ν + 1) log(1 + ((x − μ)/s)²/ν), in nats.

    Attributes:
      location: μ, of the event's shape; the mean where ν > 1.
      scale: s > 0, no standard deviation, of the event's shape, or a scalar shared by all of it.
      df: ν > 0, a scalar.
    """

    df: Float[Array, ""]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "df", floating(self.df))

    @property
    def mean(self) -> Float[Array, "*event"]:
        return self.location

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        return self.location + self.scale * jax.random.t(key, self.df, self.location.shape, self.location.dtype)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats."""
        standardised, scale = self._standardised(value)
        (df,) = at_least_float32(self.df)
        return _log_peak(df) - jnp.log(scale) - (df + 1) / 2 * jnp.log1p(standardised**2 / df)


def _log_peak(df: Float[Array, ""]) -> Float[Array, ""]:
    """ln Γ((ν + 1)/2) − ln Γ(ν/2) − ½ log νπ."""
    # The difference cancels in float32: at ν = 1e6 it is off by 0.06. From ν = 10 on the series is exact in float32.
    is_many = df >= 10
    few, half = jnp.where(is_many, 1, df), 0.5 * jnp.where(is_many, df, 10)
    series = -(1 - (1 - 0.3 / half**2) / (24 * half**2)) / (8 * half) - 0.5 * math.log(2 * math.pi)
    difference = jax.lax.lgamma((few + 1) / 2) - jax.lax.lgamma(few / 2) - 0.5 * jnp.log(few * math.pi)
    return jnp.where(is_many, series, difference)


@pytree_dataclass
class LogNormal(_LocationScale):
    """Independent variables whose logarithms are Gaussian: log p(x) = Σ log N(log x; μ, σ²) − log x, in nats, x > 0.

    Attributes:
      location: μ, the mean of log x, of the event's shape.
      scale: σ > 0, the standard deviation of log x, of the event's shape, or a scalar shared by all of it.
    """

    support: ClassVar[Interval] = Interval(0, math.inf, is_open=True)

    @property
    def mean(self) -> Float[Array, "*event"]:
        return jnp.exp(self.location + 0.5 * self.scale**2)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        noise = threefry.normal(key, self.location.shape, self.location.dtype)
        return jnp.exp(self.location + self.scale * noise)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats."""
        log_value = jnp.log(at_least_float32(value)[0])
        standardised, scale = self._standardised(log_value)
        return -0.5 * standardised**2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi) - log_value
