"""Data that the likelihood is not a density of: outside its support, or of another shape."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions
import optax
import pytest

from vae_jax import VAE, evaluation, losses, training
from vae_jax.distributions import Bernoulli, DiagonalNormal, standard_normal

NUM, EVENT, LATENT = 6, 4, 2
BINARY = np.random.default_rng(0).integers(0, 2, (NUM, EVENT)).astype(np.float32)


def model(likelihood: Any = Bernoulli) -> VAE:
    return VAE(
        init=lambda key: {"weight": 0.1 * jnp.ones((EVENT, LATENT))},
        encode=lambda params, x: DiagonalNormal(x @ params["weight"], jnp.ones(LATENT)),
        decode=lambda params, z: likelihood(params["weight"] @ z),
        prior=lambda params: standard_normal(LATENT),
    )


def keys() -> jax.Array:
    return jax.random.split(jax.random.key(1), NUM)


def fitted(xs: Any, *, around: Any = lambda loss: loss) -> Any:
    loss = around(functools.partial(losses.over_batch(losses.negative_elbo), vae=model()))
    options = {"optimizer": optax.sgd(0.1), "num_steps": 1, "batch_size": 4}
    return training.fit(loss, model().init(None), jax.random.key(2), xs, **options)


USES = {
    "fit": fitted,
    "fit, of a function around the loss": functools.partial(
        fitted, around=lambda loss: lambda params, keys, xs, step: loss(params, keys, xs)
    ),
    "log_evidence": lambda xs: evaluation.log_evidence(model().init(None), keys(), xs, vae=model(), num_samples=2),
    "annealing": lambda xs: evaluation.annealed_log_evidence(
        model().init(None), keys(), xs, vae=model(), num_temperatures=2, num_leapfrog=1
    ),
    "gaps": lambda xs: evaluation.inference_gaps(model().init(None), keys(), xs, vae=model(), num_steps=1),
}


@pytest.mark.parametrize("use", USES)
def test_bytes_are_refused_by_a_bernoulli_likelihood(use):
    """One in the last row is enough."""
    xs = BINARY.copy()
    xs[-1, 2] = 255
    with pytest.raises(ValueError, match=r"values from .* to 255\.0, and Bernoulli takes numbers from 0 to 1$"):
        USES[use](jnp.asarray(xs))


@pytest.mark.parametrize("xs", [2 * BINARY - 1, (-BINARY).astype(np.int32)], ids=["float", "int"])
def test_values_below_the_support_are_refused(xs):
    with pytest.raises(ValueError, match=r"outside the support of p\(x\|z\): it has values from -1(\.0)? to"):
        fitted(jnp.asarray(xs))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool, np.float32])
def test_zeros_and_ones_of_any_type_are_legal(dtype):
    _, curve = fitted(jnp.asarray(BINARY.astype(dtype)))
    assert np.isfinite(curve).all()


def test_grey_values_are_legal():
    _, curve = fitted(jnp.asarray(BINARY * 0.5))
    assert np.isfinite(curve).all()


def estimate(likelihood: Any, xs: Any) -> evaluation.LogEvidence:
    vae = model(likelihood)
    return evaluation.log_evidence(vae.init(None), keys(), jnp.asarray(xs), vae=vae, num_samples=2)


def test_a_foreign_support_is_a_function_of_the_value():
    """NumPyro's Bernoulli takes no grey."""
    foreign = lambda logits: numpyro.distributions.BernoulliLogits(logits).to_event(1)
    assert np.isfinite(estimate(foreign, BINARY).value).all()
    with pytest.raises(ValueError, match=r"values from 0\.5 to 0\.5, and Independent takes "):
        estimate(foreign, 0.5 * np.ones_like(BINARY))


def test_a_foreign_distribution_without_a_support_is_not_checked():
    class Own:
        def __init__(self, logits: jax.Array) -> None:
            self.logits = logits

        def log_prob(self, x: jax.Array) -> jax.Array:
            return -jnp.sum((x - self.logits) ** 2)

    assert np.isfinite(estimate(Own, 255 * BINARY).value).all()


def test_data_inside_the_support_cost_a_loss_nothing():
    """The compiled program of a loss has no comparison with the support's ends."""
    loss = functools.partial(losses.negative_elbo, vae=model())
    arguments = (model().init(None), jax.random.key(0), jnp.asarray(BINARY[0]))
    checked, unchecked = (
        jax.jit(functools.partial(losses.negative_elbo, vae=model(likelihood))).lower(*arguments).compile().as_text()
        for likelihood in (Bernoulli, Unchecked)
    )
    assert checked.count("compare(") == unchecked.count("compare(")
    assert loss(*arguments)[0].shape == ()


class Unchecked(Bernoulli):
    support = None


WRONG = {
    "five for x of one": (lambda m: numpyro.distributions.Normal(jnp.zeros(5) + m[0], 1.0).to_event(1), 1),
    "a square for x of a row": (
        lambda m: numpyro.distributions.Normal(m[None], jnp.ones((EVENT, 1)) + m[None]).to_event(2),
        EVENT,
    ),
}


@pytest.mark.parametrize("name", WRONG)
@jax.numpy_rank_promotion("allow")  # as it is for users
def test_a_foreign_likelihood_of_another_shape_than_x_is_refused(name):
    """Broadcasting would make a scalar of either."""
    likelihood, size = WRONG[name]
    vae, xs = model(likelihood), jnp.zeros((NUM, EVENT))[:, :size]
    vae = VAE(vae.init, lambda params, x: standard_normal(LATENT), vae.decode, vae.prior)
    message = rf"p\(x\|z\) is a Independent over events of shape \(.*\), and x has shape \({size},\)"
    with pytest.raises(ValueError, match=message):
        losses.over_batch(losses.negative_elbo)(vae.init(None), keys(), xs, vae=vae)
    with pytest.raises(ValueError, match=message):
        evaluation.log_evidence(vae.init(None), keys(), xs, vae=vae, num_samples=2)
