"""The oracles against numpy and scipy in float64: evidence, posterior, ELBO (E1, E2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.statistics_checks import normal_log_density
from vae_jax import oracles

pytestmark = pytest.mark.usefixtures("float64")

LATENT, EVENT = 2, 3
KINDS = ("linear_gaussian", "ppca")


def build(kind: str):
    oracle = getattr(oracles, kind)(jax.random.key(0), latent_dim=LATENT, event_dim=EVENT)
    return oracle, jax.random.normal(jax.random.key(1), (EVENT,))


def likelihood(oracle, params) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, μ and Ψ, by calling the decoder as a black box at the origin and the unit vectors."""
    at_zero = oracle.vae.decode(params, jnp.zeros(LATENT))
    columns = [oracle.vae.decode(params, z).mean - at_zero.mean for z in jnp.eye(LATENT)]
    return np.stack(columns, axis=1), np.asarray(at_zero.mean), covariance(at_zero)


def covariance(distribution) -> np.ndarray:
    scale = np.asarray(distribution.scale)
    return scale @ scale.T if scale.ndim == 2 else np.diag(np.broadcast_to(scale**2, distribution.event_shape))


def numerical_evidence(oracle, params, x) -> float:
    weight, mean, noise = likelihood(oracle, params)
    return normal_log_density(x, mean, weight @ weight.T + noise)


def numerical_posterior(oracle, params, x) -> tuple[np.ndarray, np.ndarray]:
    """By conditioning the joint Gaussian of (z, x), whose blocks are I, Wᵀ and WWᵀ + Ψ."""
    weight, mean, noise = likelihood(oracle, params)
    gain = np.linalg.solve(weight @ weight.T + noise, weight).T
    return gain @ (x - mean), np.eye(LATENT) - gain @ weight


