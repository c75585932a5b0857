"""Likelihoods of counts: the bounds of their numbers, what they take as data, and excess zeros of any component.

Their densities, gradients and samples are in test_likelihoods.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import evaluation, expressions, losses, networks, training
from vae_jax.distributions import NegativeBinomial, Poisson, ZeroInflated
from vae_jax.likelihoods import LIKELIHOODS, zero_inflated
from vae_jax.parts import Family

EVENT = 5


def family(text: str) -> Family:
    return expressions.make(text, LIKELIHOODS)


def model(text: str):
    return networks.mlp(event_shape=EVENT, latent_dim=2, hidden=(3,), likelihood=text)


def test_a_log_mean_is_held_between_its_bounds_and_pulled_back_from_outside():
    """d log p / d log μ = x − μ, at the mean that is held."""
    numbers, x = jnp.asarray([-100.0, 0.0, 100.0]), jnp.full(3, 7.0)
    held = np.exp([-30.0, 0.0, 20.0])
    build = lambda numbers: family("poisson").build({}, numbers, (3,), None)
    np.testing.assert_allclose(build(numbers).mean, held, rtol=1e-5)
    gradient = jax.grad(lambda numbers: build(numbers).log_prob(x))(numbers)
    np.testing.assert_allclose(gradient, 7 - held, rtol=1e-5)


@pytest.mark.parametrize("dispersion", ["shared", "each"])
def test_a_dispersion_is_held_between_its_bounds_and_pulled_back_from_outside(dispersion):
    """Counts near the mean ask for a larger θ than the least, and counts far from it for a smaller than the largest."""
    log_mean, log_dispersion = jnp.full(2, np.log(50.0)), jnp.asarray([-100.0, 100.0])
    x = jnp.asarray([50.0, 500.0])

    def build(log_dispersion):
        own = {"log_dispersion": log_dispersion} if dispersion == "shared" else {}
        numbers = log_mean if dispersion == "shared" else jnp.stack([log_mean, log_dispersion], axis=-1)
        return family(f"negative_binomial(dispersion={dispersion})").build(own, numbers, (2,), None)

    p = build(log_dispersion)
    np.testing.assert_allclose(p.dispersion, np.exp([-9.0, 14.0]), rtol=1e-5)
    gradient = jax.grad(lambda log_dispersion: build(log_dispersion).log_prob(x))(log_dispersion)
    # To first order in 1/θ, log p is Poisson's plus ((x − μ)² − x) / 2θ.
    np.testing.assert_allclose(gradient[1], -((500 - 50) ** 2 - 500) / (2 * np.exp(14.0)), rtol=0.01)
    # For θ → 0, p(x) is θ/x.
    np.testing.assert_allclose(gradient[0], 1, rtol=0.01)


@pytest.mark.parametrize("component", ["poisson", "negative_binomial", "negative_binomial(dispersion=each)"])
def test_excess_zeros_ask_for_the_components_numbers_and_one_more(component):
    inner, outer = family(component), family(f"zero_inflated({component})")
    width = 2 if "each" in component else 1
    assert outer.outputs((EVENT,)) == (EVENT, width + 1)
    own = outer.init(jax.random.key(0), (EVENT,))
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, inner.init(jax.random.key(0), (EVENT,)))
    numbers = jnp.asarray(np.random.default_rng(0).normal(size=(EVENT, width + 1)), jnp.float32)
    built = outer.build(own, numbers, (EVENT,), None)
    alone = inner.build(own, numbers[:, :-1].reshape(inner.outputs((EVENT,))), (EVENT,), None)
    np.testing.assert_array_equal(built.logits, numbers[:, -1])
    np.testing.assert_array_equal(built.component.mean, alone.mean)


def test_a_component_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"logits have shape \(4,\); they must have the component's, \(1,\)"):
        ZeroInflated(Poisson(jnp.ones(1)), jnp.zeros(4))


@pytest.mark.parametrize("component", ["normal", "bernoulli", "ordinal(num_classes=3)"])
def test_a_component_that_is_no_count_is_refused_where_the_model_is_built(component):
    with pytest.raises(ValueError, match=r"zero_inflated is made of independent counts, .*, not of a "):
        model(f"zero_inflated({component})")


def test_a_component_whose_numbers_have_names_is_refused():
    named = Family(lambda shape: {"mean": shape}, lambda own, numbers, shape, given: Poisson(numbers["mean"]))
    with pytest.raises(ValueError, match=r"zero_inflated needs a component with numbers \[\*event, n\]"):
        networks.mlp(event_shape=EVENT, latent_dim=2, hidden=(3,), likelihood=zero_inflated(named))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.float16, np.float32])
def test_counts_of_any_type_have_one_density(dtype):
    p = NegativeBinomial(jnp.asarray([3.0, 0.5]), jnp.asarray(2.0))
    inflated, x = ZeroInflated(p, jnp.asarray([-1.0, 0.5])), np.asarray([0, 1 if dtype is np.bool_ else 200])
    for distribution in (Poisson(p.mean), p, inflated):
        exact = distribution.log_prob(jnp.asarray(x, jnp.float32))
        assert distribution.log_prob(jnp.asarray(x.astype(dtype))) == exact


@functools.cache
def poisson_model():
    vae = model("poisson")
    return vae, vae.init(jax.random.key(0))


def fitted(xs: jax.Array) -> np.ndarray:
    vae, params = poisson_model()
    loss = functools.partial(losses.over_batch(losses.negative_elbo), vae=vae)
    options = {"optimizer": optax.sgd(1e-3), "num_steps": 1, "batch_size": 2}
    return training.fit(loss, params, jax.random.key(1), xs, **options)[1]


def estimated(xs: jax.Array) -> np.ndarray:
    vae, params = poisson_model()
    keys = jax.random.split(jax.random.key(1), len(xs))
    return evaluation.log_evidence(params, keys, xs, vae=vae, num_samples=2).value


@pytest.mark.parametrize("use", [fitted, estimated])
@pytest.mark.parametrize("bad", [-1, -1.0, 0.5], ids=repr)
def test_negative_and_fractional_counts_are_refused(use, bad):
    """One in the last row is enough."""
    xs = np.ones((4, EVENT), np.asarray(bad).dtype)
    xs[-1, 2] = bad
    with pytest.raises(ValueError, match=r"outside the support of p\(x\|z\): .* takes whole numbers from 0 on$"):
        use(jnp.asarray(xs))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_whole_numbers_are_taken(dtype):
    xs = jnp.asarray(np.random.default_rng(0).poisson(3.0, (4, EVENT)).astype(dtype))
    assert np.isfinite(fitted(xs)).all()
