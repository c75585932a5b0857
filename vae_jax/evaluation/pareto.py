"""How heavy the tail of importance weights is: Pareto k̂."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Of the fit's grid and of its priors (Zhang and Stephens 2009; Vehtari et al. 2024, appendix).
_GRID, _PRIOR_SCALE, _PRIOR_SAMPLES, _PRIOR_K = 30, 3.0, 10, 0.5
_SMALLEST_TAIL = 5


def tail_size(num_samples: int) -> int:
    """M = ⌊min(K/5, 3√K)⌋, how many of the largest of K weights are taken as their tail."""
    return math.floor(min(num_samples / 5, 3 * math.sqrt(num_samples)))


def pareto_k_threshold(num_samples: int) -> float:
    """min(1 − 1/log₁₀ K, 0.7): above it, neither an estimate from K weights nor its standard error can be relied on.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry 2024, Journal of Machine Learning Research 25(72), section 3.2.4.
    """
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 10 else 0.0


def pareto_k(log_weights: Float[Array, " samples"]) -> Float[Array, ""]:
    """k̂, the shape of the generalised Pareto distribution that fits the M largest weights best; see `tail_size`.

    Weights whose tail index is k have finite moments of order below 1/k: from k = 0.5 on an importance-sampled mean has
    no variance, its standard error means nothing, and from 0.7 on it converges too slowly for any number of samples.

    Returns NaN for fewer than 25 samples, whose tail holds fewer than 5; and 0 where the weights of the tail are equal.

    Source: Vehtari et al. 2024, JMLR 25(72); the fit is that of Zhang and Stephens 2009, Technometrics 51(3).
    """
    num_largest = min(tail_size(log_weights.size) + 1, log_weights.size)
    return k_of_tail(jax.lax.top_k(log_weights, num_largest)[0])


def k_of_tail(largest: Float[Array, " tail_and_one"]) -> Float[Array, ""]:
    """k̂ from the M + 1 largest log-weights, in decreasing order; the last is where the tail begins."""
    size = largest.size - 1
    if size < _SMALLEST_TAIL:
        return jnp.full((), jnp.nan, largest.dtype)
    weights = jnp.exp(largest - largest[0])
    excess = (weights[:-1] - weights[-1])[::-1]
    quartile = excess[int(size / 4 + 0.5) - 1]
    varies = quartile > 0
    excess, quartile = jnp.where(varies, excess, 1.0), jnp.where(varies, quartile, 1.0)
    # b = −k/σ on a grid, each with the k that is most likely given it, weighted by its profile likelihood.
    num_grid = _GRID + math.isqrt(size)
    grid = 1 - jnp.sqrt(num_grid / (jnp.arange(1, num_grid + 1, dtype=largest.dtype) - 0.5))
    b = 1 / excess[-1] + grid / (_PRIOR_SCALE * quartile)
    k_of = lambda b: jnp.mean(jnp.log1p(-b * excess))
    k = jax.vmap(k_of)(b)
    # −b/k = 1/σ. At b = 0, which is on the grid where weights tie at the top, it is the exponential distribution's.
    inverse_scale = jnp.where(b == 0, 1 / jnp.mean(excess), -b / jnp.where(b == 0, 1, k))
    log_likelihood = size * (jnp.log(inverse_scale) - k - 1)
    k_hat = k_of(jnp.sum(jax.nn.softmax(log_likelihood) * b))
    k_hat = (size * k_hat + _PRIOR_SAMPLES * _PRIOR_K) / (size + _PRIOR_SAMPLES)
    return jnp.where(varies, k_hat, 0.0)