def expectation_under_q(oracle, params, x, function) -> float:
    """By Gauss–Hermite quadrature, exact here: log-densities of Gaussians are quadratic."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    q = oracle.vae.encode(params, x)
    factor = np.linalg.cholesky(covariance(q))
    total = 0.0
    for i, j in np.ndindex(3, 3):
        z = np.asarray(q.mean) + factor @ nodes[[i, j]]
        total += weights[i] * weights[j] / (2 * np.pi) * function(z)
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_is_scipys_normal_density(kind):
    oracle, x = build(kind)
    np.testing.assert_allclose(
        oracle.log_evidence(oracle.params, x), numerical_evidence(oracle, oracle.params, x), rtol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_posterior_is_the_conditional_of_the_joint_gaussian(kind):
    oracle, x = build(kind)
    posterior = oracle.posterior(oracle.params, x)
    mean, cov = numerical_posterior(oracle, oracle.params, x)
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(covariance(posterior), cov, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_elbo_is_the_expected_log_weight(kind):
    """E3: E_q[log p(x|z) + log p(z) − log q(z|x)] by quadrature, the densities from scipy."""
    oracle, x = build(kind)
    weight, mean, noise = likelihood(oracle, oracle.params)
    q = oracle.vae.encode(oracle.params, x)

    def log_weight(z):
        log_joint = normal_log_density(x, weight @ z + mean, noise) + scipy.stats.norm.logpdf(z).sum()
        return log_joint - normal_log_density(z, q.mean, covariance(q))

    exact = expectation_under_q(oracle, oracle.params, x, log_weight)
    np.testing.assert_allclose(oracle.elbo(oracle.params, x), exact, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gap_between_evidence_and_elbo_is_the_kl_from_the_posterior(kind):
    """E1: KL(q(z|x) ‖ p(z|x)) = log p(x) − L(x), by scipy's densities and quadrature; and so L(x) < log p(x) (E2)."""
    oracle, x = build(kind)
    q = oracle.vae.encode(oracle.params, x)
    posterior = numerical_posterior(oracle, oracle.params, x)

    def log_ratio(z):
        return normal_log_density(z, q.mean, covariance(q)) - normal_log_density(z, *posterior)

    gap = expectation_under_q(oracle, oracle.params, x, log_ratio)
    assert gap > 0.01
    np.testing.assert_allclose(numerical_evidence(oracle, oracle.params, x) - oracle.elbo(oracle.params, x), gap, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_elbo_is_the_evidence_at_the_exact_posterior(kind):
    """E2, with equality."""
    oracle, x = build(kind)
    params = oracle.with_exact_posterior(oracle.params)
    np.testing.assert_allclose(oracle.elbo(params, x), numerical_evidence(oracle, oracle.params, x), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_with_exact_posterior_makes_the_encoder_the_posterior_of_every_x(kind):
    oracle, x = build(kind)
    params = oracle.with_exact_posterior(oracle.params)
    for example in (x, -3.0 * x):
        q = oracle.vae.encode(params, example)
        mean, cov = numerical_posterior(oracle, oracle.params, example)
        np.testing.assert_allclose(q.mean, mean, rtol=1e-10)
        np.testing.assert_allclose(covariance(q), cov, rtol=1e-10, atol=1e-12)


def test_for_any_weights_ppca_has_the_nearest_diagonal_posterior():
    """The mean of p(z|x) and the inverse diagonal of its precision, where the ELBO is at its maximum over φ."""
    oracle, x = build("ppca")
    weight = jax.random.normal(jax.random.key(3), (EVENT, LATENT))
    params = oracle.with_exact_posterior(oracle.params | {"decoder": oracle.params["decoder"] | {"weight": weight}})
    mean, cov = numerical_posterior(oracle, params, x)
    q = oracle.vae.encode(params, x)
    np.testing.assert_allclose(q.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(q.scale**-2, np.diag(np.linalg.inv(cov)), rtol=1e-10)
    gradient = jax.jit(jax.grad(oracle.elbo))(params, x)["encoder"]
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-10)


def test_log_evidence_may_be_positive():
    """E2: log p(x) is a log density. Little noise and little weight: a sharp peak, and the bound still meets it."""
    oracle, _ = build("ppca")
    decoder = oracle.params["decoder"] | {
        "log_scale": jnp.asarray(-3.0),
        "weight": 0.1 * oracle.params["decoder"]["weight"],
    }
    params = oracle.with_exact_posterior(oracle.params | {"decoder": decoder})
    x = decoder["mean"]
    exact = numerical_evidence(oracle, params, x)
    assert exact > 1.0
    np.testing.assert_allclose(oracle.log_evidence(params, x), exact, rtol=1e-12)
    np.testing.assert_allclose(oracle.elbo(params, x), exact, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_elbo_is_its_derivative(kind):
    """Central differences along a random direction through every parameter."""
    oracle, x = build(kind)
    leaves, treedef = jax.tree.flatten(oracle.params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    direction = treedef.unflatten([jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)])

    @jax.jit
    def elbo(step):
        return oracle.elbo(jax.tree.map(lambda leaf, d: leaf + step * d, oracle.params, direction), x)

    difference = (elbo(1e-5) - elbo(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jvp(elbo, (0.0,), (1.0,))[1], difference, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_exact_posterior_the_gradient_is_that_of_the_evidence(kind):
    """E2: the gap is at its minimum 0, so its gradient vanishes in φ and in θ."""
    oracle, x = build(kind)
    params = oracle.with_exact_posterior(oracle.params)
    gap = jax.jit(jax.grad(lambda params: oracle.log_evidence(params, x) - oracle.elbo(params, x)))(params)
    for leaf in jax.tree.leaves(gap):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-10)


@pytest.mark.parametrize("make", [oracles.linear_gaussian, oracles.ppca])
def test_the_parameters_are_those_that_init_draws_from_the_key(make):
    oracle = make(jax.random.key(9), latent_dim=2, event_dim=3)
    same, other = (jax.jit(oracle.vae.init)(jax.random.key(seed)) for seed in (9, 10))
    jax.tree.map(np.testing.assert_array_equal, same, oracle.params)
    assert not np.array_equal(other["decoder"]["weight"], oracle.params["decoder"]["weight"])


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_key_is_refused(kind):
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        getattr(oracles, kind)(jax.random.PRNGKey(0), latent_dim=LATENT, event_dim=EVENT)


def test_ppca_with_more_latents_than_dimensions_is_refused():
    with pytest.raises(ValueError, match="latent_dim <= event_dim, got 4 > 3"):
        oracles.ppca(jax.random.key(0), latent_dim=4, event_dim=3)


def products(jaxpr) -> list:
    """The precisions of all matrix products, those of inner programs too."""
    found = [equation.params["precision"] for equation in jaxpr.eqns if equation.primitive.name == "dot_general"]
    inner = [value for equation in jaxpr.eqns for value in equation.params.values() if hasattr(value, "jaxpr")]
    return found + [precision for value in inner for precision in products(value.jaxpr)]


@pytest.mark.parametrize("name", ["log_evidence", "posterior", "elbo", "encode"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_accelerator_computes_products_in_full(kind, name):
    """Whose default has ten bits; with the gradient of what is a number."""
    oracle, x = build(kind)
    function = getattr(oracle, name, None) or getattr(oracle.vae, name)
    if name in ("log_evidence", "elbo"):
        function = jax.value_and_grad(function)
    with jax.default_matmul_precision("default"):
        found = products(jax.make_jaxpr(function)(oracle.params, x).jaxpr)
    assert found
    assert {str(precision) for pair in found for precision in pair} == {"HIGHEST"}
