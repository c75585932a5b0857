"""Reweighted wake-sleep and the thermodynamic objective: values, and gradients that are defined rather than derived."""

import functools
import math
from typing import Any

import jax
import numpy as np
import pytest

from tests.bound_parts import assert_same, evaluate, near_posterior
from tests.estimator_parts import SEED, build, flat, log_mean_exp, parts, softmax
from vae_jax import losses

pytestmark = pytest.mark.usefixtures("float64")


def dream_score(kind: str, key: Any) -> np.ndarray:
    """∂φ log q(z'|x') at z' ~ p(z), x' ~ p(x|z'), by the second and third of three keys."""
    vae, params, _ = build(kind)
    _, dream_key, image_key = jax.random.split(key, 3)
    dream = vae.prior(params).sample(dream_key)
    image = vae.decode(params, dream).sample(image_key)
    return flat(jax.grad(lambda params: vae.encode(params, image).log_prob(dream))(params))


@pytest.mark.parametrize("kind", ["linear_gaussian", "bernoulli_mlp"])
@pytest.mark.parametrize(("phi", "wake"), [("wake", 1.0), ("sleep", 0.0), ("both", 0.5)])
def test_wake_sleep_is_the_iwae_bound_with_gradients_of_its_own(kind, phi, wake):
    """θ: −Σ w̃ ∂θ log p; φ: −Σ w̃ ∂φ log q in wake, minus the dream's score in sleep, half of each in both."""
    of_samples = parts(kind, 6, key=jax.random.split(jax.random.key(SEED), 3)[0])
    l = of_samples.log_weights()
    value, terms, gradient = evaluate("wake_sleep", kind=kind, num_samples=6, phi=phi)
    np.testing.assert_allclose(terms.log_weights, l, rtol=1e-10)
    np.testing.assert_allclose(value, -log_mean_exp(l), rtol=1e-10)
    score = wake * softmax(l) @ of_samples.score
    if wake < 1:
        score = score + (1 - wake) * dream_score(kind, jax.random.key(SEED))
    np.testing.assert_allclose(flat(gradient), -softmax(l) @ of_samples.joint - score, rtol=1e-8, atol=1e-10)


def test_theta_of_wake_sleep_is_that_of_iwae_at_the_same_samples():
    wake = evaluate("wake_sleep", kind="linear_gaussian", num_samples=6)
    first = jax.random.split(jax.random.key(SEED), 3)[0]
    iwae = evaluate("iwae", kind="linear_gaussian", num_samples=6, key=first)
    assert_same((wake[0], wake[2]["decoder"]), (iwae[0], iwae[2]["decoder"]))


@pytest.mark.parametrize("partition", [(0.0, 1.0), (0.0, 0.1, 0.4, 1.0)])
def test_thermodynamic_objective_and_its_covariance_gradient(partition):
    """Σ Δβ E[log w] under weights w^β; E[∂ log w] + E[f log w] − E[f] E[log w], f = ∂ of β log p + (1−β) log q."""
    of_samples = parts("bernoulli_mlp", 6)
    l = of_samples.log_weights()
    exact, slope = 0.0, 0.0
    for beta, width in zip(partition, np.diff(partition), strict=False):
        pi = softmax(beta * l)
        f = beta * of_samples.joint + (1 - beta) * of_samples.score
        exact += width * (pi @ l)
        covariance = (pi * l) @ f - (pi @ f) * (pi @ l)
        slope += width * (pi @ (of_samples.joint - of_samples.score) + covariance)
    value, _, gradient = evaluate("thermodynamic", num_samples=6, partition=partition)
    np.testing.assert_allclose(value, -exact, rtol=1e-10)
    np.testing.assert_allclose(flat(gradient), -np.asarray(slope), rtol=1e-8, atol=1e-10)
    if partition == (0.0, 1.0):
        np.testing.assert_allclose(value, -l.mean(), rtol=1e-10)


def test_finer_partitions_rise_from_the_elbo_to_the_evidence():
    """A left Riemann sum of what rises in β: with many samples, from L(x) to log p(x)."""
    oracle, params, x, evidence = near_posterior()
    loss = functools.partial(losses.negative_thermodynamic, vae=oracle.vae, num_samples=20_000)
    partitions = [np.linspace(0, 1, steps + 1).tolist() for steps in (1, 2, 10, 200)]
    compute = jax.jit(lambda key: [-loss(params, jax.random.clone(key), x, partition=p)[0] for p in partitions])
    values = compute(jax.random.key(6))
    elbo = oracle.elbo(params, x)
    assert np.all(np.diff(np.asarray(values)) > 0)
    np.testing.assert_allclose(values[0], elbo, atol=5 * 0.6 / math.sqrt(20_000))  # log w has a deviation of 0.6
    assert values[-1] < evidence + 0.01
    np.testing.assert_allclose(values[-1], evidence, atol=0.02)
