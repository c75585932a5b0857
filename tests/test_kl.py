"""Kullback–Leibler divergences in closed form (E6)."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro_dist
import pytest
import scipy.integrate
import scipy.stats

from tests.statistics_checks import assert_mean, normal_log_density
from vae_jax.distributions import (
    Bernoulli,
    DiagonalNormal,
    MultivariateNormal,
    has_closed_form_kl,
    is_gaussian,
    kl,
    kl_divergence,
    kl_per_dimension,
    register_kl,
    standard_normal,
)

NUM_CASES, DIM = 50, 4
KINDS = ("diagonal", "full")
PAIRS = [(q, p) for q in KINDS for p in KINDS]


def draw(seed: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Means [N, d] and scales [N, d] or Cholesky factors [N, d, d], in float64."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.normal(size=(NUM_CASES, DIM)), np.exp(0.7 * rng.normal(size=(NUM_CASES, DIM)))
    if kind == "diagonal":
        return mean, scale
    return mean, np.tril(rng.normal(size=(NUM_CASES, DIM, DIM)), -1) + scale[:, :, None] * np.eye(DIM)


def build(kind: str, mean, scale) -> DiagonalNormal | MultivariateNormal:
    return (DiagonalNormal if kind == "diagonal" else MultivariateNormal)(jnp.asarray(mean), jnp.asarray(scale))


def exact_kl(q_mean, q_scale, p_mean, p_scale) -> np.ndarray:
    """½ (tr Σp⁻¹Σq + δᵀΣp⁻¹δ − d + log|Σp| − log|Σq|) from covariances, in float64."""
    q_scale, p_scale = (s if s.ndim == 3 else s[:, :, None] * np.eye(DIM) for s in (q_scale, p_scale))
    q_covariance, p_covariance = (s @ s.swapaxes(1, 2) for s in (q_scale, p_scale))
    delta = (p_mean - q_mean)[:, :, None]
    quadratic = (delta.swapaxes(1, 2) @ np.linalg.solve(p_covariance, delta))[:, 0, 0]
    trace = np.trace(np.linalg.solve(p_covariance, q_covariance), axis1=1, axis2=2)
    log_dets = np.linalg.slogdet(p_covariance)[1] - np.linalg.slogdet(q_covariance)[1]
    return 0.5 * (trace + quadratic - DIM + log_dets)


@pytest.mark.parametrize(("q_kind", "p_kind"), PAIRS)
def test_kl_between_gaussians_is_the_float64_closed_form(q_kind, p_kind):
    """E6, all four pairs of diagonal and full covariances."""
    q_arrays, p_arrays = draw(0, q_kind), draw(1, p_kind)
    with jax.enable_x64(True):
        values = jax.vmap(lambda q, p: kl_divergence(build(q_kind, *q), build(p_kind, *p)))(q_arrays, p_arrays)
    np.testing.assert_allclose(values, exact_kl(*q_arrays, *p_arrays), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_kl_from_the_standard_normal_is_the_float64_closed_form(kind):
    """E6: ½ Σ(μ² + σ² − 1 − log σ²), and ½ (tr SSᵀ + μᵀμ − d) − log|S|."""
    mean, scale = draw(2, kind)
    factor = scale if kind == "full" else scale[:, :, None] * np.eye(DIM)
    exact = 0.5 * ((factor**2).sum((1, 2)) + (mean**2).sum(1) - DIM) - np.linalg.slogdet(factor)[1]
    with jax.enable_x64(True):
        values = jax.vmap(lambda *q: kl_divergence(build(kind, *q), standard_normal(DIM)))(mean, scale)
    np.testing.assert_allclose(values, exact, rtol=1e-12)


@pytest.mark.parametrize(("q_kind", "p_kind"), PAIRS)
def test_kl_is_the_expected_log_ratio(q_kind, p_kind):
    """E6, by Monte Carlo: E_q[log q(z) − log p(z)], the densities from scipy."""
    (q_mean, q_scale), (p_mean, p_scale) = ([a[0] for a in draw(3, q_kind)], [a[0] for a in draw(4, p_kind)])
    q_cov, p_cov = (s @ s.T if s.ndim == 2 else np.diag(s**2) for s in (q_scale, p_scale))
    z = np.random.default_rng(5).multivariate_normal(q_mean, q_cov, size=100_000)
    log_ratios = normal_log_density(z, q_mean, q_cov) - normal_log_density(z, p_mean, p_cov)
    assert_mean(
        log_ratios, kl_divergence(build(q_kind, q_mean, q_scale), build(p_kind, p_mean, p_scale)), resolution=0.05
    )


def test_kl_is_the_integral_of_the_log_ratio():
    """E6 in one dimension, by adaptive quadrature."""

    def integrand(z):
        log_q, log_p = scipy.stats.norm.logpdf(z, 0.4, 0.7), scipy.stats.norm.logpdf(z, -0.9, 1.6)
        return np.exp(log_q) * (log_q - log_p)

    exact = scipy.integrate.quad(integrand, -10, 10, epsabs=1e-12)[0]
    with jax.enable_x64(True):
        value = kl_divergence(
            DiagonalNormal(jnp.asarray([0.4]), jnp.asarray([0.7])),
            DiagonalNormal(jnp.asarray([-0.9]), jnp.asarray([1.6])),
        )
    np.testing.assert_allclose(value, exact, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_kl_of_a_distribution_from_itself_is_zero(kind):
    q = build(kind, *(array[0] for array in draw(6, kind)))
    np.testing.assert_allclose(kl_divergence(q, q), 0.0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_in_the_mean_is_the_mean(kind):
    """∂KL(q ‖ N(0, I))/∂μ = μ."""
    mean, scale = (array[0] for array in draw(7, kind))
    gradient = jax.grad(lambda mean: kl_divergence(build(kind, mean, scale), standard_normal(DIM)))(
        jnp.asarray(mean, jnp.float32)
    )
    np.testing.assert_allclose(gradient, mean, rtol=1e-6)


def test_gradient_in_the_scale_is_the_scale_minus_its_inverse():
    """∂KL(q ‖ N(0, I))/∂σ = σ − 1/σ."""
    mean, scale = (array[0] for array in draw(8, "diagonal"))
    gradient = jax.grad(lambda scale: kl_divergence(DiagonalNormal(jnp.asarray(mean), scale), standard_normal(DIM)))(
        jnp.asarray(scale, jnp.float32)
    )
    np.testing.assert_allclose(gradient, scale - 1 / scale, rtol=1e-5, atol=1e-6)


def test_gradient_in_the_cholesky_factor_is_the_factor_minus_its_inverse_transposed():
    """∂KL(q ‖ N(0, I))/∂S = S − S⁻ᵀ, of which the lower part acts."""
    mean, tril = (array[0] for array in draw(9, "full"))
    gradient = jax.grad(lambda tril: kl_divergence(MultivariateNormal(jnp.asarray(mean), tril), standard_normal(DIM)))(
        jnp.asarray(tril, jnp.float32)
    )
    np.testing.assert_allclose(np.tril(gradient), np.tril(tril - np.linalg.inv(tril).T), rtol=1e-4, atol=1e-5)


def test_kl_per_dimension_is_the_closed_form_of_each_dimension():
    """E6, and scalar scales, shared by the whole event."""
    mean = np.array([[0.3, -1.0], [2.0, 0.0]])
    q, p = DiagonalNormal(jnp.asarray(mean), jnp.asarray(0.5)), DiagonalNormal(jnp.ones((2, 2)), jnp.asarray(2.0))
    exact = np.log(2.0 / 0.5) + (0.5**2 + (mean - 1) ** 2) / (2 * 2.0**2) - 0.5
    per_dimension = kl_per_dimension(q, p)
    assert per_dimension is not None
    np.testing.assert_allclose(per_dimension, exact, rtol=1e-6)
    np.testing.assert_allclose(kl_divergence(q, p), exact.sum(), rtol=1e-6)


@pytest.mark.parametrize(("q_kind", "p_kind"), [("full", "diagonal"), ("diagonal", "full"), ("full", "full")])
def test_kl_per_dimension_is_none_where_dimensions_do_not_factorise(q_kind, p_kind):
    q, p = (build(kind, *(array[0] for array in draw(10, kind))) for kind in (q_kind, p_kind))
    assert kl_per_dimension(q, p) is None


def test_a_pair_without_a_closed_form_is_refused_with_the_way_out():
    q, p = Bernoulli(jnp.zeros(3)), standard_normal(3)
    assert not has_closed_form_kl(q, p)
    assert kl_per_dimension(q, p) is None
    with pytest.raises(ValueError, match=r'KL\(Bernoulli ‖ DiagonalNormal\).*kl="monte_carlo".*register_kl'):
        kl_divergence(q, p)


def test_events_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"q has \(3,\), p has \(1,\)"):
        kl_divergence(standard_normal(3), standard_normal(1))


def test_a_registered_pair_is_used(monkeypatch):
    monkeypatch.setattr(kl, "_RULES", dict(kl._RULES))

    @register_kl(numpyro_dist.Beta, numpyro_dist.Beta)
    def beta_beta(q, p):
        return numpyro_dist.kl_divergence(q, p)

    q, p = numpyro_dist.Beta(2.0, 3.0), numpyro_dist.Beta(1.0, 1.0)
    # Against the uniform distribution the KL is minus the entropy.
    np.testing.assert_allclose(kl_divergence(q, p), -scipy.stats.beta(2, 3).entropy(), rtol=1e-5)


class Standardised(DiagonalNormal):
    """The same density, of another construction."""


class Shifted(DiagonalNormal):
    def log_prob(self, value):
        return super().log_prob(value - 1)


def test_a_subclass_with_the_density_of_its_base_has_its_closed_form():
    q, p = Standardised(jnp.ones(3), jnp.full(3, 0.5)), standard_normal(3)
    base = DiagonalNormal(q.mean, q.scale)
    assert kl_divergence(q, p) == kl_divergence(base, p)
    np.testing.assert_array_equal(kl_per_dimension(q, q), np.zeros(3))
    assert is_gaussian(q)


def test_a_subclass_with_a_density_of_its_own_has_no_closed_form():
    q = Shifted(jnp.ones(3), jnp.ones(3))
    assert not has_closed_form_kl(q, standard_normal(3))
    assert not has_closed_form_kl(standard_normal(3), q)
    assert not is_gaussian(q)


def test_the_rule_of_the_nearest_class_is_used(monkeypatch):
    monkeypatch.setattr(kl, "_RULES", dict(kl._RULES))
    register_kl(Standardised, DiagonalNormal)(lambda q, p: jnp.asarray(7.0))
    q = Standardised(jnp.ones(3), jnp.ones(3))
    assert kl_divergence(q, q) == 7
    assert kl_divergence(standard_normal(3), q) == 1.5


def test_the_kl_of_scales_whose_ratio_underflows_has_its_value_and_gradient():
    """∂KL/∂log σ = (σ/s)² − 1."""
    log_scale, p = jnp.full(3, -84.0), DiagonalNormal(jnp.zeros(3), jnp.full(3, 1e4))
    of = lambda log_scale: kl_divergence(DiagonalNormal(jnp.zeros(3), jnp.exp(log_scale)), p)
    value, gradient = jax.value_and_grad(of)(log_scale)
    np.testing.assert_allclose(value, 3 * (np.log(1e4) + 84 - 0.5), rtol=1e-6)
    np.testing.assert_allclose(gradient, -np.ones(3), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kl_of_low_precision_is_summed_in_float32(kind):
    """Of 50 dimensions in bfloat16, whose own sum has steps of a half; exact for the numbers that it holds."""
    rng = np.random.default_rng(3)
    mean, scale = jnp.asarray(rng.normal(size=50), jnp.bfloat16), jnp.asarray(1 + rng.uniform(size=50), jnp.bfloat16)
    q = DiagonalNormal(mean, scale) if kind == "diagonal" else MultivariateNormal(mean, jnp.diag(scale))
    p = standard_normal(50)
    p = p if kind == "diagonal" else MultivariateNormal(jnp.zeros(50, jnp.bfloat16), jnp.eye(50, dtype=jnp.bfloat16))
    m, s = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
    np.testing.assert_allclose(kl_divergence(q, p), 0.5 * np.sum(m**2 + s**2 - 1) - np.log(s).sum(), rtol=1e-5)
