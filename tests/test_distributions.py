"""Densities, samples and pytree behaviour of the distributions (E5, E10, E14)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro_dist
import pytest
import scipy.special
import scipy.stats

from tests.statistics_checks import assert_mean, assert_standard_normal, normal_log_density
from vae_jax import distributions
from vae_jax.distributions import Bernoulli, DiagonalNormal, MultivariateNormal

MEAN = np.array([0.7, -1.2, 0.1])
SCALE = np.array([0.3, 1.7, 0.9])
TRIL = np.array([[0.8, 0.0, 0.0], [-0.5, 1.3, 0.0], [0.4, 0.6, 0.5]])
X = np.array([0.2, 1.5, -0.4])


def diagonal() -> DiagonalNormal:
    return DiagonalNormal(jnp.asarray(MEAN), jnp.asarray(SCALE))


def full() -> MultivariateNormal:
    return MultivariateNormal(jnp.asarray(MEAN), jnp.asarray(TRIL))


def covariance(d: DiagonalNormal | MultivariateNormal) -> np.ndarray:
    scale = np.asarray(d.scale, np.float64)
    return scale @ scale.T if scale.ndim == 2 else np.diag(scale**2)


def test_diagonal_normal_density_is_that_of_scipy():
    """E5."""
    with jax.enable_x64(True):
        value = diagonal().log_prob(jnp.asarray(X))
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(X, MEAN, SCALE).sum(), rtol=1e-13)


def test_multivariate_normal_density_is_that_of_scipy():
    with jax.enable_x64(True):
        value = full().log_prob(jnp.asarray(X))
    np.testing.assert_allclose(value, normal_log_density(X, MEAN, TRIL @ TRIL.T), rtol=1e-13)


def test_a_shared_scale_counts_for_every_dimension():
    """E5: Σ −log σ has one term per pixel, although σ is one number."""
    pixels = np.linspace(0, 1, 12).reshape(2, 3, 2)
    with jax.enable_x64(True):
        value = DiagonalNormal(jnp.zeros((2, 3, 2)), jnp.asarray(0.25)).log_prob(jnp.asarray(pixels))
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(pixels, 0, 0.25).sum(), rtol=1e-13)


@pytest.mark.parametrize("scale", [jnp.ones(0), jnp.ones(())], ids=["vector", "scalar"])
def test_the_density_of_no_variables_is_one(scale):
    empty = DiagonalNormal(jnp.zeros(0), scale)
    assert empty.log_prob(jnp.zeros(0)) == 0
    assert empty.transform(jnp.zeros(0))[1] == 0


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (distributions.standard_normal((28, 28)), -392 * math.log(2 * math.pi)),
        (Bernoulli(jnp.zeros((28, 28))), -784 * math.log(2)),
    ],
    ids=["normal", "bernoulli"],
)
def test_log_densities_are_sums_over_pixels_not_means(distribution, value):
    np.testing.assert_allclose(distribution.log_prob(jnp.zeros((28, 28))), value, rtol=1e-6)


@pytest.mark.parametrize("distribution", [diagonal(), full()], ids=["diagonal", "full"])
def test_gaussian_samples_are_mean_plus_scale_times_noise(distribution):
    """E10: S⁻¹(z − μ) ~ N(0, I), so that the covariance is SSᵀ and no variance has been taken for a scale."""
    z = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(1), 20_000))
    scale = np.linalg.cholesky(covariance(distribution))
    assert_standard_normal(np.linalg.solve(scale, (np.asarray(z, np.float64) - MEAN).T).T)


@pytest.mark.parametrize("distribution", [diagonal(), full()], ids=["diagonal", "full"])
def test_expectations_over_the_noise_are_expectations_under_q(distribution):
    """E14, for f = cos(aᵀz) and z zᵀ, whose expectations under N(μ, Σ) are known."""
    a = np.array([0.6, -0.4, 1.1])
    noise = jax.vmap(distribution.noise)(jax.random.split(jax.random.key(2), 40_000))
    z = np.asarray(jax.vmap(distribution.transform)(noise)[0], np.float64)
    sigma = covariance(distribution)
    exact = (math.cos(a @ MEAN) * math.exp(-0.5 * a @ sigma @ a), sigma + np.outer(MEAN, MEAN))
    assert_mean((np.cos(z @ a), z[:, :, None] * z[:, None, :]), exact, resolution=0.03)


@pytest.mark.parametrize("build", [diagonal, full])
def test_transform_returns_the_density_of_what_it_returns(build):
    """E14: log q(z) = log p(e) − log|det S|."""
    with jax.enable_x64(True):
        z, log_q = build().transform(jnp.asarray(X))
    exact = normal_log_density(z, MEAN, covariance(build()))
    np.testing.assert_allclose(log_q, exact, rtol=1e-6)


def test_scale_of_a_multivariate_normal_is_its_cholesky_factor():
    np.testing.assert_array_equal(full().scale, TRIL.astype(np.float32))


PIXELS = np.random.default_rng(5).normal(size=784)
LOW_PRECISION = {
    "diagonal": (
        lambda x: DiagonalNormal(0 * x, x[0] * 0 + 0.1),
        lambda x, low: scipy.stats.norm.logpdf(x, 0, low(0.1)),
    ),
    "full": (
        lambda x: MultivariateNormal(0 * x, jnp.diag(0 * x + 0.1)),
        lambda x, low: scipy.stats.norm.logpdf(x, 0, low(0.1)),
    ),
    "bernoulli": (lambda x: Bernoulli(0 * x + 1), lambda x, low: x - np.log1p(np.exp(1.0))),
}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("kind", LOW_PRECISION)
def test_densities_of_low_precision_are_summed_in_float32(kind, dtype):
    """784 terms of bfloat16 would be a sum in steps of four nats, and a square above 65,504 is infinite in float16."""
    build, exact = LOW_PRECISION[kind]
    x = jnp.asarray(PIXELS, dtype)
    low = lambda number: float(jnp.asarray(number, dtype))
    value = build(x).log_prob(x)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, exact(np.asarray(x, np.float64), low).sum(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_density_of_a_transform_of_low_precision_is_summed_in_float32(dtype):
    noise = jnp.asarray(PIXELS, dtype)
    z, log_q = DiagonalNormal(0 * noise, jnp.asarray(0.5, dtype)).transform(noise)
    assert (z.dtype, log_q.dtype) == (dtype, jnp.float32)
    exact = scipy.stats.norm.logpdf(np.asarray(noise, np.float64)).sum() + 784 * math.log(2)
    np.testing.assert_allclose(log_q, exact, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.bool_])
def test_whole_numbers_and_truth_values_have_the_density_of_the_floats_that_they_are(dtype):
    p, x = Bernoulli(jnp.asarray([0.3, -2.0, 1.0])), np.array([1, 0, 1])
    assert p.log_prob(jnp.asarray(x, dtype)) == p.log_prob(jnp.asarray(x, np.float32))


BERNOULLI_LOGITS = np.array([-1e4, -104.0, -100.0, -20.0, -3.0, 0.0, 0.5, 12.0, 88.8, 100.0, 104.0, 1e4])
SMALLEST_FLOAT = float(np.finfo(np.float32).tiny)


@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_bernoulli_density_is_exact_at_every_logit(pixel):
    """x log σ(l) + (1−x) log σ(−l): never NaN or −inf, for grey pixels neither, and no cancellation."""
    logits = BERNOULLI_LOGITS
    exact = pixel * scipy.special.log_expit(logits) + (1 - pixel) * scipy.special.log_expit(-logits)
    value = jax.vmap(lambda logit: Bernoulli(logit).log_prob(jnp.asarray(pixel)))(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(value, exact, rtol=1e-6, atol=SMALLEST_FLOAT)


@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_bernoulli_gradient_in_the_logits_is_the_residual(pixel):
    """x − σ(l), finite everywhere; x − ½ at logit 0."""
    logits = jnp.asarray(BERNOULLI_LOGITS, jnp.float32)
    gradient = jax.grad(lambda logits: Bernoulli(logits).log_prob(jnp.full(logits.shape, pixel)))(logits)
    exact = pixel - scipy.special.expit(BERNOULLI_LOGITS) if pixel < 1 else scipy.special.expit(-BERNOULLI_LOGITS)
    np.testing.assert_allclose(gradient, exact, rtol=1e-6, atol=SMALLEST_FLOAT)


def test_bernoulli_second_derivative_is_minus_the_variance():
    """−σ(l) σ(−l), at l = 0 too, where |l| and max(l, 0) have none; the value beside a derivative is that without."""
    logits = jnp.asarray([-90.0, -3.0, -0.0, 0.0, 1e-20, 0.7, 20.0])
    log_prob = lambda logit: Bernoulli(logit).log_prob(jnp.float32(0.3))
    exact = -scipy.special.expit(np.float64(logits)) * scipy.special.expit(-np.float64(logits))
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(log_prob)))(logits), exact, rtol=1e-5, atol=SMALLEST_FLOAT)
    beside = jax.vmap(jax.value_and_grad(log_prob))(logits)[0]
    np.testing.assert_allclose(beside, jax.vmap(log_prob)(logits), rtol=3e-7)


def test_bernoulli_density_is_that_of_scipy():
    x, logits = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.3, -1.2], [2.0, 0.0]])
    with jax.enable_x64(True):
        value = Bernoulli(jnp.asarray(logits)).log_prob(jnp.asarray(x))
    exact = scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits)).sum()
    np.testing.assert_allclose(value, exact, rtol=1e-13)


def test_bernoulli_samples_are_zeros_and_ones_with_the_mean():
    p = Bernoulli(jnp.asarray([-1e4, -1.0, 0.0, 2.0, 1e4]))
    x = jax.vmap(p.sample)(jax.random.split(jax.random.key(3), 20_000))
    assert x.dtype == jnp.float32
    assert set(np.unique(x)) == {0.0, 1.0}
    assert_mean(x, scipy.special.expit(np.asarray(p.logits, np.float64)), resolution=0.02)


def test_bernoulli_mean_is_the_sigmoid():
    np.testing.assert_allclose(Bernoulli(jnp.asarray([-1.0, 0.0, 3.0])).mean, scipy.special.expit([-1, 0, 3]), 1e-6)


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (3, 1)])
@pytest.mark.parametrize("distribution", [diagonal(), full(), Bernoulli(jnp.zeros(3))], ids=["diagonal", "full", "b"])
def test_a_value_of_another_shape_than_the_event_raises(distribution, shape):
    """Most of these would broadcast into a wrong density."""
    with pytest.raises(ValueError, match="takes one value of shape"):
        distribution.log_prob(jnp.zeros(shape))


def test_the_error_for_another_shape_names_both_shapes_and_vmap():
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(2, 3\); batch with jax\.vmap"):
        diagonal().log_prob(jnp.zeros((2, 3)))


@pytest.mark.parametrize("scale", [[1.0, 0.0, 1.0], [1.0, -1.0, 1.0]])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match=f"every scale must be positive, got {scale[1]}$"):
        DiagonalNormal(jnp.zeros(3), jnp.asarray(scale))


@pytest.mark.parametrize(
    "build", [lambda nan: DiagonalNormal(nan, nan), lambda nan: MultivariateNormal(nan, jnp.diag(nan))]
)
def test_a_scale_that_is_nan_is_refused_naming_where_it_comes_from(build):
    """What an encoder makes of an x with a NaN."""
    with pytest.raises(ValueError, match="got nan: x or the parameters that it was computed from are not finite"):
        build(jnp.full(3, jnp.nan))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("shape", [(1,), (2,), (3, 3), (1, 3)])
def test_a_scale_of_another_shape_than_the_mean_is_refused(shape):
    with pytest.raises(ValueError, match=r"scale has shape .* it must be the mean's"):
        DiagonalNormal(jnp.zeros(3), jnp.ones(shape))


@pytest.mark.parametrize("tril", [np.ones((3, 3)), np.diag([1.0, 0.0, 1.0]), -np.eye(3), np.full((3, 3), np.nan)])
def test_a_matrix_that_is_no_cholesky_factor_is_refused(tril):
    with pytest.raises(ValueError, match="lower triangular with a positive diagonal"):
        MultivariateNormal(jnp.zeros(3), jnp.asarray(tril))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize(("mean", "tril"), [((3,), (2, 2)), ((3,), (3,)), ((1, 3), (3, 3)), ((), ())])
def test_a_matrix_of_another_shape_than_the_mean_is_refused(mean, tril):
    with pytest.raises(ValueError, match=r"a vector \[d\] and scale_tril a matrix \[d, d\]; got "):
        MultivariateNormal(jnp.zeros(mean), jnp.ones(tril))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize(
    ("make", "scale"), [(DiagonalNormal, np.ones(2, int)), (MultivariateNormal, np.eye(2, dtype=int))]
)
def test_parameters_that_are_whole_numbers_become_floating(make, scale):
    assert {leaf.dtype for leaf in jax.tree.leaves(make(np.zeros(2, int), scale))} == {np.dtype(np.float32)}


@pytest.mark.parametrize("distribution", [diagonal(), full(), Bernoulli(jnp.zeros(3))], ids=["diagonal", "full", "b"])
class TestPytree:
    def test_unflattening_bypasses_init(self, distribution):
        """JAX puts placeholders into the fields, which are no values to be checked."""
        marks = jax.tree.map(lambda _: object(), distribution)
        assert type(marks) is type(distribution)
        assert all(type(leaf) is object for leaf in jax.tree.leaves(marks))

    def test_fields_are_its_named_leaves(self, distribution):
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(distribution)[0]]
        names = [field.name for field in dataclasses.fields(distribution)]
        assert paths == [(jax.tree_util.GetAttrKey(name),) for name in names]

    def test_passes_through_eval_shape_and_vmap(self, distribution):
        batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), distribution)
        shapes = jax.eval_shape(jax.vmap(lambda d: d), batch)
        assert [leaf.shape for leaf in jax.tree.leaves(shapes)] == [leaf.shape for leaf in jax.tree.leaves(batch)]
        assert jax.eval_shape(jax.vmap(lambda d: d.log_prob(jnp.zeros(3))), batch).shape == (2,)

    def test_is_frozen(self, distribution):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field"):
            distribution.mean = jnp.zeros(3)


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (diagonal(), True),
        (full(), True),
        (Bernoulli(jnp.zeros(3)), False),
        (numpyro_dist.Normal(jnp.zeros(3)).to_event(1), True),
        (numpyro_dist.Bernoulli(logits=jnp.zeros(3)).to_event(1), False),
    ],
    ids=["diagonal", "full", "bernoulli", "numpyro-normal", "numpyro-bernoulli"],
)
def test_reparameterized_distributions_are_told_apart_numpyros_too(distribution, expected):
    assert isinstance(distribution, distributions.Distribution)
    assert distributions.is_reparameterized(distribution) is expected


class Unstated:
    """A relaxed Bernoulli or a threshold: both sample real numbers."""

    def sample(self, key):
        return jax.random.bernoulli(key, 0.5, (3,)).astype(self.dtype)

    def log_prob(self, value):
        return jnp.zeros(())

    def __init__(self, dtype):
        self.dtype = dtype


def test_whether_real_samples_are_reparameterized_must_be_stated():
    with pytest.raises(ValueError, match=r"Unstated does not state .*`reparameterized = True` if .*else `reparam"):
        distributions.is_reparameterized(Unstated(jnp.float32))
    assert not distributions.is_reparameterized(Unstated(jnp.int32))


@pytest.mark.parametrize("shape", [4, (2, 3)])
def test_standard_normal_has_mean_zero_and_scale_one(shape):
    prior = distributions.standard_normal(shape)
    np.testing.assert_array_equal(prior.mean, np.zeros(shape))
    np.testing.assert_array_equal(prior.scale, np.ones(shape))
