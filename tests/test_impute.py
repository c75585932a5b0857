"""Imputed entries against the exact conditional distributions of a linear-Gaussian model; what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from arviz_stats.base import array_stats

from tests.statistics_checks import FALSE_ALARMS, assert_mean, assert_standard
from vae_jax import VAE, evaluation
from vae_jax.distributions import (
    Bernoulli,
    DiagonalNormal,
    Masked,
    MultivariateNormal,
    standard_normal,
)


def keys(num: int) -> jax.Array:
    return jax.random.split(jax.random.key(1), num)


# x ~ N(Wz + μ + Ac, diag σ²): conditional on c, with 30% of x missing.
NUM, LATENT, EVENT = 1500, 2, 5
RNG = np.random.default_rng(0)
W, MEAN, A = RNG.normal(size=(EVENT, LATENT)), RNG.normal(size=EVENT), RNG.normal(size=(EVENT, 2))
SIGMA = RNG.uniform(0.4, 1.2, EVENT)
C = RNG.normal(size=(NUM, 2))
COMPLETE = (RNG.normal(size=(NUM, LATENT)) @ W.T + MEAN + C @ A.T + SIGMA * RNG.normal(size=(NUM, EVENT))).astype(
    np.float32
)
OBSERVED = RNG.random((NUM, EVENT)) > 0.3


def encode(params, x, c):
    """The posterior of the observed entries, with a scale that is 1.2 times too wide."""
    w, seen = jnp.asarray(W, float), x.observed / jnp.asarray(SIGMA, float) ** 2
    precision = jnp.eye(LATENT) + (w * seen[:, None]).T @ w
    residual = x.filled(0) - jnp.asarray(MEAN, float) - jnp.asarray(A, float) @ c
    covariance = jnp.linalg.inv(precision)
    return MultivariateNormal(covariance @ w.T @ (seen * residual), 1.2 * jnp.linalg.cholesky(covariance))


def decode(params, z, c):
    return DiagonalNormal(jnp.asarray(W, float) @ z + jnp.asarray(MEAN, float) + jnp.asarray(A, float) @ c, SCALE)


SCALE = jnp.asarray(SIGMA, float)
LINEAR = VAE(
    init=lambda key: {},
    encode=encode,
    decode=decode,
    prior=lambda params, c: standard_normal(LATENT),
    given=lambda example: (example["x"], example["c"]),
)


def linear_examples(stored: float = 0.0):
    return {"x": Masked(np.where(OBSERVED, COMPLETE, np.float32(stored)), OBSERVED), "c": np.asarray(C, np.float32)}


def impute_linear(stored: float = 0.0) -> evaluation.Imputation:
    options = {"num_samples": 200, "num_draws": 199, "chunk_size": 28_000}
    return jax.tree.map(np.asarray, evaluation.impute({}, keys(NUM), linear_examples(stored), vae=LINEAR, **options))


@functools.cache
def imputed() -> evaluation.Imputation:
    return impute_linear()


@functools.cache
def exact() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log p(x_o|c), and mean and covariance of p(x|x_o, c) with zeros for what was observed."""
    covariance = W @ W.T + np.diag(SIGMA**2)
    evidence, means, covariances = np.empty(NUM), np.zeros((NUM, EVENT)), np.zeros((NUM, EVENT, EVENT))
    for i, (x, o) in enumerate(zip(COMPLETE - C @ A.T, OBSERVED, strict=True)):
        m, x_o = ~o, (x - MEAN)[o]
        gain = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        evidence[i] = scipy.stats.multivariate_normal.logpdf(x_o, cov=covariance[np.ix_(o, o)]) if o.any() else 0
        means[i, m] = MEAN[m] + A[m] @ C[i] + gain @ x_o
        covariances[i][np.ix_(m, m)] = covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]
    return evidence, means, covariances


