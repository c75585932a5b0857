"""Oracles with an enumerated and a one-dimensional latent, against sums and integrals written here in NumPy, SciPy."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from jax.flatten_util import ravel_pytree

from tests.statistics_checks import assert_mean
from vae_jax import losses, oracles

LATENT, EVENT = 3, 4
KINDS = ("discrete", "one_dimensional")
STATES = np.array(list(itertools.product((0.0, 1.0), repeat=LATENT)))
NOISE = np.linspace(-11, 11, 2001)  # for trapezoid sums under q, whose error falls exponentially
in_float64 = pytest.mark.usefixtures("float64")


def build(kind: str, seed: int = 0) -> tuple[oracles.Oracle, jax.Array]:
    return _build(kind, seed, jax.config.jax_enable_x64)


@functools.cache
def _build(kind: str, seed: int, float64: bool) -> tuple[oracles.Oracle, jax.Array]:
    if kind == "discrete":
        oracle, event = oracles.discrete(jax.random.key(seed), latent_dim=LATENT, event_dim=EVENT), EVENT
    else:
        oracle, event = oracles.one_dimensional(jax.random.key(seed)), 2
    return oracle, jax.random.normal(jax.random.key(1), (event,))


def bound(oracle: oracles.Oracle, params: Any, x: jax.Array, num_samples: int) -> float:
    return float(_jitted(oracle.iwae, 2)(params, x, num_samples))


@functools.cache
def _jitted(function: Any, *static: int) -> Any:
    return jax.jit(function, static_argnums=static)


def log_joint(kind: str, params: Any, x: Any, z: Any) -> np.ndarray:
    """log p(x, z) of each row of z, [n, latent]."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params["decoder"].items()}
    z, x = np.atleast_2d(z), np.asarray(x, np.float64)
    if kind == "discrete":
        mean = z @ p["weight"].T + p["mean"]
        prior = (z * p["prior"] - np.logaddexp(0, p["prior"])).sum(-1)
    else:
        mean = p["mean"] + p["line"] * z + p["bend"] * np.tanh(2 * z)
        prior = scipy.stats.norm.logpdf(z[:, 0])
    return scipy.stats.norm.logpdf(x, mean, np.exp(p["log_scale"])).sum(-1) + prior


def evidence(kind: str, params: Any, x: Any) -> float:
    if kind == "discrete":
        return scipy.special.logsumexp(log_joint(kind, params, x, STATES))
    return np.log(integral(lambda z: np.exp(log_joint(kind, params, x, [[z]])[0])))


def integral(function: Any) -> float:
    return scipy.integrate.quad(function, -12, 12, epsabs=1e-13, epsrel=1e-12, limit=500)[0]


