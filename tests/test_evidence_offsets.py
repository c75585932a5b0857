"""log p(x) of weights far from 1, whose logarithms leave float32 few digits: against float64 at the same weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from tests.test_evidence import pareto_k_of
from vae_jax import VAE, evaluation
from vae_jax.distributions import standard_normal
from vae_jax.evaluation import LogEvidence
from vae_jax.evaluation.sums import Sum

OFFSETS = np.array([0, -6000, -25_000, 100_000, -1_000_000], np.float32)
SPREAD = np.float32(0.1)


def key() -> jax.Array:
    return jax.random.key(3)


class Sloped:
    """log p(x|z) = x + 0.1 z: with q(z|x) = p(z) the log-weight itself."""

    def __init__(self, z):
        self.z = z

    def log_prob(self, x):
        return x[0] + SPREAD * self.z[0]


VAE_OF_OFFSETS = VAE(
    init=lambda key: jnp.zeros(()),
    encode=lambda params, x: standard_normal(1),
    decode=lambda params, z: Sloped(z),
    prior=lambda params: standard_normal(1),
)


def estimate(**options) -> LogEvidence:
    keys = jnp.stack([key()] * len(OFFSETS))
    drawn = evaluation.log_evidence(jnp.zeros(()), keys, OFFSETS[:, None], vae=VAE_OF_OFFSETS, **options)
    return LogEvidence(*(np.asarray(field, np.float64) for field in drawn))


@pytest.mark.parametrize(("num_samples", "chunk_size"), [(5000, 1), (5000, 70), (100_000, 500)])
def test_an_offset_of_the_log_weights_costs_half_a_unit_in_the_last_place(num_samples, chunk_size):
    """The value and every bound; the relative figures nothing."""
    noise = jax.jit(jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(key(), k), (1,))))(jnp.arange(num_samples))
    drawn = estimate(num_samples=num_samples, chunk_size=chunk_size)
    for row, offset in enumerate(OFFSETS):
        log_w = (offset + SPREAD * np.asarray(noise)[:, 0]).astype(np.float64)
        w = np.exp(log_w - log_w.max())
        exact = [
            (scipy.special.logsumexp(log_w[: num_samples // k * k].reshape(-1, k), axis=1) - math.log(k)).mean()
            for k in evaluation.bound_sizes(num_samples)
        ]
        tolerance = 0.51 * np.spacing(np.abs(offset)) + 1e-3 * SPREAD
        np.testing.assert_allclose(drawn.value[row], exact[-1], rtol=0, atol=tolerance)
        np.testing.assert_allclose(drawn.bounds[row], exact, rtol=0, atol=tolerance)
        error = w.std(ddof=1) / w.mean() / math.sqrt(num_samples)
        np.testing.assert_allclose(drawn.standard_error[row], error, rtol=1e-4)
        np.testing.assert_allclose(drawn.effective_sample_size[row], w.sum() ** 2 / (w**2).sum(), rtol=1e-5)
        assert drawn.effective_sample_size[row] <= num_samples
        if abs(offset) < 1e6:  # there a quarter of the tail is one number, and the fit has no scale
            assert drawn.pareto_k[row] == pytest.approx(pareto_k_of(log_w), rel=0.01, abs=1e-3)


def test_the_bootstrap_does_not_depend_on_the_offset():
    errors = estimate(num_samples=1000, num_bootstrap=50).standard_error
    np.testing.assert_allclose(errors[1:3], errors[0], rtol=0.02)


def test_weights_of_zero_count_as_samples():
    """log (1/K) Σ w where half the log-weights are −∞, in whole chunks of them too."""

    class Half:
        def __init__(self, z):
            self.z = z

        def log_prob(self, x):
            return jnp.where(self.z[0] > 0, x[0], -jnp.inf)

    model = VAE(VAE_OF_OFFSETS.init, VAE_OF_OFFSETS.encode, lambda params, z: Half(z), VAE_OF_OFFSETS.prior)
    keys, xs = jax.random.split(key(), 20), jnp.full((20, 1), -6000.0)
    drawn = evaluation.log_evidence(jnp.zeros(()), keys, xs, vae=model, num_samples=100, chunk_size=1)
    num = np.asarray(drawn.effective_sample_size, np.float64)
    np.testing.assert_allclose(num, np.round(num), atol=1e-3)
    np.testing.assert_allclose(drawn.value, -6000 + np.log(num / 100), atol=3e-4)
    assert np.all(np.asarray(drawn.bounds)[:, 0] == -np.inf)
    assert not np.isnan(np.asarray(drawn.bounds)).any()


def test_a_sum_keeps_terms_below_half_a_unit_of_its_total():
    """2²⁴ + 1 is 2²⁴ in float32, a thousand times over."""
    total = Sum(jnp.float32(2**24), jnp.float32(0))
    for _ in range(1000):
        total = total.add(jnp.float32(1))
    assert float(total.value) == 2**24 + 1000
