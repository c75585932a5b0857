"""A VAE of counts as scvi-tools has it, against a model and a guide written in NumPyro."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npd
import pytest
from numpyro.infer import Trace_ELBO
from numpyro.infer.util import log_density

from vae_jax import VAE, losses, networks
from vae_jax.networks.preprocess import one_hot, standardize

GENES, LATENT, BATCHES = 6, 2, 3
X, BATCH = np.array([3, 0, 11, 1, 7, 40], np.int32), 2
NUM = 4000


@pytest.fixture(scope="module")
def model() -> tuple[VAE, Any]:
    vae = networks.assemble(
        encoder="mlp(hidden=(5,))",
        likelihood="negative_binomial",
        event_shape=GENES,
        latent_shape=LATENT,
        condition_shape={"batch": ()},
        preprocess=standardize(np.full(GENES, 1.5), np.full(GENES, 0.8), of="log1p"),
        preprocess_condition={"batch": one_hot(BATCHES)},
        sized=True,
    )
    rng = np.random.default_rng(0)
    shaken = lambda leaf: leaf + jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype)
    return vae, jax.tree.map(shaken, vae.init(jax.random.key(0)))


def written_out(params: Any) -> tuple[Any, Any]:
    """The model and the guide of scvi's form: Lopez et al. 2018, with a batch and an observed library size."""
    batch = jnp.eye(BATCHES)[BATCH]
    dense = lambda of, h: h @ of["kernel"] + of["bias"]

    def model() -> None:
        z = numpyro.sample("z", npd.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
        hidden = jnp.tanh(dense(params["decoder"]["Dense_0"], jnp.concatenate([z, batch])))
        share = jax.nn.softmax(dense(params["decoder"]["Dense_1"], hidden))
        theta = jnp.exp(params["likelihood"]["log_dispersion"])
        counts = npd.NegativeBinomial2(X.sum() * share, theta).to_event(1)
        numpyro.sample("x", counts, obs=jnp.asarray(X))

    def guide() -> None:
        seen = jnp.concatenate([(jnp.log(1.0 + X) - 1.5) / 0.8, batch])
        hidden = jnp.tanh(dense(params["encoder"]["Dense_0"], seen))
        heads = params["encoder"]["PosteriorHead_0"]
        scale = jnp.exp(0.5 * dense(heads["log_variance"], hidden))
        numpyro.sample("z", npd.Normal(dense(heads["mean"], hidden), scale).to_event(1))

    return model, guide


def test_the_densities_are_those_of_a_model_written_in_numpyro(model):
    vae, params = model
    of_model, of_guide = written_out(params)
    x, at = vae.at((jnp.asarray(X), {"batch": jnp.asarray(BATCH)}))
    for z in jnp.asarray([[0.3, -1.2], [2.0, 0.5]]):
        joint, _ = log_density(of_model, (), {}, {"z": z})
        prior = at.prior(params).log_prob(z)
        np.testing.assert_allclose(at.decode(params, z).log_prob(x) + prior, joint, rtol=2e-5)
        np.testing.assert_allclose(
            at.encode(params, x).log_prob(z), log_density(of_guide, (), {}, {"z": z})[0], rtol=2e-5
        )


def test_the_bound_is_that_of_numpyro_within_standard_errors(model):
    vae, params = model
    example = (jnp.asarray(X), {"batch": jnp.asarray(BATCH)})
    loss = functools.partial(losses.negative_elbo, vae=vae, kl="monte_carlo")
    ours = jax.jit(jax.vmap(lambda key: loss(params, key, example)[0]))(jax.random.split(jax.random.key(1), NUM))
    theirs = jax.jit(jax.vmap(lambda key: Trace_ELBO().loss(key, {}, *written_out(params))))(
        jax.random.split(jax.random.key(2), NUM)
    )
    ours, theirs = np.float64(ours), np.float64(theirs)
    error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / NUM)
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    assert error < 0.05 * abs(ours.mean())


def test_the_means_sum_to_the_library_size(model):
    vae, params = model
    _, at = vae.at((jnp.asarray(X), {"batch": jnp.asarray(BATCH)}))
    np.testing.assert_allclose(at.decode(params, jnp.zeros(LATENT)).mean.sum(), X.sum(), rtol=1e-5)
