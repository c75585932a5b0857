"""The negative ELBO against exact answers (E1–E5, E7, E11–E13)."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro_dist
import pytest
import scipy.stats

from tests.statistics_checks import assert_mean, assert_standard_normal, normal_log_density
from vae_jax import VAE, losses, oracles
from vae_jax.distributions import Bernoulli, DiagonalNormal, kl_divergence, standard_normal

NUM_REPLICATES = 20_000


def keys(seed: int, num: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), num)


@functools.cache
def build(kind: str):
    oracle = getattr(oracles, kind)(jax.random.key(0), latent_dim=2, event_dim=3)
    return oracle, jax.random.normal(jax.random.key(1), (3,))


def covariance(distribution) -> np.ndarray:
    scale = np.asarray(distribution.scale, np.float64)
    return scale @ scale.T if scale.ndim == 2 else np.diag(np.broadcast_to(scale**2, distribution.event_shape))


def log_density(distribution, value) -> Any:
    return normal_log_density(value, distribution.mean, covariance(distribution))


@functools.cache
def exact_values(kind: str):
    """The ELBO and the KL of q(z|x) from the prior, each with its gradient, log p(x), and the KL from the posterior."""
    oracle, x = build(kind)

    @jax.jit
    def evaluate(params):
        kl = lambda params: kl_divergence(oracle.vae.encode(params, x), oracle.vae.prior(params))
        gap = kl_divergence(oracle.vae.encode(params, x), oracle.posterior(params, x))
        elbo = jax.value_and_grad(oracle.elbo)(params, x)
        return elbo, jax.value_and_grad(kl)(params), oracle.log_evidence(params, x), gap

    return evaluate(oracle.params)


class Replicates(NamedTuple):
    """Independent losses, their gradients and terms, beside the exact loss and gradient."""

    values: jax.Array
    gradients: dict
    terms: losses.Terms
    exact_loss: jax.Array
    exact_gradient: dict
    log_evidence: jax.Array
    gap: jax.Array


@pytest.fixture(
    scope="module",
    params=[
        ("linear_gaussian", {"kl": "auto", "num_samples": 1, "beta": 1.0}),
        ("linear_gaussian", {"kl": "monte_carlo", "num_samples": 3, "beta": 0.5}),
        ("ppca", {"kl": "analytic", "num_samples": 3, "beta": 2.0}),
        ("ppca", {"kl": "monte_carlo", "num_samples": 1, "beta": 1.0}),
    ],
    ids=lambda param: "-".join([param[0], *(str(value) for value in param[1].values())]),
)
def replicates(request) -> Replicates:
    kind, options = request.param
    oracle, x = build(kind)

    @jax.jit
    @jax.vmap
    def estimate(key):
        loss = lambda params: losses.negative_elbo(params, key, x, vae=oracle.vae, **options)
        (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(oracle.params)
        return value, gradient, terms

    exact_elbo, exact_kl, log_evidence, gap = exact_values(kind)
    exact_loss, exact_gradient = jax.tree.map(lambda elbo, kl: -elbo + (options["beta"] - 1) * kl, exact_elbo, exact_kl)
    values, gradients, terms = estimate(keys(2, NUM_REPLICATES))
    return Replicates(values, gradients, terms, exact_loss, exact_gradient, log_evidence, gap)


def test_loss_is_unbiased(replicates):
    """E3, E4, E7, E11: E[loss] = −L(x), for any number of samples and either KL; at β ≠ 1, −L + (β−1) KL."""
    assert_mean(replicates.values, replicates.exact_loss, resolution=0.02)


def test_gradient_is_unbiased_in_every_parameter(replicates):
    """E12: E[∇ loss] = −∇L in θ and φ."""
    assert_mean(replicates.gradients, replicates.exact_gradient, resolution=0.03)


def test_log_weights_have_the_elbo_as_mean_and_lie_below_the_evidence_by_the_gap(replicates):
    """E1, E2, E3: E[log w] = log p(x) − KL(q(z|x) ‖ p(z|x))."""
    assert replicates.gap > 0.01
    assert_mean(replicates.terms.log_weights[:, 0], replicates.log_evidence - replicates.gap, resolution=0.02)


def test_samples_are_draws_from_the_posterior(replicates):
    """E13: z = μ + Se with e ~ N(0, I): the noise is there, and other noise for every sample and key."""
    q = jax.tree.map(lambda leaf: leaf[0], replicates.terms.posterior)
    offsets = np.asarray(replicates.terms.z, np.float64) - np.asarray(q.mean)
    noise = np.linalg.solve(np.linalg.cholesky(covariance(q)), offsets[..., None])[..., 0]
    assert_standard_normal(noise.reshape(len(noise), -1))


@pytest.mark.parametrize("kind", ["linear_gaussian", "ppca"])
def test_every_log_weight_is_the_evidence_at_the_exact_posterior(kind):
    """E2: the gap is 0 there, sample by sample."""
    oracle, x = build(kind)

    @jax.jit
    def evaluate(key):
        params = oracle.with_exact_posterior(oracle.params)
        loss, terms = losses.negative_elbo(params, key, x, vae=oracle.vae, num_samples=5, kl="monte_carlo")
        return loss, terms, oracle.log_evidence(params, x)

    loss, terms, exact = evaluate(jax.random.key(3))
    np.testing.assert_allclose(terms.log_weights, np.full(5, exact), rtol=1e-5)
    np.testing.assert_allclose(loss, -exact, rtol=1e-5)
    np.testing.assert_allclose(terms.effective_sample_size, 5.0, rtol=1e-5)


class OneLoss(NamedTuple):
    """A loss and its terms, beside scipy's float64 densities at the very samples drawn, and the exact KL."""

    loss: jax.Array
    terms: losses.Terms
    log_likelihoods: np.ndarray
    log_priors: np.ndarray
    log_qs: np.ndarray
    kl: float


