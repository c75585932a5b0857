"""Losses of a flow: log q from the noise of a sample gives the values and gradients of the inverse at z."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.estimator_parts import flat
from tests.fixed_oracles import linear_gaussian
from tests.gaussian_flows import as_flow, with_flow
from tests.statistics_checks import FALSE_ALARMS, normal_log_density
from vae_jax import VAE, evaluation, losses, networks, posteriors
from vae_jax.distributions import Bernoulli, DiagonalNormal, InverseAutoregressiveFlow, MultivariateNormal
from vae_jax.distributions._pytree import pytree_dataclass

K, M = 4, 2
X = np.array([1.0, 0.0, 1.0])
TOLD: dict[str, dict] = {
    "renyi": {"alpha": 0.5},
    "miwae": {"num_groups": M},
    "piwae": {"num_groups": M},
    "ciwae": {"elbo_weight": 0.3},
}


# Each density is compiled by itself, and so is each bound: the estimators differ in how they put them together.
@pytree_dataclass
class FromNoise(InverseAutoregressiveFlow):
    transform = jax.jit(InverseAutoregressiveFlow.transform)
    log_prob = jax.jit(InverseAutoregressiveFlow.log_prob)
    log_prob_gradient = jax.jit(InverseAutoregressiveFlow.log_prob_gradient)


@pytree_dataclass
class AtZ(FromNoise):
    """The same flow, of which losses ask log q at the z that `sample` returned: the inverse, element by element."""

    costly_inverse: ClassVar[bool] = False


@pytree_dataclass
class Pixels(Bernoulli):
    log_prob = jax.jit(Bernoulli.log_prob)


@pytree_dataclass
class Normal(DiagonalNormal):
    log_prob = jax.jit(DiagonalNormal.log_prob)


def as_a(kind: type[FromNoise], flow: InverseAutoregressiveFlow) -> FromNoise:
    return kind(flow.base_mean, flow.base_scale, flow.context, flow.layers)


def drawn(init: Any, *args: Any, scale: float = 0.7) -> Any:
    """What `init` returns, but with random numbers everywhere, of the default type."""
    rng = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(rng.normal(scale=scale, size=leaf.shape), float)
    return jax.tree.map(draw, jax.eval_shape(lambda key: init(key, *args), jax.random.key(0)))


@functools.cache
def model(kind: type[FromNoise]) -> VAE:
    vae = networks.mlp(event_shape=3, latent_dim=4, hidden=3, posterior=posteriors.iaf(num_layers=2, hidden=3))
    logits = jax.jit(lambda params, z: vae.decode(params, z).logits)

    return VAE(
        init=lambda key: drawn(vae.init),
        encode=jax.jit(lambda params, x: as_a(kind, vae.encode(params, x))),
        decode=lambda params, z: Pixels(logits(params, z)),
        prior=lambda params: Normal(jnp.zeros(4), jnp.ones(4)),
    )


def estimators() -> dict[str, Any]:
    """Every loss with every gradient that it has."""
    found = {}
    for name, gradients in losses.legal_combinations().items():
        bound = getattr(losses, name)(**TOLD.get(name, {}))
        bound = dataclasses.replace(bound, value=jax.jit(bound.value))
        for gradient in gradients:
            found[f"{name}-{gradient}"] = functools.partial(losses.negative_bound, bound=bound, gradient=gradient)
        found[f"{name}-leave_one_out"] = functools.partial(found[f"{name}-score_function"], baseline="leave_one_out")
    for gradient in ("pathwise", "sticking_the_landing", "score_function"):
        found[f"elbo-beta-{gradient}"] = functools.partial(losses.negative_elbo, beta=0.3, gradient=gradient)
    for phi in ("wake", "sleep", "both"):
        found[f"wake_sleep-{phi}"] = functools.partial(losses.negative_wake_sleep, phi=phi)
    return found | {"thermodynamic": losses.negative_thermodynamic}


ESTIMATORS = estimators()
# Bounds whose estimators differ from those of others by V alone, which tests of bounds prove.
_LONG = ("renyi", "miwae", "ciwae")
_CASES = [pytest.param(name, marks=[pytest.mark.proof] * name.startswith(_LONG)) for name in ESTIMATORS]


@functools.cache
def params() -> Any:
    return model(FromNoise).init(jax.random.key(0))


def value_terms_and_gradient(name: str, kind: type[FromNoise]) -> tuple[Any, losses.Terms, Any]:
    loss = functools.partial(ESTIMATORS[name], vae=model(kind), num_samples=K)
    function = lambda params: loss(params, jax.random.key(3), jnp.asarray(X))
    (value, terms), gradient = jax.value_and_grad(function, has_aux=True)(params())
    return value, terms, gradient


def no_inverse(flow: FromNoise, value: Any) -> Any:
    raise AssertionError("the flow was inverted")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", _CASES)
def test_values_and_gradients_are_those_of_the_inverse(name, monkeypatch):
    """And nothing but a dream of wake-sleep, whose z was not drawn from q, is inverted."""
    exact, exact_terms, exact_gradient = value_terms_and_gradient(name, AtZ)
    if name not in ("wake_sleep-sleep", "wake_sleep-both"):
        monkeypatch.setattr(FromNoise, "log_prob", no_inverse)
    value, terms, gradient = value_terms_and_gradient(name, FromNoise)
    np.testing.assert_allclose(value, exact, rtol=1e-12)
    np.testing.assert_allclose(terms.z, exact_terms.z, rtol=1e-14)
    np.testing.assert_allclose(terms.log_weights, exact_terms.log_weights, rtol=1e-12)
    for block, expected in exact_gradient.items():
        found, expected = flat(gradient[block]), flat(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max(), err_msg=block)
        assert np.abs(expected).max() > 1e-3


@pytest.mark.usefixtures("float64")
def test_the_gradient_of_log_q_from_the_noise_is_that_of_the_inverse():
    """∂ log q(z)/∂z at the z of the noise, by differentiation of `log_prob`."""
    family, shape, rng = posteriors.iaf(3, (3, 5)), (2, 2), np.random.default_rng(1)
    numbers = {name: jnp.asarray(rng.normal(size=size)) for name, size in family.outputs(shape).items()}
    own = drawn(family.init, shape)
    flow, noise = family.build(own, numbers, shape, None), jnp.asarray(rng.normal(size=shape))
    z, _ = flow.transform(noise)
    found, exact = (jax.jit(f) for f in (type(flow).log_prob_gradient, jax.grad(type(flow).log_prob, argnums=1)))
    np.testing.assert_allclose(found(flow, noise), exact(flow, z), rtol=1e-10)


@pytest.mark.usefixtures("float64")
def test_the_gradient_of_log_q_of_a_gaussian_flow_is_the_closed_form():
    """−Σ⁻¹ (z − μ) = −S⁻ᵀ e."""
    tril = np.array([[0.8, 0.0, 0.0], [-0.5, 1.3, 0.0], [0.4, 0.6, 0.5]])
    gaussian = MultivariateNormal(jnp.asarray([0.7, -1.2, 0.1]), jnp.asarray(tril))
    noise = np.array([0.3, -1.1, 0.9])
    found = FromNoise.log_prob_gradient(as_flow(gaussian, (3, 1)), jnp.asarray(noise[:, None]))
    np.testing.assert_allclose(found[:, 0], -np.linalg.solve(tril.T, noise), rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_sticking_the_landing_has_no_gradient_at_the_exact_posterior():
    """There log w is log p(x) for every z, so that no path has a slope (Roeder et al. 2017, arXiv:1703.09194)."""
    oracle = linear_gaussian()
    vae, start = with_flow(oracle.vae, (2, 1)), jax.tree.map(lambda leaf: jnp.asarray(leaf, float), oracle.params)
    exact, x = oracle.with_exact_posterior(start), jnp.asarray([0.3, -1.2, 0.5])

    loss = lambda params, key: losses.negative_iwae(
        params, key, x, vae=vae, num_samples=3, gradient="sticking_the_landing"
    )
    compute = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, terms), gradient = compute(exact, jax.random.key(1))
    np.testing.assert_allclose(terms.log_weights, oracle.log_evidence(exact, x), rtol=1e-10)
    np.testing.assert_allclose(-value, oracle.log_evidence(exact, x), rtol=1e-10)
    assert np.abs(flat(gradient["encoder"])).max() < 1e-10
    (_, terms), gradient = compute(start, jax.random.key(1))
    assert np.std(terms.log_weights) > 0.1
    assert np.abs(flat(gradient["encoder"])).max() > 0.01


XS = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)


@functools.cache
def exact_evidences() -> np.ndarray:
    """log N(x; μ, WWᵀ + Ψ) by scipy, in float64."""
    oracle = linear_gaussian()
    weight, mean = (np.asarray(oracle.params["decoder"][name], np.float64) for name in ("weight", "mean"))
    noise = np.asarray(oracle.vae.decode(oracle.params, jnp.zeros(2)).scale_tril, np.float64)
    return normal_log_density(XS, mean, weight @ weight.T + noise @ noise.T)


def test_the_evidence_of_the_exact_posterior_is_exact():
    oracle = linear_gaussian()
    exact, vae = oracle.with_exact_posterior(oracle.params), with_flow(oracle.vae, (2,))
    found = evaluation.log_evidence(exact, jax.random.split(jax.random.key(2), 2), XS, vae=vae, num_samples=50)
    np.testing.assert_allclose(found.value, exact_evidences(), rtol=1e-5)
    np.testing.assert_allclose(found.effective_sample_size, 50, rtol=1e-4)


def test_annealing_from_a_flow_meets_the_evidence():
    """E[w] = p(x), with a q that is no Gaussian."""
    oracle, family = linear_gaussian(), posteriors.iaf(num_layers=1, hidden=3)
    own = drawn(family.init, (2,), scale=0.5)

    def encode(params: Any, x: Any) -> InverseAutoregressiveFlow:
        q = oracle.posterior(params, x)
        numbers = {"mean": q.mean, "log_variance": jnp.zeros(2), "context": jnp.ones((1, 3))}
        return as_a(FromNoise, family.build(own, numbers, (2,), None))

    vae = VAE(oracle.vae.init, encode, oracle.vae.decode, oracle.vae.prior)
    found = evaluation.annealed_log_evidence(
        oracle.params,
        jax.random.split(jax.random.key(2), 2),
        XS,
        vae=vae,
        num_temperatures=3,
        num_chains=2000,
        num_leapfrog=2,
        start="posterior",
    )
    z_scores = np.expm1(np.asarray(found.value, np.float64) - exact_evidences()) / found.standard_error
    assert np.abs(z_scores).max() < scipy.stats.norm.isf(FALSE_ALARMS / 4)
    assert np.all((found.standard_error > 0) & (found.standard_error < 0.1))
    assert np.all((found.acceptance > 0.4) & (found.acceptance < 0.9))
