"""Learned priors: their densities, starts and gradients, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vae_jax import expressions, losses, networks
from vae_jax.parts import Event, Latent
from vae_jax.priors import PRIORS

SHAPE = (2, 3)
Z = np.random.default_rng(0).normal(size=SHAPE)


def learned(text: str):
    """A prior and parameters of its own, away from where they begin."""
    prior = expressions.make(text, PRIORS)
    own = prior.init(jax.random.key(0), Latent(SHAPE, jnp.dtype(jnp.float32)), Event((4,)))
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.7 * rng.normal(size=leaf.shape), leaf.dtype), own)
    return prior.build(moved, Latent(SHAPE, jnp.dtype(jnp.float32)), Event(()), lambda x: None), jax.tree.map(
        np.float64, moved
    )


def log_density(own) -> np.ndarray:
    """Of each component, in float64."""
    return scipy.stats.norm(own["mean"], np.exp(own["log_variance"] / 2)).logpdf(Z).sum(axis=(-1, -2))


def test_a_learned_gaussian_has_its_density():
    prior, own = learned("normal")
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(Z, jnp.float32)), log_density(own), rtol=1e-5)


def test_a_learned_mixture_has_its_density():
    prior, own = learned("mixture(4)")
    log_weights = own["log_weights"] - scipy.special.logsumexp(own["log_weights"])
    exact = scipy.special.logsumexp(log_weights + log_density(own))
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(Z, jnp.float32)), exact, rtol=1e-5)


def test_a_learned_gaussian_begins_as_the_standard_one():
    vae = networks.mlp(event_shape=4, latent_dim=SHAPE, hidden=(3,), prior="normal")
    prior = vae.prior(jax.jit(vae.init)(jax.random.key(0)))
    exact = scipy.stats.norm.logpdf(Z).sum()
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(Z, jnp.float32)), exact, rtol=1e-6)


@pytest.mark.parametrize("text", ["normal", "mixture(num_components=3)"])
def test_the_gradient_of_a_loss_reaches_every_parameter_of_a_learned_prior(text):
    vae = networks.mlp(event_shape=4, latent_dim=2, hidden=(3,), prior=text)

    @jax.jit
    def gradient(init_key, key):
        return jax.grad(losses.negative_elbo, has_aux=True)(vae.init(init_key), key, jnp.ones(4), vae=vae)[0]

    for leaf in jax.tree.leaves(gradient(jax.random.key(0), jax.random.key(1))["prior"]):
        assert np.all(np.isfinite(leaf))
        assert np.abs(leaf).max() > 1e-4


@pytest.mark.parametrize("text", ["standard_normal", "normal", "mixture"])
def test_priors_over_real_numbers_refuse_whole_ones(text):
    prior = expressions.make(text, PRIORS)
    with pytest.raises(ValueError, match=f"{text} is over real z, and q\\(z\\|x\\) draws z of type int32"):
        prior.init(jax.random.key(0), Latent((2,), jnp.dtype(jnp.int32)), Event((4,)))


def test_a_mixture_of_no_components_is_refused():
    with pytest.raises(ValueError, match=r"prior 'mixture\(0\)': num_components must be a whole number of at least 1"):
        expressions.make("mixture(0)", PRIORS)
