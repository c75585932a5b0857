"""A conditional VAE in every loss and estimate: a linear-Gaussian model moved by c, whose evidence is then exact.

x − Ac has the oracle's density, and z − Bc is its latent: encoder, decoder and prior all depend on c.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import VAE, condition, evaluation, losses, oracles
from vae_jax.distributions import DiagonalNormal, MultivariateNormal

LATENT, EVENT, NUM = 2, 3, 4
A = np.random.default_rng(1).normal(size=(EVENT, 2)).astype(np.float32)
B = np.random.default_rng(2).normal(size=(LATENT, 2)).astype(np.float32)
EXAMPLES = {
    "x": jnp.asarray(np.random.default_rng(3).normal(size=(NUM, EVENT)), jnp.float32),
    "c": jnp.asarray(2 * np.random.default_rng(4).normal(size=(NUM, 2)), jnp.float32),
}


@functools.cache
def oracle() -> Any:
    return oracles.linear_gaussian(jax.random.key(0), latent_dim=LATENT, event_dim=EVENT)


@functools.cache
def moved() -> VAE:
    base = oracle().vae

    def encode(params: Any, x: Any, c: Any) -> MultivariateNormal:
        q = base.encode(params, x - A @ c)
        return MultivariateNormal(q.mean + B @ c, q.scale_tril)

    def decode(params: Any, z: Any, c: Any) -> MultivariateNormal:
        p = base.decode(params, z - B @ c)
        return MultivariateNormal(p.mean + A @ c, p.scale_tril)

    prior = lambda params, c: DiagonalNormal(B @ c, jnp.ones(LATENT))
    return VAE(base.init, encode, decode, prior, given=lambda example: (example["x"], example["c"]))


@functools.cache
def exact_posterior() -> Any:
    """Every importance weight is then p(x|c), and no estimate has an error but rounding."""
    return oracle().with_exact_posterior(oracle().params)


def unmoved() -> jax.Array:
    return EXAMPLES["x"] - EXAMPLES["c"] @ A.T


@functools.cache
def log_evidence() -> np.ndarray:
    """log p(x|c) = log p₀(x − Ac)."""
    return np.array([oracle().log_evidence(oracle().params, x) for x in unmoved()])


def keys() -> jax.Array:
    return jax.random.split(jax.random.key(5), NUM)


LOSSES = [
    functools.partial(losses.negative_elbo, kl="monte_carlo"),
    functools.partial(losses.negative_iwae, num_samples=3, gradient="doubly_reparameterized"),
    functools.partial(losses.negative_wake_sleep, num_samples=3, phi="both"),
    functools.partial(losses.negative_thermodynamic, num_samples=3),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.func.__name__)
def test_every_loss_of_an_exact_posterior_is_the_conditional_evidence(loss):
    for number in range(2):
        example = {"x": EXAMPLES["x"][number], "c": EXAMPLES["c"][number]}
        value, _ = loss(exact_posterior(), jax.random.key(number), example, vae=moved())
        np.testing.assert_allclose(value, -log_evidence()[number], rtol=1e-5)


def test_the_loss_of_a_batch_is_the_mean_of_its_pairs():
    batch = losses.over_batch(losses.negative_elbo)
    value, terms = batch(exact_posterior(), keys(), EXAMPLES, vae=moved(), kl="monte_carlo")
    np.testing.assert_allclose(value, -log_evidence().mean(), rtol=1e-5)
    np.testing.assert_allclose(terms.log_weights[:, 0], log_evidence(), rtol=1e-5)


def test_the_evidence_of_every_pair_is_exact():
    estimate = evaluation.log_evidence(exact_posterior(), keys(), EXAMPLES, vae=moved(), num_samples=30, chunk_size=10)
    np.testing.assert_allclose(estimate.value, log_evidence(), rtol=1e-5)


def test_annealing_is_exact_from_the_posterior():
    estimate = evaluation.annealed_log_evidence(
        exact_posterior(),
        keys(),
        EXAMPLES,
        vae=moved(),
        num_temperatures=2,
        num_chains=2,
        num_leapfrog=1,
        start="posterior",
    )
    np.testing.assert_allclose(estimate.value, log_evidence(), rtol=1e-5)


def test_inference_has_no_gap():
    options = {"family": "full", "num_steps": 1, "learning_rate": 1e-6, "samples_per_step": 2, "num_samples": 10}
    gaps = evaluation.inference_gaps(exact_posterior(), keys(), EXAMPLES, vae=moved(), **options)
    np.testing.assert_allclose(gaps.elbo, log_evidence(), rtol=1e-5)
    np.testing.assert_allclose(gaps.log_evidence, log_evidence(), rtol=1e-4)


def test_the_rate_of_the_latents_is_exact():
    """KL(q(z|x, c) ‖ p(z|c)), on which c itself has no effect."""
    statistics = evaluation.latent_statistics(oracle().params, keys(), EXAMPLES, vae=moved(), chunk_size=2)
    q = [oracle().vae.encode(oracle().params, x) for x in unmoved()]
    kls = [
        0.5 * (np.sum(q.scale_tril**2) + np.sum(q.mean**2) - LATENT) - np.sum(np.log(np.diag(q.scale_tril))) for q in q
    ]
    np.testing.assert_allclose(statistics.kl, np.mean(kls), rtol=1e-5)


def test_data_of_a_conditional_model_are_simulated_for_a_given_c():
    with pytest.raises(ValueError, match=r"needs a c: give it one with vae=vae_jax\.condition\(vae, c\)"):
        evaluation.bidirectional_log_evidence(exact_posterior(), keys(), vae=moved())
    given = condition(moved(), EXAMPLES["c"][0])
    shape = jax.eval_shape(
        lambda keys: evaluation.bidirectional_log_evidence(exact_posterior(), keys, vae=given, num_temperatures=2).xs,
        keys(),
    )
    assert shape.shape == (NUM, EVENT)


ONCE = {
    "negative_iwae": lambda vae, xs: losses.over_batch(losses.negative_iwae)(oracle().params, keys(), xs, vae=vae)[0],
    "log_evidence": lambda vae, xs: evaluation.log_evidence(
        oracle().params, keys(), xs, vae=vae, num_samples=20, chunk_size=10
    ),
    "annealed": lambda vae, xs: evaluation.annealed_log_evidence(
        oracle().params, keys(), xs, vae=vae, num_temperatures=3, chunk_size=16
    ),
    "bidirectional": lambda vae, xs: evaluation.bidirectional_log_evidence(
        oracle().params, keys(), vae=vae, num_temperatures=3, chunk_size=32
    ),
    "gaps": lambda vae, xs: evaluation.inference_gaps(oracle().params, keys(), xs, vae=vae, num_steps=2),
}


@pytest.mark.parametrize("name", ONCE)
def test_the_prior_is_made_once_for_all_examples_and_samples(name):
    """A VampPrior encodes its pseudo-inputs there."""
    base, calls = oracle().vae, []

    def prior(params: Any) -> Any:
        calls.append(params)
        return base.prior(params)

    counted = VAE(base.init, base.encode, base.decode, prior)
    jax.eval_shape(functools.partial(ONCE[name], counted), unmoved())
    assert len(calls) == 1
