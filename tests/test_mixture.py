"""Densities and samples of mixtures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.statistics_checks import FALSE_ALARMS, normal_log_density
from vae_jax.distributions import Bernoulli, DiagonalNormal, Mixture, MultivariateNormal, is_reparameterized
from vae_jax.distributions._pytree import pytree_dataclass

MEANS = np.array([[-1.0, 0.5], [2.0, 0.0], [0.3, -2.0]])
SCALES = np.array([[0.4, 1.2], [1.5, 0.7], [0.2, 0.3]])
WEIGHTS = np.array([0.2, 0.5, 0.3])
X = np.array([0.4, -0.3])


def gaussians(means, scales):
    return jax.vmap(DiagonalNormal)(jnp.asarray(means), jnp.asarray(scales))


def weighted(constant=0.0):
    return Mixture(gaussians(MEANS, SCALES), jnp.asarray(np.log(WEIGHTS) + constant))


def log_density(x, means, scales, weights):
    return scipy.special.logsumexp(np.log(weights) + scipy.stats.norm.logpdf(x, means, scales).sum(axis=1))


@pytest.mark.usefixtures("float64")
def test_the_density_of_a_mixture_is_that_of_scipy():
    np.testing.assert_allclose(weighted().log_prob(jnp.asarray(X)), log_density(X, MEANS, SCALES, WEIGHTS), rtol=1e-13)


@pytest.mark.usefixtures("float64")
def test_weights_are_known_up_to_a_constant_factor():
    exact = log_density(X, MEANS, SCALES, WEIGHTS)
    np.testing.assert_allclose(weighted(constant=3.0).log_prob(jnp.asarray(X)), exact, rtol=1e-13)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("number", [1, 3, 120])
def test_components_without_weights_are_equally_likely(number):
    """More of them, too, than are evaluated at once."""
    rng = np.random.default_rng(0)
    means, scales = rng.normal(size=(number, 2)), rng.uniform(0.2, 2, size=(number, 2))
    value = Mixture(gaussians(means, scales)).log_prob(jnp.asarray(X))
    np.testing.assert_allclose(value, log_density(X, means, scales, 1 / number), rtol=1e-13)


@pytest.mark.usefixtures("float64")
def test_components_may_be_of_any_class():
    trils = np.array([[[0.8, 0.0], [-0.5, 1.3]], [[1.0, 0.0], [0.7, 0.2]]])
    mixture = Mixture(jax.vmap(MultivariateNormal)(jnp.asarray(MEANS[:2]), jnp.asarray(trils)))
    exact = [normal_log_density(X, mean, tril @ tril.T) for mean, tril in zip(MEANS[:2], trils, strict=True)]
    np.testing.assert_allclose(mixture.log_prob(jnp.asarray(X)), np.logaddexp(*exact) - math.log(2), rtol=1e-13)


@pytest.mark.usefixtures("float64")
def test_a_density_integrates_to_one():
    """The trapezoidal rule is exact to rounding for a smooth function that vanishes at both ends."""
    mixture = Mixture(gaussians(MEANS[:, 0], SCALES[:, 0]), jnp.asarray([1.0, -2.0, 0.5]))
    z = np.linspace(-15, 18, 2001)
    density = np.exp(jax.vmap(mixture.log_prob)(jnp.asarray(z)))
    np.testing.assert_allclose(np.trapezoid(density, z), 1, rtol=1e-12)


@pytest.mark.parametrize("log_weights", [None, np.log(WEIGHTS)], ids=["equal", "weighted"])
def test_samples_have_the_cumulative_distribution_of_the_mixture(log_weights):
    """By Kolmogorov and Smirnov, in each dimension."""
    mixture = Mixture(gaussians(MEANS, SCALES), None if log_weights is None else jnp.asarray(log_weights))
    weights = np.full(3, 1 / 3) if log_weights is None else WEIGHTS
    z = np.asarray(jax.vmap(mixture.sample)(jax.random.split(jax.random.key(0), 20_000)))
    for i in range(2):
        cdf = lambda x, i=i: scipy.stats.norm.cdf(x[:, None], MEANS[:, i], SCALES[:, i]) @ weights
        assert scipy.stats.kstest(z[:, i], cdf).pvalue > FALSE_ALARMS / 2


def test_a_sample_is_of_one_component_in_every_dimension():
    """Far from each other, the components cannot be confused."""
    mixture = Mixture(gaussians([[-100.0, -100.0], [100.0, 100.0]], np.ones((2, 2))))
    z = np.sign(jax.vmap(mixture.sample)(jax.random.split(jax.random.key(1), 100)))
    np.testing.assert_array_equal(z[:, 0], z[:, 1])
    assert set(z[:, 0]) == {-1.0, 1.0}


@pytest.mark.parametrize("far", [1e3, 1e25], ids=["underflow", "minus-infinity"])
def test_a_component_without_density_at_z_leaves_the_others(far):
    """exp(log p_k(z)) is zero in float32 at a distance of 1e3, and its logarithm −inf at 1e25."""
    gradient = jax.jit(jax.value_and_grad(lambda z, mixture: mixture.log_prob(z), (0, 1)))
    mixture = Mixture(gaussians([[0.0], [far]], np.ones((2, 1))), jnp.zeros(2))
    value, (of_z, of_mixture) = gradient(jnp.asarray([0.5]), mixture)
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(0.5) - math.log(2), rtol=1e-6)
    np.testing.assert_allclose(of_z, [-0.5], rtol=1e-6)
    np.testing.assert_allclose(of_mixture.components.mean, [[0.5], [0.0]], rtol=1e-6)
    np.testing.assert_allclose(of_mixture.components.scale, [[-0.75], [0.0]], rtol=1e-6)


def test_far_from_all_components_the_gradient_is_that_of_the_nearest():
    """Every p_k(z) is zero in float32, log p(z) is not."""
    mixture = Mixture(gaussians([[0.0], [-1.0]], np.ones((2, 1))))
    value, gradient = jax.value_and_grad(mixture.log_prob)(jnp.asarray([1e3]))
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(1e3) - math.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient, [-1e3], rtol=1e-6)


@pytest.mark.usefixtures("float64")
def test_the_gradient_in_the_log_weights_is_the_posterior_minus_the_prior_of_a_component():
    log_joint = np.log(WEIGHTS) + scipy.stats.norm.logpdf(X, MEANS, SCALES).sum(axis=1)
    gradient = jax.grad(lambda mixture: mixture.log_prob(jnp.asarray(X)))(weighted())
    exact = scipy.special.softmax(log_joint) - WEIGHTS
    np.testing.assert_allclose(gradient.log_weights, exact, rtol=1e-12, atol=1e-14)


def test_a_weight_of_zero_takes_a_component_out():
    mixture = Mixture(gaussians(MEANS, SCALES), jnp.asarray([-np.inf, 0.0, -np.inf]))
    value, gradient = jax.value_and_grad(lambda mixture: mixture.log_prob(jnp.asarray(X)))(mixture)
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(X, MEANS[1], SCALES[1]).sum(), rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.usefixtures("float64")
def test_the_mean_is_that_of_the_components_means():
    np.testing.assert_allclose(weighted().mean, WEIGHTS @ MEANS, rtol=1e-13)


def test_a_batch_of_mixtures_is_each_by_itself():
    """As a prior given each example's c, or that of an encoder."""
    rng = np.random.default_rng(3)
    means, scales = rng.normal(size=(2, 3, 2)), rng.uniform(0.5, 2, size=(2, 3, 2))
    mixtures = jax.vmap(lambda m, s: Mixture(jax.vmap(DiagonalNormal)(m, s)))(jnp.asarray(means), jnp.asarray(scales))
    values = jax.jit(jax.vmap(lambda mixture: mixture.log_prob(jnp.asarray(X))))(mixtures)
    exact = [log_density(X, *parts, 1 / 3) for parts in zip(means, scales, strict=True)]
    np.testing.assert_allclose(values, exact, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_density_of_low_precision_is_summed_in_float32(dtype):
    mixture = jax.tree.map(lambda leaf: leaf.astype(dtype), weighted())
    with jax.numpy_dtype_promotion("strict"):
        value = mixture.log_prob(jnp.asarray(X, dtype))
    low = [np.asarray(leaf, np.float64) for leaf in (jnp.asarray(X, dtype), *jax.tree.leaves(mixture))]
    x, means, scales, log_weights = low
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, log_density(x, means, scales, scipy.special.softmax(log_weights)), rtol=1e-5)