@functools.cache
def one_loss(kl: str, num_samples: int, beta: float = 1.0) -> OneLoss:
    oracle, x = build("linear_gaussian")
    loss = lambda key: losses.negative_elbo(
        oracle.params, key, x, vae=oracle.vae, kl=kl, num_samples=num_samples, beta=beta
    )
    value, terms = jax.jit(loss)(jax.random.key(4))
    q, zs = oracle.vae.encode(oracle.params, x), np.asarray(terms.z, np.float64)
    mean, cov = np.asarray(q.mean, np.float64), covariance(q)
    return OneLoss(
        value,
        terms,
        np.array([log_density(oracle.vae.decode(oracle.params, z), x) for z in terms.z]),
        scipy.stats.norm.logpdf(zs).sum(axis=1),
        log_density(q, zs),
        0.5 * (np.trace(cov) + mean @ mean - mean.size - np.linalg.slogdet(cov)[1]),
    )


def test_joint_form_is_minus_the_mean_log_weight():
    """E3: −(1/S) Σ [log p(x|z) + log p(z) − log q(z|x)] at the samples drawn."""
    one = one_loss("monte_carlo", 4)
    np.testing.assert_allclose(one.loss, -np.mean(one.log_likelihoods + one.log_priors - one.log_qs), rtol=1e-5)
    np.testing.assert_allclose(one.terms.kl, np.mean(one.log_qs - one.log_priors), rtol=1e-5)


def test_loss_is_the_exact_kl_minus_the_mean_reconstruction():
    """E4, E13: KL(q(z|x) ‖ p(z)) − (1/S) Σ log p(x|z) at the samples drawn; note the signs."""
    one = one_loss("auto", 4)
    np.testing.assert_allclose(one.loss, one.kl - np.mean(one.log_likelihoods), rtol=1e-5)
    np.testing.assert_allclose(one.terms.kl, one.kl, rtol=1e-5)
    np.testing.assert_allclose(one.terms.reconstruction, np.mean(one.log_likelihoods), rtol=1e-5)