def first_missing(at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows with so many missing entries, and which entries the first of them are."""
    rows = np.flatnonzero((~OBSERVED).sum(axis=1) >= at_least)
    return rows, np.argsort(OBSERVED[rows], axis=1, kind="stable")[:, :at_least]


def test_the_evidence_of_masked_examples_is_that_of_their_observed_entries():
    estimate = evaluation.log_evidence({}, keys(NUM), linear_examples(), vae=LINEAR, num_samples=200, chunk_size=28_000)
    some = OBSERVED.any(axis=1)
    z_scores = (np.asarray(estimate.value, np.float64) - exact()[0]) / np.asarray(estimate.standard_error)
    assert_standard(z_scores[some])


def test_imputed_means_are_as_far_from_the_exact_ones_as_their_standard_errors_say():
    rows, which = first_missing(1)
    which = which[:, 0]
    error = imputed().mean[rows, which] - exact()[1][rows, which]
    assert_standard(error / imputed().standard_error[rows, which])


def test_observed_entries_are_as_they_were():
    mean, error, draws = imputed().mean, imputed().standard_error, imputed().draws
    np.testing.assert_array_equal(mean[OBSERVED], COMPLETE[OBSERVED])
    assert np.all((error == 0) == OBSERVED)
    kept = np.where(OBSERVED[:, None], draws == COMPLETE[:, None], draws != COMPLETE[:, None])
    assert kept.all()


def test_intervals_of_draws_cover_what_was_hidden():
    low, high = np.quantile(imputed().draws, [0.025, 0.975], axis=1, method="weibull")
    inside = ((low < COMPLETE) & (high > COMPLETE))[~OBSERVED]
    assert inside.size >= 2000
    assert 0.93 < inside.mean() < 0.97


def test_entries_of_one_draw_belong_together():
    rows, which = first_missing(2)
    take = lambda array: np.take_along_axis(array, which, axis=-1)
    residuals = take(imputed().draws[rows, 0]) - take(exact()[1][rows])
    covariances = exact()[2][rows[:, None, None], which[:, :, None], which[:, None, :]]
    noise = np.linalg.solve(np.linalg.cholesky(covariances), residuals[..., None])[..., 0]
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > FALSE_ALARMS
    assert_mean(noise[:, :, None] * noise[:, None, :], np.eye(2), resolution=0.2)


@pytest.mark.parametrize("stored", [np.nan, -np.inf, 7.0])
def test_what_is_stored_under_the_mask_changes_no_bit(stored):
    for a, b in zip(jax.tree.leaves(impute_linear(stored)), jax.tree.leaves(imputed()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_tail_of_the_weights_is_that_of_the_samples_of_the_keys():
    x, observed, c = COMPLETE[0].astype(np.float64), OBSERVED[0], C[0]
    draw = lambda k: jax.random.normal(jax.random.fold_in(keys(NUM)[0], k), (LATENT,))
    noise = np.asarray(jax.vmap(draw)(jnp.arange(200)), np.float64)
    seen = observed / SIGMA**2
    covariance = np.linalg.inv(np.eye(LATENT) + (W.T * seen) @ W)
    z = covariance @ W.T @ (seen * (x - MEAN - A @ c)) + 1.2 * noise @ np.linalg.cholesky(covariance).T
    log_p = scipy.stats.norm.logpdf(x, z @ W.T + MEAN + A @ c, SIGMA)[:, observed].sum(axis=1)
    log_w = log_p - 0.5 * (z**2).sum(axis=1) + 0.5 * (noise**2).sum(axis=1)
    np.testing.assert_allclose(imputed().pareto_k[0], array_stats.psislw(-log_w)[1], atol=1e-3)


def impute_simple(p, xs, **options):
    normal = lambda params, *of: standard_normal(2)
    vae = VAE(init=lambda key: {}, encode=normal, decode=lambda params, z: p, prior=normal)
    return evaluation.impute({}, keys(2), xs, vae=vae, **options)


class Foreign:
    """Of which nothing is known."""

    log_prob = sample = staticmethod(lambda value: jnp.zeros(()))


HOLES = np.array([[True, False], [True, True]])
REFUSED = {
    "num_samples must be a whole number of at least 2, got 1": lambda: impute_simple(
        standard_normal(2), Masked(np.zeros((2, 2)), HOLES), num_samples=1
    ),
    "num_draws must be a whole number of at least 1, got 0": lambda: impute_simple(
        standard_normal(2), Masked(np.zeros((2, 2)), HOLES), num_draws=0
    ),
    "impute needs one key for each example": lambda: impute_simple(
        standard_normal(2), Masked(np.zeros((3, 2)), np.ones((3, 2), bool))
    ),
    "xs must be finite; 1 of 2 rows are not: 1": lambda: impute_simple(
        standard_normal(2), Masked(np.array([[0, np.nan], [np.nan, 0]]), HOLES)
    ),
    "x lies outside the support of p": lambda: impute_simple(
        Bernoulli(jnp.zeros(2)), Masked(np.array([[0.0, 5], [0, 2]]), HOLES)
    ),
    "does not know that those of a Foreign are": lambda: impute_simple(Foreign(), Masked(np.zeros((2, 2)), HOLES)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_imputed_is_refused(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
