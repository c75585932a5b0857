"""From a loss of one example to a loss of a batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.statistics_checks import assert_standard_normal
from vae_jax import VAE, oracles
from vae_jax.distributions import DiagonalNormal, standard_normal
from vae_jax.losses import free_bits, negative_elbo, over_batch

BATCH, DEVICES = 8, 4
XS = np.random.default_rng(1).normal(size=(BATCH, 3)).astype(np.float32)


def keys() -> jax.Array:
    return jax.random.split(jax.random.key(0), BATCH)


def linear_vae() -> VAE:
    """q(z|x) = N(ax, s²) and p(x|z) = N(z, ½²), of three dimensions each: the KLs are simple functions of a and s."""
    return VAE(
        init=lambda key: {"a": jnp.asarray([0.1, 1.4, -1.5]), "log_s": jnp.asarray([0.0, -0.2, -1.0])},
        encode=lambda params, x: DiagonalNormal(params["a"] * x, jnp.exp(params["log_s"])),
        decode=lambda params, z: DiagonalNormal(z, jnp.asarray(0.5)),
        prior=lambda params: standard_normal(3),
    )


MODEL = linear_vae()
PARAMS = MODEL.init(None)


def exact_kls() -> np.ndarray:
    """The KL of every example and dimension, in float64."""
    mean, log_s = np.asarray(PARAMS["a"], np.float64) * XS, np.asarray(PARAMS["log_s"], np.float64)
    return 0.5 * (mean**2 + np.exp(2 * log_s) - 1) - log_s


def reconstructions(terms) -> np.ndarray:
    """log p(x|z) of every example at the z that was drawn, in float64."""
    return scipy.stats.norm.logpdf(XS, np.asarray(terms.z, np.float64)[:, 0], 0.5).sum(axis=1)


def run(batch_loss, **options):
    return jax.jit(lambda keys: batch_loss(PARAMS, keys, XS, vae=MODEL, **options))(keys())


def test_loss_of_a_batch_is_the_mean_of_its_examples():
    """E2: at the exact posterior every example costs −log p(x), whatever its key."""
    oracle = oracles.ppca(jax.random.key(2), latent_dim=2, event_dim=3)
    params = oracle.with_exact_posterior(oracle.params)
    loss = lambda keys: over_batch(negative_elbo)(params, keys, XS, vae=oracle.vae, kl="monte_carlo")
    value, terms = jax.jit(loss)(keys())
    exact = jax.jit(jax.vmap(lambda x: oracle.log_evidence(params, x)))(XS)
    np.testing.assert_allclose(terms.log_weights[:, 0], exact, rtol=1e-5)
    np.testing.assert_allclose(value, -np.mean(exact), rtol=1e-5)


def test_arguments_reach_the_loss():
    """With β = 3 and S = 1: the mean of 3 KL − log p(x|z)."""
    value, terms = run(over_batch(negative_elbo), beta=3.0)
    np.testing.assert_allclose(value, np.mean(3 * exact_kls().sum(axis=1) - reconstructions(terms)), rtol=1e-5)


def test_examples_have_independent_noise():
    """E10, E13: pairs of equal examples with keys of their own have e ~ N(0, I) of six dimensions."""
    xs = np.ones((20_000, 3), np.float32)
    many = jax.random.split(jax.random.key(4), len(xs))
    _, terms = jax.jit(lambda keys: over_batch(negative_elbo)(PARAMS, keys, xs, vae=MODEL))(many)
    noise = (np.asarray(terms.z)[:, 0] - np.asarray(PARAMS["a"])) / np.exp(np.asarray(PARAMS["log_s"]))
    assert_standard_normal(noise.reshape(-1, 6))


@pytest.mark.parametrize("minimum", [0.0, 0.3])
def test_free_bits_floor_the_mean_of_each_dimension(minimum):
    """−E[log p(x|z)] + β Σ_d max(λ, mean KL_d): the floor is on the minibatch's mean, not on each example's KL."""
    value, terms = run(over_batch(negative_elbo, replace=free_bits(minimum, beta=2.0)))
    kls = exact_kls()
    floored = np.maximum(minimum, kls.mean(axis=0)).sum()
    if minimum:
        # A dimension on either side of the floor; and a floor under each example's own KL would be another number.
        assert kls.mean(axis=0).min() < minimum < kls.mean(axis=0).max()
        assert abs(np.maximum(minimum, kls).mean(axis=0).sum() - floored) > 0.01
    np.testing.assert_allclose(value, -reconstructions(terms).mean() + 2 * floored, rtol=1e-5)


def test_free_bits_leave_no_kl_gradient_below_the_floor():
    """∂/∂a of the floored KL: mean of a x² in the dimensions above the floor, 0 in those below."""

    def kl_part(params):
        value, terms = over_batch(negative_elbo, replace=free_bits(0.3))(params, keys(), XS, vae=MODEL)
        return value + jnp.mean(terms.reconstruction)

    gradient = jax.jit(jax.grad(kl_part))(PARAMS)["a"]
    above = exact_kls().mean(axis=0) > 0.3
    assert list(above) == [False, True, True]
    np.testing.assert_allclose(gradient, above * PARAMS["a"] * np.mean(XS**2, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("minimum", [-0.1, float("nan")])
def test_free_bits_below_zero_are_refused(minimum):
    with pytest.raises(ValueError, match="minimum must be at least 0 nats"):
        free_bits(minimum)


def test_free_bits_need_dimensions_that_factorise():
    oracle = oracles.linear_gaussian(jax.random.key(3), latent_dim=2, event_dim=3)
    loss = over_batch(negative_elbo, replace=free_bits(0.1))
    with pytest.raises(ValueError, match="free_bits needs the KL of each dimension"):
        jax.eval_shape(lambda keys: loss(oracle.params, keys, XS, vae=oracle.vae), keys())


def mean_spread(terms: Any) -> jax.Array:
    """A function of the whole batch that is no mean over examples: the product of the variances of the means."""
    return jnp.prod(jnp.var(terms.posterior.mean, axis=0))


def test_added_terms_are_functions_of_the_batch():
    """The mean loss plus their sum."""
    value, terms = run(over_batch(negative_elbo, add=(mean_spread, lambda terms: jnp.float32(10.0))))
    spread = np.prod(np.var(np.asarray(PARAMS["a"], np.float64) * XS, axis=0))
    exact = np.mean(exact_kls().sum(axis=1) - reconstructions(terms)) + spread + 10
    np.testing.assert_allclose(value, exact, rtol=1e-5)


@pytest.mark.parametrize("functions", [{}, {"replace": free_bits(0.3), "add": (mean_spread,)}], ids=["mean", "global"])
def test_a_batch_spread_over_an_axis_has_the_loss_and_gradient_of_the_global_batch(functions):
    """No result depends on the number of devices; vmap over a named axis stands for the devices."""

    def value_and_grad(axis_name, keys, xs):
        loss = over_batch(negative_elbo, **functions, axis_name=axis_name)
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(PARAMS, keys, xs, vae=MODEL)
        return value, gradient if axis_name is None else jax.lax.pmean(gradient, axis_name)

    @jax.jit
    def both(keys):
        shards = keys.reshape(DEVICES, -1), XS.reshape(DEVICES, -1, 3)
        spread = jax.vmap(lambda *shard: value_and_grad("devices", *shard), axis_name="devices")(*shards)
        return value_and_grad(None, jax.random.clone(keys), XS), spread

    global_batch, spread = both(keys())
    for expected, device_values in zip(*map(jax.tree.leaves, (global_batch, spread)), strict=True):
        np.testing.assert_allclose(device_values, np.stack([expected] * DEVICES), rtol=1e-5, atol=1e-6)


def test_xs_may_be_a_pytree():
    """Each example is the pytree of one row: x and c."""
    loss = lambda params, key, example: (jnp.sum(example["x"]) * example["c"], None)
    value, _ = over_batch(loss)({}, keys(), {"x": XS, "c": np.arange(BATCH)})
    np.testing.assert_allclose(value, np.mean(XS.sum(axis=1) * np.arange(BATCH)), rtol=1e-5)


@pytest.mark.parametrize("xs", [XS[:5], (XS, XS[:1]), np.float32(1.0)], ids=["fewer", "one-leaf", "scalar"])
def test_keys_and_examples_of_different_number_are_refused(xs):
    with pytest.raises(ValueError, match="one leading axis of the same length"):
        over_batch(negative_elbo)(PARAMS, keys(), xs, vae=MODEL)


@pytest.mark.usefixtures("no_annotations")
def test_one_key_for_a_batch_is_refused():
    with pytest.raises(ValueError, match="one leading axis of the same length"):
        over_batch(negative_elbo)(PARAMS, jax.random.key(4), XS, vae=MODEL)


def test_a_distribution_that_is_no_pytree_serves_as_posterior():
    """Whatever has `sample` and `log_prob` works; what cannot leave a vmap is not among the terms."""

    class Bare:
        reparameterized = True

        def __init__(self, normal):
            self.sample, self.log_prob = normal.sample, normal.log_prob

    bare = VAE(MODEL.init, lambda params, x: Bare(MODEL.encode(params, x)), MODEL.decode, MODEL.prior)
    _, terms = jax.jit(lambda keys: over_batch(negative_elbo)(PARAMS, keys, XS, vae=bare))(keys())
    assert terms.posterior is None
    np.testing.assert_allclose(terms.reconstruction, reconstructions(terms), rtol=1e-5)


def test_an_empty_batch_is_refused():
    """The mean of no losses would be NaN."""
    with pytest.raises(ValueError, match="one leading axis of the same length, at least 1; got shapes"):
        over_batch(negative_elbo)(PARAMS, keys()[:0], jnp.zeros((0, 3)), vae=MODEL)


@pytest.mark.parametrize("gradient", ["sticking_the_landing", "score_function"])
@pytest.mark.parametrize("options", [{"replace": free_bits(0.1)}, {"add": (lambda terms: jnp.sum(terms.kl),)}])
def test_a_term_that_would_drop_the_estimator_is_refused(options, gradient):
    """Through any function around the loss, since the terms say what their estimator is."""
    batch = over_batch(lambda *args, **kwargs: negative_elbo(*args, gradient=gradient, **kwargs), **options)
    with pytest.raises(ValueError, match=f"go with gradient='pathwise' alone, not with '{gradient}'"):
        batch(PARAMS, keys(), jnp.asarray(XS), vae=MODEL)
