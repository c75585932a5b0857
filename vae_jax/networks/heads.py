"""The last layers: features made into q(z|x) or p(x|z)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..distributions import Bernoulli, DiagonalNormal, Distribution, MultivariateNormal

POSTERIORS = ("diagonal", "full")
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian_shared", "gaussian_per_pixel")

# A learned σ has no lower bound of its own, and the density of data that is reproduced exactly has no upper one.
SMALLEST_SCALE = 1e-3

glorot = nn.initializers.glorot_uniform()


class PosteriorHead(nn.Module):
    """q(z|x) from a vector of features: a mean and log-variances, or a mean and a Cholesky factor."""

    latent_dim: int
    posterior: str

    @nn.compact
    def __call__(self, features: Float[Array, " features"]) -> Distribution:
        mean = nn.Dense(self.latent_dim, kernel_init=glorot, name="mean")(features)
        log_variance = nn.Dense(self.latent_dim, kernel_init=glorot, name="log_variance")(features)
        scale = _scale(log_variance)
        if self.posterior == "diagonal":
            return DiagonalNormal(mean, scale)
        if self.latent_dim == 1:
            return MultivariateNormal(mean, scale[:, None])
        rows, columns = np.tril_indices(self.latent_dim, -1)
        below = nn.Dense(len(rows), kernel_init=nn.initializers.zeros, name="below_diagonal")(features)
        return MultivariateNormal(mean, jnp.diag(scale).at[rows, columns].set(below))


class LikelihoodHead(nn.Module):
    """p(x|z) from what the decoder puts out for each pixel.

    `outputs_per_pixel` channels are expected last: one for the logit or the mean, one more where σ is a function of z.
    """

    event_shape: tuple[int, ...]
    likelihood: str
    scale: float

    @nn.compact
    def __call__(self, outputs: Float[Array, "*event outputs"]) -> Distribution:
        location = outputs[..., 0]
        if self.likelihood == "bernoulli":
            return Bernoulli(location)
        if self.likelihood == "gaussian":
            return DiagonalNormal(location, jnp.asarray(self.scale, location.dtype))
        start = math.log(self.scale - SMALLEST_SCALE)
        if self.likelihood == "gaussian_shared":
            log_scale = self.param("log_scale", nn.initializers.constant(start), ())
        else:
            log_scale = start + outputs[..., 1]
        return DiagonalNormal(location, SMALLEST_SCALE + jnp.exp(log_scale))


def _scale(log_variance: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns σ = exp(½ log σ²), at least the smallest normal number, with the gradient of an exponential everywhere.

    A σ of 0 has a KL of infinity, whose gradient is NaN; with a plain maximum the gradient would be 0, for ever.
    """
    half = 0.5 * log_variance
    lift = jnp.maximum(math.log(jnp.finfo(half.dtype).tiny) + 0.01 - half, 0)
    return jnp.exp(half + jax.lax.stop_gradient(lift))


def outputs_per_pixel(likelihood: str) -> int:
    return 2 if likelihood == "gaussian_per_pixel" else 1


def location_bias(likelihood: str, mean: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The bias at which the decoder starts with the data's mean: log-odds for Bernoulli, else the mean itself."""
    if likelihood != "bernoulli":
        return mean
    inside = np.clip(mean, 1e-3, 1 - 1e-3)  # a pixel that is always black has log-odds −∞
    return np.log(inside) - np.log1p(-inside)