def test_log_weights_and_their_effective_sample_size_are_those_of_the_samples():
    """(Σ w)² / Σ w² of w = p(x, z)/q(z|x), whichever KL the loss takes."""
    one = one_loss("auto", 4)
    log_weights = one.log_likelihoods + one.log_priors - one.log_qs
    np.testing.assert_allclose(one.terms.log_weights, log_weights, rtol=1e-5)
    weights = np.exp(log_weights - log_weights.max())
    np.testing.assert_allclose(one.terms.effective_sample_size, weights.sum() ** 2 / (weights**2).sum(), rtol=1e-4)


@pytest.mark.parametrize("num_samples", [1, 4])
def test_beta_weighs_the_kl_whatever_the_number_of_samples(num_samples):
    """The weight is not dropped at S > 1, and `terms.kl` is without it."""
    one = one_loss("auto", num_samples, beta=3.0)
    np.testing.assert_allclose(one.loss, 3.0 * one.kl - np.mean(one.log_likelihoods), rtol=1e-5)
    np.testing.assert_allclose(one.terms.kl, one.kl, rtol=1e-5)


def gauss_hermite_elbo(params, x):
    """The ELBO of `bernoulli_vae` with exact expectations: a one-dimensional z, by quadrature."""
    nodes, weights = map(jnp.asarray, np.polynomial.hermite_e.hermegauss(40))
    q = bernoulli_vae.encode(params, x)
    z = q.mean[0] + q.scale[0] * nodes
    logits = z[:, None] * params["weight"][None] + params["bias"][None]
    log_likelihoods = jnp.sum(x[None] * logits - jnp.logaddexp(0.0, logits), axis=1)
    kl = 0.5 * (q.mean[0] ** 2 + q.scale[0] ** 2 - 1) - jnp.log(q.scale[0])
    return weights @ log_likelihoods / math.sqrt(2 * math.pi) - kl


bernoulli_vae = VAE(
    init=lambda key: {"weight": jnp.asarray([1.5, -2.0]), "bias": jnp.asarray([0.3, 0.1]), "encoder": jnp.asarray(0.4)},
    encode=lambda params, x: DiagonalNormal(
        params["encoder"] * jnp.sum(x, keepdims=True), jnp.exp(params["encoder"] - 1)[None]
    ),
    decode=lambda params, z: Bernoulli(params["weight"] * z + params["bias"]),
    prior=lambda params: standard_normal(1),
)


def test_bernoulli_loss_and_gradient_meet_gauss_hermite_quadrature():
    """E7, E12, E13 for a likelihood without closed form."""
    params, x = bernoulli_vae.init(None), jnp.asarray([1.0, 0.0])
    exact = jax.tree.map(jnp.negative, jax.jit(jax.value_and_grad(gauss_hermite_elbo))(params, x))
    loss = lambda key: jax.value_and_grad(losses.negative_elbo, has_aux=True)(params, key, x, vae=bernoulli_vae)
    (values, _), gradients = jax.jit(jax.vmap(loss))(keys(6, 40_000))
    assert_mean((values, gradients), exact, resolution=0.02)


def test_numpyro_distributions_serve_as_posterior_prior_and_likelihood():
    """E7 again: probabilistic PCA written with NumPyro has the exact ELBO of the oracle."""
    oracle, x = build("ppca")

    def numpyro_normal(distribution):
        return numpyro_dist.Normal(distribution.mean, distribution.scale).to_event(1)

    vae = VAE(
        init=oracle.vae.init,
        encode=lambda params, x: numpyro_normal(oracle.vae.encode(params, x)),
        decode=lambda params, z: numpyro_normal(oracle.vae.decode(params, z)),
        prior=lambda params: numpyro_normal(oracle.vae.prior(params)),
    )
    loss = lambda key: losses.negative_elbo(oracle.params, key, x, vae=vae)
    values, terms = jax.jit(jax.vmap(loss))(keys(7, NUM_REPLICATES))
    assert_mean(values, -oracle.elbo(oracle.params, x), resolution=0.02)
    assert terms.kl_per_dimension is None
