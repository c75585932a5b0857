"""Bounds as values: V(l) itself, in the limits where numbers are lost, and a bound of one's own."""

import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bound_parts import BOUNDS, TOLD, assert_same, evaluate
from tests.estimator_parts import SEED, build, log_mean_exp
from vae_jax import VAE, losses
from vae_jax.distributions import DiagonalNormal

# What V is of some weights of 0, in the words of its definition; the mean of a logarithm of 0 is −∞.
ZERO_WEIGHTS = [
    (losses.iwae(), log_mean_exp),
    (losses.renyi(0.5), lambda l: 2 * log_mean_exp(l / 2)),
    (losses.renyi(-math.inf), np.max),
    (losses.piwae(2), log_mean_exp),
    (losses.miwae(2), lambda l: (log_mean_exp(l[:2]) + log_mean_exp(l[2:])) / 2),
    (losses.ciwae(0.0), log_mean_exp),
    (losses.elbo(), lambda l: -np.inf),
    (losses.renyi(2.0), lambda l: -np.inf),
    (losses.renyi(math.inf), lambda l: -np.inf),
    (losses.ciwae(0.3), lambda l: -np.inf),
]


@pytest.mark.parametrize(("bound", "exact"), ZERO_WEIGHTS, ids=lambda value: getattr(value, "name", ""))
def test_a_weight_of_zero_counts_as_zero(bound, exact):
    l = np.array([-3.0, -np.inf, -1.0, -2.0])
    value, slope = jax.value_and_grad(bound)(jnp.asarray(l))
    np.testing.assert_allclose(value, exact(l), rtol=1e-6)
    assert np.isfinite(slope).all()
    if np.isfinite(value):
        assert slope[1] == 0
        np.testing.assert_allclose(slope.sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("bound", [bound for bound, _ in ZERO_WEIGHTS], ids=lambda bound: bound.name)
def test_weights_that_are_all_zero_make_a_bound_of_minus_infinity(bound):
    value, slope = jax.value_and_grad(bound)(jnp.full(4, -jnp.inf))
    assert value == -np.inf
    assert np.isfinite(slope).all()


class HalfLine:
    """p(x|z): x where z is above 0, else a density of 0, with the derivative that it has inside."""

    def __init__(self, z: jax.Array) -> None:
        self.z = z

    def log_prob(self, x: jax.Array) -> jax.Array:
        return jnp.where(self.z[0] > 0, -self.z[0] * x[0], -jnp.inf)


half = VAE(
    init=lambda key: {"mean": jnp.zeros(1)},
    encode=lambda params, x: DiagonalNormal(params["mean"], jnp.ones(1)),
    decode=lambda params, z: HalfLine(z),
    prior=lambda params: DiagonalNormal(jnp.zeros(1), jnp.ones(1)),
)


@pytest.mark.parametrize(
    ("bound", "gradient"),
    [
        (losses.iwae(), "pathwise"),
        (losses.iwae(), "score_function"),
        (losses.renyi(0.5), "doubly_reparameterized"),
        (losses.piwae(2), "sticking_the_landing"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_sample_outside_the_support_leaves_loss_and_gradient_finite(bound, gradient):
    """With q = p(z), w = p(x|z); of six samples some are 0."""
    loss = functools.partial(losses.negative_bound, vae=half, bound=bound, num_samples=6, gradient=gradient)
    (value, terms), slope = jax.value_and_grad(loss, has_aux=True)(half.init(None), jax.random.key(5), jnp.ones(1))
    z = np.asarray(terms.z)[:, 0]
    l = np.where(z > 0, -z, -np.inf)
    assert 2 <= np.sum(z > 0) <= 4
    power = 0.5 if bound.name == "renyi" else 1
    np.testing.assert_allclose(value, -log_mean_exp(power * l) / power, rtol=1e-5)
    assert np.isfinite(slope["mean"]).all()
    np.testing.assert_allclose(terms.effective_sample_size, np.exp(l).sum() ** 2 / np.exp(2 * l).sum(), rtol=1e-5)


def test_the_effective_sample_size_is_of_the_weights_whatever_their_size():
    """Of weights about e^-300, which float32 cannot hold."""
    _, terms = losses.negative_iwae(half.init(None), jax.random.key(5), jnp.full(1, 300.0), vae=half, num_samples=6)
    l = np.asarray(terms.log_weights, np.float64)
    assert l.max() < -50
    weights = np.exp(l - l.max())
    np.testing.assert_allclose(terms.effective_sample_size, weights.sum() ** 2 / (weights**2).sum(), rtol=1e-4)


def test_weights_that_are_all_zero_have_an_effective_sample_size_of_zero():
    _, terms = losses.negative_iwae(half.init(None), jax.random.key(5), jnp.full(1, jnp.inf), vae=half, num_samples=6)
    assert np.isneginf(terms.log_weights).all()
    assert terms.effective_sample_size == 0


def test_wake_sleep_of_a_sample_outside_the_support_is_finite():
    loss = functools.partial(losses.negative_wake_sleep, vae=half, num_samples=6)
    (value, terms), slope = jax.value_and_grad(loss, has_aux=True)(half.init(None), jax.random.key(3), jnp.ones(1))
    np.testing.assert_allclose(value, -log_mean_exp(np.asarray(terms.log_weights, np.float64)), rtol=1e-5)
    assert np.isfinite(slope["mean"]).all()


@pytest.mark.usefixtures("float64")
def test_an_infinite_surrogate_is_no_part_of_the_value():
    """The score function's, of a baseline far beyond the weights."""
    vae, params, x = build("bernoulli_mlp")
    options = {"num_samples": 3, "gradient": "score_function", "baseline": -jnp.inf}
    value, _ = losses.negative_iwae(params, jax.random.key(SEED), x, vae=vae, **options)
    plain, _ = losses.negative_iwae(params, jax.random.key(SEED), x, vae=vae, num_samples=3)
    assert value == plain


@pytest.mark.parametrize("offset", [0.0, -25_000.0, 1e5])
@pytest.mark.parametrize("distance", [0.0, 1e-1, 1e-2, 1e-4, 1e-6, 1e-7, 1e-12, -1e-7, -1e-4, -1.0, -1e30, -1e300])
def test_renyi_is_accurate_for_every_alpha(distance, offset):
    """Of float32 weights, against float64: to 1e-3 and half a unit in the last place."""
    alpha = 1 - distance
    l = np.random.default_rng(0).normal(offset, 3, 50).astype(np.float32)
    wide, top = l.astype(np.float64), l.max() if alpha < 1 else l.min()
    power = 1 - alpha
    exact = wide.mean() if power == 0 else top + np.log1p(np.mean(np.expm1(power * (wide - top)))) / power
    if abs(power) > 1e6:
        exact = top
    error = 1e-3 + np.spacing(np.float32(abs(exact))) / 2
    np.testing.assert_allclose(float(losses.renyi(alpha)(jnp.asarray(l))), exact, rtol=0, atol=error)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("gradient", ["pathwise", "doubly_reparameterized", "vimco"])
def test_a_bound_of_ones_own_has_every_gradient(gradient):
    """V written by hand, of the IWAE bound, which has no knowledge of its derivatives."""
    own = losses.Bound(lambda l: jax.nn.logsumexp(l) - jnp.log(l.shape[0]))
    vae, params, x = build("linear_gaussian")
    run = lambda bound: jax.value_and_grad(losses.negative_bound, has_aux=True)(
        params, jax.random.key(SEED), x, vae=vae, bound=bound, num_samples=4, gradient=gradient
    )
    (value, terms), slope = run(own)
    (expected, expected_terms), expected_slope = run(losses.iwae())
    assert_same((value, terms.log_weights, slope), (expected, expected_terms.log_weights, expected_slope), rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_by_value_is_the_loss_by_name_to_the_bit(bound):
    options = TOLD.get(bound, {})
    vae, params, x = build("bernoulli_mlp")
    by_value = losses.negative_bound(
        params, jax.random.key(SEED), x, vae=vae, bound=getattr(losses, bound)(**options), num_samples=4
    )
    by_name = evaluate(bound, num_samples=4, **({"kl": "auto"} if bound == "elbo" else {}) | options)
    assert by_value[0] == by_name[0]
    assert by_value[1].kl == by_name[1].kl


def test_equal_bounds_are_equal():
    """So that a function of one compiles once."""
    for make in (losses.elbo, losses.iwae, lambda: losses.renyi(0.5), lambda: losses.ciwae(0.3), losses.piwae):
        assert make() == make()
        assert hash(make()) == hash(make())
    assert losses.renyi(0.5) != losses.renyi(0.25)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.renyi(math.nan), "alpha must be a Python number"),
        (lambda: losses.miwae(0), "num_groups must be a whole number"),
        (lambda: losses.ciwae(1.5), "elbo_weight must lie in"),
        (lambda: losses.elbo("exact"), "unknown kl 'exact'"),
    ],
)
def test_an_illegal_bound_is_refused_where_it_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("bound", "argument"), [("miwae", "num_groups"), ("piwae", "num_groups"), ("ciwae", "elbo_weight")]
)
def test_a_bound_by_value_has_the_defaults_of_the_loss_by_name(bound, argument):
    by_value, by_name = (
        inspect.signature(getattr(losses, name)).parameters[argument].default for name in (bound, f"negative_{bound}")
    )
    assert by_value == by_name
