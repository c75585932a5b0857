"""The VAE as four static functions, the reparameterisation (E10), and conditioning."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.statistics_checks import assert_standard_normal
from vae_jax import VAE, condition, losses, oracles, reparameterize
from vae_jax.distributions import DiagonalNormal, MultivariateNormal, standard_normal

MEAN = np.array([0.5, -2.0])
SCALE = np.array([0.25, 3.0])
TRIL = np.array([[0.5, 0.0], [-1.5, 2.0]])


def init(key):
    return jnp.asarray([0.5, -1.0])


def encode(params, x):
    return DiagonalNormal(params * x, jnp.ones(2))


def decode(params, z):
    return DiagonalNormal(z, jnp.asarray(0.5))


def prior(params):
    return standard_normal(2)


def draws(scale: np.ndarray, num_draws: int = 20_000) -> np.ndarray:
    keys = jax.random.split(jax.random.key(1), num_draws)
    z = jax.jit(jax.vmap(lambda key: reparameterize(key, jnp.asarray(MEAN), jnp.asarray(scale))))(keys)
    return np.asarray(z, np.float64)


def test_reparameterize_takes_standard_deviations():
    """E10 for a diagonal S: (z − μ)/σ ~ N(0, I). There is noise, and the scale is no variance."""
    assert_standard_normal((draws(SCALE) - MEAN) / SCALE)


def test_reparameterize_takes_a_cholesky_factor():
    """E10 for a full S: S⁻¹(z − μ) ~ N(0, I), so that the covariance is SSᵀ."""
    assert_standard_normal(np.linalg.solve(TRIL, (draws(TRIL) - MEAN).T).T)


def test_reparameterize_takes_one_scale_for_all():
    """E10 for S = σI."""
    assert_standard_normal((draws(np.array(0.1)) - MEAN) / 0.1)


def test_a_square_scale_of_a_matrix_is_elementwise():
    mean, scale = jnp.zeros((2, 2)), jnp.asarray([[1.0, 1e-3], [10.0, 0.1]])
    keys = jax.random.split(jax.random.key(2), 10_000)
    z = jax.jit(jax.vmap(lambda key: reparameterize(key, mean, scale)))(keys)
    assert_standard_normal((np.asarray(z) / np.asarray(scale)).reshape(-1, 4))


@pytest.mark.parametrize("scale", [SCALE, TRIL], ids=["diagonal", "full"])
def test_reparameterize_is_the_sample_of_the_gaussian(scale):
    q = (DiagonalNormal if scale.ndim == 1 else MultivariateNormal)(jnp.asarray(MEAN), jnp.asarray(scale))
    key = jax.random.key(3)
    np.testing.assert_array_equal(reparameterize(key, q.mean, q.scale), q.sample(jax.random.clone(key)))


def test_the_path_is_differentiable():
    """E10: ∂z/∂μ = I and ∂z/∂σ = diag(e) with e = (z − μ)/σ."""

    def sample(mean, scale):
        z = reparameterize(jax.random.key(4), mean, scale)
        return z, z

    (in_mean, in_scale), z = jax.jacobian(sample, argnums=(0, 1), has_aux=True)(jnp.asarray(MEAN), jnp.asarray(SCALE))
    np.testing.assert_array_equal(in_mean, np.eye(2))
    np.testing.assert_allclose(in_scale, np.diag((np.asarray(z) - MEAN) / SCALE), rtol=1e-5)


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), jax.random.split(jax.random.key(0), 2)], ids=["raw", "many"])
def test_a_key_that_is_not_one_typed_key_is_refused(key):
    with pytest.raises(TypeError, match=r"key must be (a typed PRNG key|one key)"):
        reparameterize(key, jnp.zeros(2), jnp.ones(2))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 2), (3, 3), (2, 2, 2)])
def test_a_scale_that_does_not_fit_the_mean_is_refused(shape):
    with pytest.raises(ValueError, match=r"scale has shape|scale_tril a matrix"):
        reparameterize(jax.random.key(0), jnp.zeros(2), jnp.ones(shape))


def test_a_vae_is_static_to_jax():
    vae = VAE(init, encode, decode, prior)
    assert jax.tree.leaves(vae) == []
    assert jax.tree.map(lambda _: None, vae) == vae


def test_a_vae_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'prior'"):
        VAE(init, encode, decode, prior).prior = encode  # pyright: ignore[reportAttributeAccessIssue]


def test_equal_vaes_compile_once():
    """A VAE passes through jit unmarked; the log-density of a standard normal says that the right one was called."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def log_prior(vae, params, z):
        return vae.prior(params).log_prob(z)

    for z in ([0.0, 0.0], [1.0, 2.0]):
        value = log_prior(VAE(init, encode, decode, prior), jnp.zeros(2), jnp.asarray(z))
        np.testing.assert_allclose(value, -np.log(2 * np.pi) - 0.5 * np.sum(np.square(z)), rtol=1e-6)


def test_a_vae_passes_through_vmap_and_grad():
    vae = VAE(init, encode, decode, prior)
    xs = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])
    means = jax.vmap(lambda vae, x: vae.encode(init(None), x).mean, in_axes=(None, 0))(vae, xs)
    np.testing.assert_array_equal(means, [[0.5, -2.0], [1.5, -4.0]])
    gradient = jax.grad(lambda params, vae, x: vae.encode(params, x).mean.sum())(init(None), vae, xs[0])
    np.testing.assert_array_equal(gradient, xs[0])


def test_a_conditional_vae_has_the_exact_evidence_of_each_example_given_its_condition():
    """E2: x|z, c ~ N(Wz + μ + c, Ψ) is the oracle's model of x − c; −loss = log p(x|c) at the exact posterior."""
    oracle = oracles.linear_gaussian(jax.random.key(5), latent_dim=2, event_dim=3)
    params = oracle.with_exact_posterior(oracle.params)

    def decode(params, z, c):
        p = oracle.vae.decode(params, z)
        return MultivariateNormal(p.mean + c, p.scale_tril)

    conditional = VAE(
        init=oracle.vae.init,
        encode=lambda params, x, c: oracle.vae.encode(params, x - c),
        decode=decode,
        prior=lambda params, c: oracle.vae.prior(params),
    )

    def loss(params, key, example):
        x, c = example
        return losses.negative_elbo(params, key, x, vae=condition(conditional, c), kl="monte_carlo")

    xs, cs = jax.random.normal(jax.random.key(6), (2, 5, 3))
    keys = jax.random.split(jax.random.key(7), 5)
    value, terms = jax.jit(losses.over_batch(loss))(params, keys, (xs, cs))
    exact = jax.jit(jax.vmap(oracle.log_evidence, in_axes=(None, 0)))(params, xs - cs)
    np.testing.assert_allclose(terms.log_weights[:, 0], exact, rtol=1e-4)
    np.testing.assert_allclose(value, -np.mean(exact), rtol=1e-4)
