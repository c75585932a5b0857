"""Gaussian distributions (E5, E6, E10)."""

import math
from typing import Any, ClassVar, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Key, Shaped

from .. import threefry
from ..precision import at_least_float32
from ._pytree import floating, pytree_dataclass
from .elementwise import Elementwise
from .masked import Masked
from .protocol import check_event, check_positive, density_classes

_LOG_2PI = math.log(2 * math.pi)


def _standard_log_prob(noise: Float[Array, "..."]) -> Float[Array, ""]:
    (noise,) = at_least_float32(noise)
    return -0.5 * jnp.sum(noise**2) - 0.5 * noise.size * _LOG_2PI


@pytree_dataclass
class DiagonalNormal(Elementwise):
    """N(mean, diag(scale²)): independent Gaussians over an event of any shape.

    log N(x; μ, σ²) = Σ −½((x−μ)/σ)² − log σ − ½ log 2π, summed over the event, in nats (E5). The weight on the
    squared error is 1/(2σ²).

    Attributes:
      mean: μ, of the event's shape.
      scale: σ (a standard deviation, not a variance), of the event's shape, or a scalar shared by all of it.

    Raises:
      ValueError: at construction, where the shapes disagree or a concrete scale is not positive.
    """

    mean: Float[Array, "*event"]
    scale: Float[Array, "*#event"]
    reparameterized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        mean, scale = floating(self.mean), floating(self.scale)
        if scale.shape not in (mean.shape, ()):
            raise ValueError(
                f"DiagonalNormal: scale has shape {scale.shape}; it must be the mean's {mean.shape}, or ()"
            )
        if not isinstance(scale, Tracer):
            check_positive(scale, "DiagonalNormal: every scale must be positive")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.mean.shape

    def noise(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        """e ~ N(0, I), of the event's shape."""
        return threefry.normal(key, self.mean.shape, self.mean.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> tuple[Float[Array, "*event"], Float[Array, ""]]:
        """z = μ + σe, and log q(z) = log N(e; 0, I) − Σ log σ (E10, E14)."""
        return self.mean + self.scale * noise, _standard_log_prob(noise) - self._log_det()

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        return self.mean + self.scale * self.noise(key)

    def log_prob(self, value: Shaped[Array, "*event"] | Masked) -> Float[Array, ""]:
        if isinstance(value, Masked):
            return super().log_prob(value)
        check_event(value, self.event_shape, "DiagonalNormal")
        # Flattened: XLA's CPU backend takes four times as long over an image's trailing axis of one channel.
        value, mean, scale = at_least_float32(jnp.ravel(value), jnp.ravel(self.mean), jnp.ravel(self.scale))
        return _standard_log_prob((value - mean) / scale) - self._log_det()

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats."""
        value, mean, scale = at_least_float32(value, self.mean, self.scale)
        return -0.5 * ((value - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * _LOG_2PI

    def _log_det(self) -> Float[Array, ""]:
        # A shared σ times its count: the sum of 784 equal logarithms is off by 0.004 nats in float32.
        (scale,) = at_least_float32(jnp.ravel(self.scale))
        return jnp.sum(jnp.log(scale)) * (1 if self.scale.ndim else self.mean.size)


@pytree_dataclass
class MultivariateNormal:
    """N(mean, S Sᵀ) over a vector, S the Cholesky factor of the covariance (E10).

    Attributes:
      mean: μ, of shape [d].
      scale_tril: S, of shape [d, d], lower triangular with a positive diagonal.

    Raises:
      ValueError: at construction, where the shapes disagree or a concrete S is no Cholesky factor.
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    reparameterized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        mean, tril = floating(self.mean), floating(self.scale_tril)
        if mean.ndim != 1 or tril.shape != 2 * mean.shape:
            raise ValueError(
                "MultivariateNormal: mean must be a vector [d] and scale_tril a matrix [d, d]; "
                f"got {mean.shape} and {tril.shape}"
            )
        if not isinstance(tril, Tracer):
            message = "MultivariateNormal: scale_tril must be lower triangular with a positive diagonal"
            check_positive(np.diag(np.asarray(tril)), message)
            if np.any(np.triu(np.asarray(tril), 1)):
                raise ValueError(message)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale_tril", tril)

    @property
    def scale(self) -> Float[Array, "d d"]:
        """The Cholesky factor: what `reparameterize` takes."""
        return self.scale_tril

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.mean.shape

    def noise(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        """e ~ N(0, I), of shape [d]."""
        return threefry.normal(key, self.mean.shape, self.mean.dtype)

    def transform(self, noise: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """z = μ + Se, and log q(z) = log N(e; 0, I) − log|det S| (E10, E14)."""
        # In full float32: log q is that of this z, and accelerators' default product has ten bits.
        z = self.mean + jnp.matmul(self.scale_tril, noise, precision="highest")
        return z, _standard_log_prob(noise) - self._log_det()

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        return self.transform(self.noise(key))[0]

    def log_prob(self, value: Shaped[Array, " d"] | Masked) -> Float[Array, ""]:
        if isinstance(value, Masked):
            raise ValueError(
                "MultivariateNormal.log_prob takes no Masked value: its elements depend on one another; a "
                "DiagonalNormal integrates missing entries out"
            )
        check_event(value, self.event_shape, "MultivariateNormal")
        value, mean, tril = at_least_float32(value, self.mean, self.scale_tril)
        standardised = jax.scipy.linalg.solve_triangular(tril, value - mean, lower=True)
        return _standard_log_prob(standardised) - self._log_det()

    def _log_det(self) -> Float[Array, ""]:
        (diagonal,) = at_least_float32(jnp.diag(self.scale_tril))
        return jnp.sum(jnp.log(diagonal))


def is_gaussian(distribution: Any) -> TypeGuard[DiagonalNormal | MultivariateNormal]:
    """Returns whether a distribution has the density of one of these classes; a subclass that keeps it counts."""
    return any(known in (DiagonalNormal, MultivariateNormal) for known in density_classes(distribution))


def standard_normal(event_shape: int | tuple[int, ...]) -> DiagonalNormal:
    """N(0, I), the usual prior p(z)."""
    return DiagonalNormal(jnp.zeros(event_shape), jnp.ones(event_shape))
