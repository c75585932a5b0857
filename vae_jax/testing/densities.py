"""Laws of densities: they are normalised, samples follow them, and they are finite with finite gradients."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Key

from ..distributions import Binary, Distribution, Interval, Levels, WholeNumbers, kl_divergence
from .draws import draws, log_probs

_POINTS = 4001
# Of the standard normal and of Kolmogorov's distribution, at a level of about one in a million.
_STANDARD_ERRORS, _KOLMOGOROV = 5.0, 2.7


def check_density(
    distribution: Distribution, key: Key[Array, ""], *, num_samples: int = 4000, tolerance: float = 1e-3
) -> None:
    """Checks that the density of ONE element integrates, or sums, to 1, and that samples follow it.

    The integral is by the trapezoidal rule in a variable in which the support is the real line; the samples' empirical
    distribution function is compared with the density's, by Kolmogorov's law. A right distribution fails once in a
    million keys.

    Args:
      distribution: over an event of shape () or (1,), whose `support` is one of this package's, or the real line where
        it states none. Counts are summed up to ten times the largest sample.
      key: a typed PRNG key.
      num_samples: how many samples are compared.
      tolerance: of the integral.

    Raises:
      AssertionError: naming what is wrong, with the figures.
    """
    samples = np.asarray(draws(distribution, key, num_samples))
    shape = samples.shape[1:]
    values, weights = _points(getattr(distribution, "support", None), samples.ravel())
    values = values.astype(samples.dtype).reshape(-1, *shape)
    masses = np.exp(np.asarray(log_probs(distribution, values), np.float64)) * weights
    name, total = type(distribution).__name__, masses.sum()
    if not abs(total - 1) <= tolerance:
        raise AssertionError(f"{name}: the density adds up to {total}, not to 1")
    # Between two points of a continuous variable lies half the mass of both.
    below = np.cumsum(masses) - (0 if _is_discrete(distribution) else masses / 2)
    found = np.searchsorted(np.sort(samples.ravel()), values.ravel(), side="right") / num_samples
    error, limit = np.abs(found - below).max(), _KOLMOGOROV / math.sqrt(num_samples) + tolerance
    if not error <= limit:
        raise AssertionError(f"{name}: samples do not follow the density: their shares below a value differ by {error}")


def check_sampled_density(distribution: Distribution, key: Key[Array, ""], *, num_samples: int = 2000) -> None:
    """Checks that E[r(z)/p(z)] = 1 over samples z ~ p, for a density r that is near to p; z is real, of any shape.

    It holds where samples follow the density and the density integrates to 1. r is a mixture of Gaussians around half
    of the samples, a third of their standard deviation wide; the mean is over the others. A right distribution fails
    once in a million keys, unless it is thin where its neighbourhood is not.

    Args:
      distribution: over one array of real numbers, of a few elements.
      key: a typed PRNG key.
      num_samples: how many samples are drawn.

    Raises:
      AssertionError: with the mean and its standard error.
    """
    samples = draws(distribution, key, num_samples)
    flat = np.asarray(samples, np.float64).reshape(num_samples, -1)
    first, second = flat[: num_samples // 2], flat[num_samples // 2 :]
    scale = first.std(axis=0) / 3
    distances = np.sum(((second[:, None] - first) / scale) ** 2, axis=-1)
    log_r = np.asarray(scipy.special.logsumexp(-0.5 * distances, axis=1)) - math.log(len(first))
    log_r -= np.sum(np.log(scale) + 0.5 * math.log(2 * math.pi))
    log_p = np.asarray(log_probs(distribution, samples[num_samples // 2 :]), np.float64)
    _check_mean(np.exp(log_r - log_p), 1.0, f"{type(distribution).__name__}: the mean of r(z)/p(z)")


def check_kl(
    q: Distribution,
    p: Distribution,
    key: Key[Array, ""],
    *,
    kl: Callable[[Any, Any], Float[Array, "..."]] = kl_divergence,
    num_samples: int = 4000,
) -> None:
    """Checks that a KL in closed form is the mean of log q(z) − log p(z) over samples z ~ q (E3, E4).

    Raises:
      AssertionError: with the mean and its standard error.
    """
    samples = draws(q, key, num_samples)
    ratios = np.asarray(log_probs(q, samples), np.float64) - np.asarray(log_probs(p, samples), np.float64)
    _check_mean(
        ratios, float(jnp.sum(kl(q, p))), f"KL({type(q).__name__} ‖ {type(p).__name__}): the mean of log q − log p"
    )


def check_finite(make: Callable[[Any], Distribution], parameters: Any, value: Any) -> None:
    """Checks that log p(value) and its gradient with respect to the parameters are finite.

    Args:
      make: parameters -> distribution.
      parameters: a pytree of arrays, at the edges of their range say.
      value: one event, at the edge of the support say.

    Raises:
      AssertionError: naming the parameter whose gradient is not finite.
    """
    log_prob, gradients = jax.value_and_grad(lambda parameters: make(parameters).log_prob(value))(parameters)
    if not np.isfinite(log_prob):
        raise AssertionError(f"log_prob is {log_prob}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        if not np.all(np.isfinite(leaf)):
            raise AssertionError(f"the gradient with respect to {jax.tree_util.keystr(path)} is {leaf}")


def _check_mean(values: np.ndarray, expected: float, what: str) -> None:
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    if not abs(mean - expected) <= _STANDARD_ERRORS * error + 1e-5 * (1 + abs(expected)):
        raise AssertionError(f"{what} is {mean} ± {error}, not {expected}")


def _is_discrete(distribution: Any) -> bool:
    return bool(getattr(getattr(distribution, "support", None), "is_discrete", False))


def _points(support: Any, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns values, and the weights with which the density at them adds up to 1."""
    match support:
        case Binary():
            values = np.arange(2.0)
        case Levels(number):
            values = np.arange(number) / (number - 1)
        case WholeNumbers(low, high):
            values = np.arange(low, min(high, 10 * samples.max() + 20) + 1)
        case Interval(low, high) if high < math.inf:
            u = np.linspace(-9, 9, _POINTS)
            values = low + (high - low) / (1 + np.exp(-u))
            return values, np.gradient(values)
        case Interval(low, _):
            u = np.linspace(-30, 30, _POINTS)
            scale = np.median(samples - low)
            return low + scale * np.exp(u), (u[1] - u[0]) * scale * np.exp(u)
        case None:
            u, middle = np.linspace(-14, 14, _POINTS), np.median(samples)
            scale = np.median(np.abs(samples - middle))
            return middle + scale * np.sinh(u), (u[1] - u[0]) * scale * np.cosh(u)
        case _:
            raise TypeError(f"check_density knows no points of the support {support}")
    return values, np.ones_like(values)
