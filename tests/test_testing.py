"""The law of reparameterised families accepts right ones and finds wrong ones (E10, E14)."""

import jax
import jax.numpy as jnp
import pytest

from vae_jax.distributions import DiagonalNormal, MultivariateNormal
from vae_jax.testing import check_reparameterization

MEAN = jnp.asarray([0.5, -1.0, 2.0])
SCALE = jnp.asarray([0.3, 2.0, 1.1])
TRIL = jnp.asarray([[0.8, 0.0, 0.0], [-0.5, 1.3, 0.0], [0.4, 0.6, 0.5]])


@pytest.mark.parametrize(
    "distribution",
    [
        DiagonalNormal(MEAN, SCALE),
        DiagonalNormal(MEAN, jnp.asarray(0.01)),
        DiagonalNormal(MEAN[:, None], SCALE[:, None]),
        MultivariateNormal(MEAN, TRIL),
    ],
    ids=["diagonal", "shared-scale", "matrix-event", "full"],
)
def test_gaussians_obey_the_law(distribution):
    check_reparameterization(distribution, jax.random.key(0))


class VarianceForScale(DiagonalNormal):
    """z = μ + σ²e, everywhere but in the density."""

    def transform(self, noise):
        return self.mean + self.scale**2 * noise, super().transform(noise)[1]

    def sample(self, key):
        return self.transform(self.noise(key))[0]


class NoLogDeterminant(DiagonalNormal):
    """transform returns log p(e) for log q(z)."""

    def transform(self, noise):
        z, log_q = super().transform(noise)
        return z, log_q + jnp.sum(jnp.log(self.scale))


class WrongDensity(DiagonalNormal):
    """log_prob is that of another σ, as in a flow whose density uses another gate than its transform."""

    def log_prob(self, value):
        return DiagonalNormal(self.mean, 1.1 * self.scale).log_prob(value)


class NotANumber(DiagonalNormal):
    def log_prob(self, value):
        return super().log_prob(value) * jnp.nan


class NoNoise(DiagonalNormal):
    """sample is the mean."""

    def sample(self, key):
        return self.mean


class TransposedFactor(MultivariateNormal):
    """z = μ + Sᵀe: the right determinant, the wrong covariance."""

    def transform(self, noise):
        return self.mean + self.scale_tril.T @ noise, super().transform(noise)[1]

    def sample(self, key):
        return self.transform(self.noise(key))[0]


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (VarianceForScale(MEAN, SCALE), "transform gives"),
        (NoLogDeterminant(MEAN, SCALE), "transform gives"),
        (WrongDensity(MEAN, SCALE), "log_prob gives"),
        (NotANumber(MEAN, SCALE), "log_prob gives"),
        (NoNoise(MEAN, SCALE), r"sample\(key\) is not transform"),
        (TransposedFactor(MEAN, TRIL), "log_prob gives"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, (DiagonalNormal, MultivariateNormal)) else "",
)
def test_a_wrong_family_breaks_the_law(wrong, part):
    with pytest.raises(AssertionError, match=part):
        check_reparameterization(wrong, jax.random.key(1))