def under_q(kind: str, params: Any, x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States of z, their probabilities under q(z|x), and log q of each."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params["encoder"].items()}
    location = p["weight"] @ np.asarray(x, np.float64) + p["mean"]
    if kind == "discrete":
        log_q = (STATES * location - np.logaddexp(0, location)).sum(-1)
        return STATES, np.exp(log_q), log_q
    scale = np.exp(p["log_scale"])
    masses = scipy.stats.norm.pdf(NOISE) * (NOISE[1] - NOISE[0])
    return (location + scale * NOISE)[:, None], masses, scipy.stats.norm.logpdf(NOISE) - np.log(scale)


def log_weights(kind: str, params: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    z, masses, log_q = under_q(kind, params, x)
    return log_joint(kind, params, x, z) - log_q, masses


def directional(function: Any, params: Any) -> tuple[float, float]:
    """The derivative along a random direction through every parameter, and its central difference."""
    flat, unravel = ravel_pytree(params)
    direction = jax.random.normal(jax.random.key(2), flat.shape)
    along = jax.jit(lambda step: function(unravel(flat + step * direction)))
    return float(jax.jvp(along, (0.0,), (1.0,))[1]), float((along(1e-5) - along(-1e-5)) / 2e-5)


@in_float64
@pytest.mark.parametrize("kind", KINDS)
def test_evidence_is_the_sum_over_every_state(kind):
    oracle, x = build(kind)
    exact = evidence(kind, oracle.params, x)
    np.testing.assert_allclose(jax.jit(oracle.log_evidence)(oracle.params, x), exact, rtol=1e-11)


@in_float64
def test_discrete_posterior_is_bayes_rule():
    oracle, x = build("discrete")
    posterior = oracle.posterior(oracle.params, x)
    exact = np.exp(log_joint("discrete", oracle.params, x, STATES) - evidence("discrete", oracle.params, x))
    probabilities = np.exp(jax.vmap(posterior.log_prob)(jnp.asarray(STATES)))
    np.testing.assert_allclose(probabilities, exact, rtol=1e-11)
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(posterior.mean, exact @ STATES, rtol=1e-11)


@in_float64
def test_one_dimensional_posterior_is_bayes_rule():
    oracle, x = build("one_dimensional")
    posterior = oracle.posterior(oracle.params, x)
    log_prob = jax.jit(jax.vmap(posterior.log_prob))
    z = np.linspace(-3, 3, 13)[:, None]
    log_evidence = evidence("one_dimensional", oracle.params, x)
    exact = log_joint("one_dimensional", oracle.params, x, z) - log_evidence
    np.testing.assert_allclose(log_prob(jnp.asarray(z)), exact, rtol=1e-10)
    grid = np.linspace(-12, 12, 3001)
    density = np.exp(log_prob(jnp.asarray(grid)[:, None]))
    np.testing.assert_allclose(scipy.integrate.simpson(density, grid), 1, rtol=1e-9)
    mean = integral(lambda z: z * np.exp(log_joint("one_dimensional", oracle.params, x, [[z]])[0] - log_evidence))
    np.testing.assert_allclose(posterior.mean, [mean], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_posterior_samples_have_the_posteriors_moments(kind):
    """E[z] and E[z zᵀ]."""
    oracle, x = build(kind)
    draw = jax.jit(lambda params, x, keys: jax.vmap(oracle.posterior(params, x).sample)(keys))
    draws = np.asarray(draw(oracle.params, x, jax.random.split(jax.random.key(3), 2000)))
    if kind == "discrete":
        assert set(np.unique(draws)) == {0, 1}
        z = STATES
    else:
        z = np.linspace(-12, 12, 4001)[:, None]
        # Draws from cells of the grid, of width 0.005, and not the grid itself.
        assert np.unique(draws).size > 0.9 * 2000
    masses = scipy.special.softmax(log_joint(kind, oracle.params, x, z))
    second = np.einsum("n,ni,nj->ij", masses, z, z)
    assert_mean((draws, draws[:, :, None] * draws[:, None]), (masses @ z, second), resolution=0.15)


@in_float64
@pytest.mark.parametrize("kind", KINDS)
def test_elbo_is_the_evidence_less_the_kl_from_the_posterior(kind):
    """E1."""
    oracle, x = build(kind)
    z, masses, log_q = under_q(kind, oracle.params, x)
    exact = evidence(kind, oracle.params, x)
    kl = masses @ (log_q - (log_joint(kind, oracle.params, x, z) - exact))
    assert kl > 0.01
    np.testing.assert_allclose(jax.jit(oracle.elbo)(oracle.params, x), exact - kl, rtol=1e-11)


@in_float64
def test_discrete_model_has_an_exact_posterior_in_qs_family():
    """The columns of W are orthogonal, so the posterior factorises: E2 with equality, for every x."""
    oracle, x = build("discrete")
    weight = np.asarray(oracle.params["decoder"]["weight"])
    gram = weight.T @ weight
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    params = oracle.with_exact_posterior(oracle.params)
    for example in (x, 0.3 - 2 * x):
        exact = evidence("discrete", oracle.params, example)
        np.testing.assert_allclose(oracle.elbo(params, example), exact, rtol=1e-12)
        marginals = np.exp(log_joint("discrete", params, example, STATES) - exact) @ STATES
        np.testing.assert_allclose(oracle.vae.encode(params, example).mean, marginals, rtol=1e-11)


def test_one_dimensional_model_has_no_exact_posterior_in_qs_family():
    assert build("one_dimensional")[0].with_exact_posterior is None


@in_float64
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_samples", [0, 100], ids=["elbo", "iwae-100"])
def test_gradients_are_derivatives(kind, num_samples):
    """0 stands for the ELBO."""
    oracle, x = build(kind)
    function = (lambda p: oracle.iwae(p, x, num_samples)) if num_samples else (lambda p: oracle.elbo(p, x))
    derivative, difference = directional(function, oracle.params)
    assert abs(difference) > 1e-2
    np.testing.assert_allclose(derivative, difference, rtol=1e-6)


@in_float64
@pytest.mark.parametrize("kind", KINDS)
def test_iwae_of_one_sample_is_the_elbo(kind):
    oracle, x = build(kind)
    np.testing.assert_allclose(bound(oracle, oracle.params, x, 1), oracle.elbo(oracle.params, x), rtol=1e-11)


@in_float64
@pytest.mark.parametrize("num_samples", [2, 3])
def test_discrete_iwae_is_the_sum_over_every_tuple_of_states(num_samples):
    oracle, x = build("discrete")
    l, masses = log_weights("discrete", oracle.params, x)
    tuples = np.array(list(itertools.product(range(len(STATES)), repeat=num_samples)))
    exact = masses[tuples].prod(-1) @ (scipy.special.logsumexp(l[tuples], axis=-1) - np.log(num_samples))
    np.testing.assert_allclose(bound(oracle, oracle.params, x, num_samples), exact, rtol=1e-11)


@in_float64
def test_one_dimensional_iwae_is_the_double_integral():
    """Seed 2 draws a sharply bent line, on which a Gauss–Hermite rule of 100 nodes is off by 1e-4."""
    oracle, x = build("one_dimensional", 2)
    l, masses = log_weights("one_dimensional", oracle.params, x)
    exact = masses @ (np.logaddexp(l[:, None], l) - np.log(2)) @ masses
    np.testing.assert_allclose(bound(oracle, oracle.params, x, 2), exact, rtol=1e-10)


@in_float64
@pytest.mark.parametrize("alpha", [-1.0, 0.5, 1.0, 2.0])
def test_renyi_is_the_sum_over_every_pair_of_samples(alpha):
    oracle, x = build("discrete")
    l, masses = log_weights("discrete", oracle.params, x)
    mean = np.logaddexp((1 - alpha) * l[:, None], (1 - alpha) * l) - np.log(2)
    of_pair = (l[:, None] + l) / 2 if alpha == 1 else mean / (1 - alpha)
    value = _jitted(oracle.renyi, 2, 3)(oracle.params, x, 2, alpha)
    np.testing.assert_allclose(value, masses @ of_pair @ masses, rtol=1e-11)


def test_renyi_of_infinite_alpha_is_refused():
    oracle, x = build("discrete")
    with pytest.raises(ValueError, match="alpha must be finite, got inf"):
        oracle.renyi(oracle.params, x, 2, math.inf)


@in_float64
@pytest.mark.parametrize(("kind", "seed"), [("discrete", 0), ("one_dimensional", 2)])
def test_iwae_rises_with_the_samples_to_the_evidence(kind, seed):
    """The gap tends to Var(w/p)/2K: at K = 1000, near it and never below 0."""
    oracle, x = build(kind, seed)
    exact = evidence(kind, oracle.params, x)
    bounds = [bound(oracle, oracle.params, x, k) for k in (1, 2, 64, 1000)]
    assert np.all(np.diff(bounds) > 0)
    l, masses = log_weights(kind, oracle.params, x)
    np.testing.assert_allclose(masses @ np.exp(l - exact), 1, rtol=1e-9)
    asymptotic = (masses @ np.exp(2 * (l - exact)) - 1) / 2000
    assert 0 < exact - bounds[-1] < 0.05
    np.testing.assert_allclose(exact - bounds[-1], asymptotic, rtol=0.35)


@in_float64
@pytest.mark.parametrize(("gap", "num_samples"), [(0.5, 2), (5.0, 50), (5.0, 500), (100.0, 1), (600.0, 500)])
def test_exact_iwae_of_two_weights_is_the_binomial_sum(gap, num_samples):
    check_binomial_sum(gap, num_samples, rtol=1e-10)


@pytest.mark.parametrize("num_samples", [50, 5000])
def test_exact_iwae_of_two_weights_is_the_binomial_sum_in_float32(num_samples):
    check_binomial_sum(5.0, num_samples, rtol=1e-5)


def check_binomial_sum(gap: float, num_samples: int, rtol: float) -> None:
    """The bound and its derivatives, by the number n of the K samples that have the smaller weight."""
    top, probability = 1.7, 0.3
    n = np.arange(num_samples + 1)
    chances = scipy.stats.binom.pmf(n, num_samples, probability)
    with np.errstate(divide="ignore"):
        parts = np.stack([np.log(n) + top - gap, np.log(num_samples - n) + top])
    total = np.logaddexp(*parts)
    value, gradient = jax.jit(jax.value_and_grad(oracles.exact_iwae), static_argnums=2)(
        jnp.asarray([top - gap, top]), jnp.asarray([probability, 1 - probability]), num_samples
    )
    np.testing.assert_allclose(value, chances @ (total - np.log(num_samples)), rtol=rtol)
    np.testing.assert_allclose(gradient, np.exp(parts - total) @ chances, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_those_that_init_draws_from_the_key(kind):
    oracle = build(kind, seed=9)[0]
    same, other = (jax.jit(oracle.vae.init)(jax.random.key(seed)) for seed in (9, 10))
    jax.tree.map(np.testing.assert_array_equal, same, oracle.params)
    assert not np.array_equal(other["decoder"]["mean"], oracle.params["decoder"]["mean"])


def test_eight_binary_latents_are_256_states():
    """At K = 500 in float32 too, where Σ_z q(z|x) = 1 is rounded."""
    oracle = oracles.discrete(jax.random.key(0), latent_dim=8, event_dim=12)
    x = jax.random.normal(jax.random.key(1), (12,))
    rounded = bound(oracle, oracle.params, x, 500)
    with jax.enable_x64(True):
        params, x = jax.tree.map(lambda leaf: leaf.astype(float), (oracle.params, x))
        exact = bound(oracle, params, x, 500)
    np.testing.assert_allclose(rounded, exact, rtol=1e-5)


@pytest.mark.parametrize(("latent", "event"), [(5, 4), (13, 20)])
def test_more_latents_than_dimensions_or_twelve_are_refused(latent, event):
    with pytest.raises(ValueError, match=f"latent_dim <= event_dim and <= 12, got {latent} and {event}"):
        oracles.discrete(jax.random.key(0), latent_dim=latent, event_dim=event)


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize(
    "make", [lambda key: oracles.discrete(key, latent_dim=2, event_dim=3), oracles.one_dimensional]
)
def test_a_raw_key_is_refused(make):
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        make(jax.random.PRNGKey(0))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_batch_in_place_of_one_example_is_refused(kind, transposed):
    """Also a square one, which W meets the wrong way round, in place of being refused."""
    oracle, x = build(kind)
    batch = jnp.stack([x] * (x.size if transposed else x.size + 1))
    with pytest.raises(ValueError, match=r"encode takes ONE example of shape"):
        losses.negative_iwae(
            oracle.params, jax.random.key(0), batch, vae=oracle.vae, num_samples=2, gradient="score_function"
        )