def test_an_event_of_a_mixture_is_one_of_a_component():
    mixture = Mixture(gaussians(np.zeros((4, 2, 3)), np.ones((4, 2, 3))))
    assert mixture.event_shape == (2, 3)
    assert Mixture(jax.vmap(lambda _: mixture)(jnp.arange(5))).event_shape == (2, 3)


@pytest.mark.parametrize("components", [gaussians(MEANS, SCALES), Bernoulli(jnp.zeros((3, 2)))])
def test_samples_are_not_reparameterised(components):
    assert is_reparameterized(Mixture(components)) is False


@pytest.mark.usefixtures("no_annotations")
def test_a_value_of_another_shape_than_the_event_raises():
    with pytest.raises(ValueError, match=r"takes one value of shape \(2,\), not \(3,\)"):
        weighted().log_prob(jnp.zeros(3))


@pytree_dataclass
class Meanless:
    """A class without a mean, a Cauchy distribution say."""

    location: jax.Array


def test_a_mixture_has_a_mean_only_where_its_components_have_one():
    assert not hasattr(Mixture(Meanless(jnp.zeros(3))), "mean")


@pytest.mark.parametrize(
    ("components", "lengths"),
    [
        (DiagonalNormal(jnp.zeros(()), jnp.ones(())), r"\[\(\)\]"),
        (DiagonalNormal(jnp.zeros((3, 2)), jnp.ones(())), r"\[\(\), \(3,\)\]"),
        (DiagonalNormal(jnp.zeros((0, 2)), jnp.ones((0, 2))), r"\[\(0,\)\]"),
    ],
)
def test_components_that_are_no_batch_are_refused(components, lengths):
    with pytest.raises(ValueError, match=f"one leading axis, the number of components, .*; got lengths {lengths}"):
        Mixture(components)


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1)])
def test_weights_of_another_number_than_the_components_are_refused(shape):
    with pytest.raises(ValueError, match="3 components need as many log_weights; got "):
        Mixture(gaussians(MEANS, SCALES), jnp.zeros(shape))
