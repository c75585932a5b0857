"""What the negative ELBO sums over, reports and refuses, on models that look at nothing."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro_dist
import pytest

from vae_jax import VAE, losses
from vae_jax.distributions import Bernoulli, DiagonalNormal, MultivariateNormal, standard_normal

Q = DiagonalNormal(jnp.asarray([0.5]), jnp.asarray([2.0]))
P = Bernoulli(jnp.zeros((28, 28, 1)))
KL = 0.5 * (0.5**2 + 2.0**2 - 1) - math.log(2.0)


def constant_vae(posterior: Any = Q, likelihood: Any = P, prior: Any = None) -> VAE:
    prior = standard_normal(1) if prior is None else prior
    return VAE(lambda key: {}, lambda params, x: posterior, lambda params, z: likelihood, lambda params: prior)


def evaluate(vae: VAE, x: jax.Array, **options) -> tuple[jax.Array, losses.Terms]:
    return jax.jit(lambda key: losses.negative_elbo({}, key, x, vae=vae, **options))(jax.random.key(0))


def test_loss_of_an_image_is_a_sum_over_pixels():
    """28×28 pixels at even odds cost 784 log 2 nats beside a KL of 0.8: a mean would hide a β of 784."""
    loss, terms = evaluate(constant_vae(), jnp.ones((28, 28, 1)))
    np.testing.assert_allclose(terms.reconstruction, -784 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(loss, 784 * math.log(2) + KL, rtol=1e-6)


def test_kl_per_dimension_is_that_of_each_latent():
    """E6: the exact KL of each dimension, also where the loss takes a Monte-Carlo KL."""
    mean, scale = np.array([0.0, 1.0, -2.0]), np.array([1.0, 0.5, 3.0])
    vae = constant_vae(DiagonalNormal(jnp.asarray(mean), jnp.asarray(scale)), prior=standard_normal(3))
    _, terms = evaluate(vae, jnp.ones((28, 28, 1)), kl="monte_carlo")
    assert terms.kl_per_dimension is not None
    np.testing.assert_allclose(terms.kl_per_dimension, 0.5 * (mean**2 + scale**2 - 1) - np.log(scale), rtol=1e-6)


def test_gaussian_likelihood_weighs_the_squared_error_by_half_the_inverse_variance():
    """E5: Σ (x − μ)²/(2σ²) + n log σ + (n/2) log 2π."""
    sigma, x = 0.3, np.random.default_rng(0).uniform(size=(28, 28, 1))
    vae = constant_vae(likelihood=DiagonalNormal(jnp.full((28, 28, 1), 0.5), jnp.asarray(sigma)))
    _, terms = evaluate(vae, jnp.asarray(x))
    exact = ((x - 0.5) ** 2).sum() / (2 * sigma**2) + 784 * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    np.testing.assert_allclose(-terms.reconstruction, exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("likelihood", "scale"),
    [
        (DiagonalNormal(jnp.zeros(2), jnp.asarray(0.3)), 0.3),
        (DiagonalNormal(jnp.zeros(2), jnp.asarray([1.0, 7.0])), 5.0),
        (MultivariateNormal(jnp.zeros(2), jnp.asarray([[1.0, 0.0], [6.0, 3.0]])), math.sqrt(23.0)),
        (Bernoulli(jnp.zeros(2)), None),
    ],
    ids=["shared", "per-pixel", "full", "bernoulli"],
)
def test_scale_in_force_is_the_root_mean_square(likelihood, scale):
    """E5: the σ that decides how reconstruction trades against the KL is reported."""
    terms = evaluate(constant_vae(likelihood=likelihood), jnp.zeros(2))[1]
    assert terms.scale == (None if scale is None else pytest.approx(scale, rel=1e-6))


def test_a_batch_in_place_of_one_example_is_refused():
    """Elementwise functions accept a batch, and without the check it broadcasts into a number."""
    normal = lambda params, value: DiagonalNormal(value, jnp.asarray(1.0))
    vae = VAE(lambda key: {}, normal, normal, lambda params: standard_normal(2))
    with pytest.raises(ValueError, match=r"shape \(7, 2\).*\(2,\).*over_batch"):
        evaluate(vae, jnp.zeros((7, 2)))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), jax.random.split(jax.random.key(0))], ids=["raw", "many"])
def test_a_key_that_is_not_one_typed_key_is_refused(key):
    with pytest.raises(TypeError, match=r"key must be (a typed PRNG key|one key)"):
        losses.negative_elbo({}, key, jnp.ones((28, 28, 1)), vae=constant_vae())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number of at least 1, got 0"),
        ({"num_samples": True}, "num_samples must be a whole number of at least 1, got True"),
        (
            {"kl": "analytical"},
            r"unknown kl 'analytical'\. Did you mean 'analytic'.*Known: auto, analytic, monte_carlo",
        ),
        ({"gradient": "pathwize"}, r"unknown gradient 'pathwize'\. Did you mean 'pathwise'"),
    ],
)
def test_an_illegal_option_is_refused_with_the_legal_ones(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(constant_vae(), jnp.ones((28, 28, 1)), **options)


def test_an_analytic_kl_without_closed_form_is_refused():
    vae = constant_vae(prior=numpyro_dist.Normal(jnp.zeros(1)).to_event(1))
    with pytest.raises(ValueError, match="no closed form is known"):
        evaluate(vae, jnp.ones((28, 28, 1)), kl="analytic")


def test_a_posterior_without_a_path_is_refused():
    vae = constant_vae(posterior=Bernoulli(jnp.zeros(1)), prior=Bernoulli(jnp.zeros(1)))
    with pytest.raises(ValueError, match="Bernoulli is not reparameterised"):
        evaluate(vae, jnp.ones((28, 28, 1)))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize(
    "parts",
    [
        {"likelihood": numpyro_dist.Normal(jnp.zeros((28, 28, 1)))},
        {"posterior": numpyro_dist.Normal(jnp.zeros(3)), "prior": standard_normal(3)},
    ],
    ids=["likelihood", "posterior"],
)
def test_a_log_density_that_is_no_sum_over_the_event_is_refused(parts):
    """A NumPyro distribution without .to_event(n): the mean over its pixels would pass for a loss."""
    with pytest.raises(ValueError, match=r"must be a scalar, the sum over the event; .* needs \.to_event\(n\)"):
        evaluate(constant_vae(**parts), jnp.ones((28, 28, 1)))
