"""Scores of examples against the linear-Gaussian model, of which all is known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vae_jax import VAE, evaluation, oracles, parallel
from vae_jax.distributions import DiagonalNormal, MultivariateNormal
from vae_jax.evaluation import scores

NUM = 6


@pytest.fixture(scope="module")
def oracle():
    return oracles.linear_gaussian(jax.random.key(0), latent_dim=2, event_dim=4)


@pytest.fixture(scope="module")
def xs():
    return 2 * jax.random.normal(jax.random.key(1), (NUM, 4))


def keys() -> jax.Array:
    return jax.random.split(jax.random.key(2), NUM)


def wrong(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and scale of an encoder that has not learned."""
    return jnp.array([0.3, -0.2]) + 0.1 * x[:2], jnp.array([0.6, 1.1])


@pytest.fixture(scope="module")
def vae(oracle):
    encode = lambda params, x: DiagonalNormal(*wrong(x))
    return VAE(oracle.vae.init, encode, oracle.vae.decode, oracle.vae.prior)


def elbo(oracle, x, mean, scale) -> float:
    """log p(x) − KL(q ‖ p(z|x))."""
    p = oracle.posterior(oracle.params, x)
    precision = np.linalg.inv(np.asarray(p.scale_tril @ p.scale_tril.T, np.float64))
    apart = np.asarray(mean - p.mean, np.float64)
    squares = np.trace(precision @ np.diag(np.asarray(scale, np.float64) ** 2)) + apart @ precision @ apart
    log_ratio = -np.linalg.slogdet(precision)[1] - 2 * np.sum(np.log(np.asarray(scale, np.float64)))
    return float(oracle.log_evidence(oracle.params, x) - 0.5 * (squares - len(apart) + log_ratio))


def test_elbo_evidence_and_kl_are_the_exact_ones(oracle, vae, xs):
    found = evaluation.score(oracle.params, keys(), xs, vae=vae, num_samples=20_000)
    exact = np.array([elbo(oracle, x, *wrong(x)) for x in xs])
    # Of 20,000 log-weights, whose standard deviation is below 8.
    np.testing.assert_allclose(found.elbo, exact, atol=4.5 * 8 / np.sqrt(20_000))
    reliable = np.asarray(found.pareto_k) < 0.7
    z_scores = (found.log_evidence - jax.vmap(oracle.log_evidence, (None, 0))(oracle.params, xs)) / found.standard_error
    assert reliable.sum() >= 2
    assert np.abs(np.asarray(z_scores)[reliable]).max() < 4.5
    for x, kl in zip(xs, found.kl, strict=True):
        mean, scale = map(np.asarray, wrong(x))
        assert float(kl) == pytest.approx(0.5 * np.sum(scale**2 + mean**2 - 1 - 2 * np.log(scale)), rel=1e-5)


class Student:
    """A prior that has no closed KL from a Gaussian."""

    def sample(self, key):
        return jax.random.t(key, 5.0, (2,))

    def log_prob(self, value):
        return jnp.sum(jax.scipy.stats.t.logpdf(value, 5.0))


NUM_SAMPLES = 4000


@pytest.fixture(scope="module")
def without_closed_form(vae, xs) -> evaluation.Scores:
    """Scores of a model of which x says nothing of z, so that log p(x|z) is a constant."""
    decode = lambda params, z: DiagonalNormal(jnp.zeros(4), jnp.ones(4))
    of_student = VAE(vae.init, vae.encode, decode, lambda params: Student())
    return evaluation.score({}, keys(), xs, vae=of_student, num_samples=NUM_SAMPLES, chunk_size=1500)


def test_a_kl_without_closed_form_is_of_the_samples_of_the_elbo(without_closed_form, xs):
    log_likelihood = stats.norm.logpdf(xs).sum(axis=1)
    np.testing.assert_allclose(log_likelihood - without_closed_form.kl, without_closed_form.elbo, atol=1e-4)


def test_a_kl_without_closed_form_is_the_mean_of_samples(without_closed_form, xs):
    found = without_closed_form
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    for x, kl in zip(xs, found.kl, strict=True):
        mean, scale = map(np.asarray, wrong(x))
        z = mean[:, None] + scale[:, None] * nodes
        integrand = stats.norm.logpdf(z, mean[:, None], scale[:, None]) - stats.t.logpdf(z, 5.0)
        shares = weights / weights.sum()
        exact = (integrand @ shares).sum()
        spread = np.sqrt(((integrand**2) @ shares - (integrand @ shares) ** 2).sum())
        assert abs(kl - exact) < 4.5 * spread / np.sqrt(NUM_SAMPLES)


def test_the_likelihood_regret_is_what_the_best_diagonal_gaussian_gains(oracle, vae, xs):
    """It has the posterior's mean, and its precisions the diagonal of the posterior's precision."""
    found = evaluation.likelihood_regret(
        oracle.params, keys(), xs, vae=vae, num_steps=400, num_samples=4000, learning_rate=0.1
    )
    for x, value, error in zip(xs, found.value, found.standard_error, strict=True):
        p: MultivariateNormal = oracle.posterior(oracle.params, x)
        best = 1 / np.sqrt(np.diag(np.linalg.inv(np.asarray(p.scale_tril @ p.scale_tril.T))))
        exact = elbo(oracle, x, p.mean, best) - elbo(oracle, x, *wrong(x))
        assert abs(value - exact) < 4.5 * error + 0.02  # what 400 steps lack


def test_the_likelihood_regret_is_the_amortisation_gap_of_the_same_arguments(oracle, vae, xs, monkeypatch):
    given = {}

    def gaps(*args, **options):
        given.update(options)
        return SimpleNamespace(amortization_gap=jnp.ones(NUM), amortization_gap_standard_error=jnp.zeros(NUM))

    monkeypatch.setattr(scores, "inference_gaps", gaps)
    options = {"num_steps": 1, "learning_rate": 2.0, "samples_per_step": 3, "num_samples": 4, "chunk_size": 5}
    options |= {"mesh": parallel.data_mesh()}
    found = evaluation.likelihood_regret(oracle.params, keys(), xs, vae=vae, **options)
    assert given == {"vae": vae, **options}
    assert (found.value.tolist(), found.standard_error.tolist()) == ([1] * NUM, [0] * NUM)
