"""What bounds must be to one another and to log p(x)."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bound_parts import BOUNDS, TOLD, assert_same, evaluate, loss_of, near_posterior
from tests.estimator_parts import SEED, build, flat
from tests.statistics_checks import assert_mean
from vae_jax import losses, oracles

pytestmark = pytest.mark.usefixtures("float64")


@functools.cache
def plain(bound: str, num_samples: int, gradient: str) -> tuple[float, Any]:
    value, _, slope = evaluate(bound, num_samples=num_samples, gradient=gradient)
    return value, slope


MEETINGS = [
    ("iwae", {}, "elbo", 1),
    ("renyi", {"alpha": -1.0}, "elbo", 1),
    ("renyi", {"alpha": 2.0}, "elbo", 1),
    ("renyi", {"alpha": math.inf}, "elbo", 1),
    ("renyi", {"alpha": 0.0}, "iwae", 6),
    ("renyi", {"alpha": 1.0}, "elbo", 6),
    ("miwae", {"num_groups": 1}, "iwae", 6),
    ("miwae", {"num_groups": 6}, "elbo", 6),
    ("piwae", {"num_groups": 1}, "iwae", 6),
    ("ciwae", {"elbo_weight": 0.3}, "elbo", 1),
    ("ciwae", {"elbo_weight": 0.0}, "iwae", 6),
    ("ciwae", {"elbo_weight": 1.0}, "elbo", 6),
]


LONG = [meeting for meeting in MEETINGS if meeting[0] in ("renyi", "miwae", "ciwae") and meeting[3] == 1]
FURTHER = ("sticking_the_landing", "score_function", "naive")


def have_both(bound: str, options: dict, other: str, size: int, gradient: str) -> bool:
    """Whether both bounds have that gradient there."""
    legal = losses.legal_combinations()
    infinite = math.isinf(options.get("alpha", 0.0)) and gradient == "doubly_reparameterized"
    too_few = gradient == "vimco" and size // options.get("num_groups", 1) < 2
    return gradient in legal[bound] and gradient in legal[other] and not (infinite or too_few)


@pytest.mark.parametrize(
    ("bound", "options", "other", "size", "gradient"),
    [
        # At the ends of their options the bounds that differ by V alone need one gradient of each kind.
        pytest.param(*meeting, gradient, marks=[pytest.mark.proof] * (meeting in LONG and gradient in FURTHER))
        for meeting in MEETINGS
        for gradient in losses.GRADIENTS
        if have_both(*meeting, gradient)
    ],
)
def test_bounds_meet_where_they_must(bound, options, other, size, gradient):
    """One sample, one group, groups of one, and the ends of α and λ: the value, and every gradient that both have."""
    value, _, slope = evaluate(bound, num_samples=size, gradient=gradient, **options)
    assert_same((value, slope), plain(other, size, gradient))


def test_piwae_in_groups_of_one_has_the_iwae_bound_for_theta_and_the_elbo_for_phi():
    piwae, iwae, elbo = (
        evaluate(bound, kind="linear_gaussian", num_samples=6, **options)
        for bound, options in (("piwae", {"num_groups": 6}), ("iwae", {}), ("elbo", {}))
    )
    assert_same((piwae[0], piwae[2]["decoder"]), (iwae[0], iwae[2]["decoder"]))
    assert_same(piwae[2]["encoder"], elbo[2]["encoder"])


@pytest.mark.parametrize("gradient", ["pathwise", "doubly_reparameterized", "score_function"])
def test_renyi_tends_to_the_elbo_as_alpha_tends_to_one(gradient):
    near, at = (evaluate("renyi", alpha=a, num_samples=6, gradient=gradient) for a in (0.999999, 1.0))
    np.testing.assert_allclose(near[0], at[0], rtol=1e-5)
    if gradient != "score_function":  # There each sample's own log-weight is its signal at α = 1, the bound near it.
        assert_same(near[2], at[2], rtol=1e-4)


@pytest.mark.parametrize(("alpha", "end"), [(math.inf, np.min), (-math.inf, np.max)])
def test_renyi_of_infinite_alpha_is_one_log_weight(alpha, end):
    """The smallest or the largest; a finite α of the same sign tends to it."""
    value, terms, _ = evaluate("renyi", alpha=alpha, num_samples=6)
    np.testing.assert_allclose(value, -end(terms.log_weights), rtol=1e-12)
    np.testing.assert_allclose(evaluate("renyi", alpha=math.copysign(1e6, alpha), num_samples=6)[0], value, rtol=1e-4)


def replicated(num: int, seed: int, *cases: tuple[str, dict]) -> list[np.ndarray]:
    """Of each case, the bound at independent keys."""
    oracle, params, x, _ = near_posterior()
    bound = lambda name, options: lambda key: -loss_of(name)(params, key, x, vae=oracle.vae, **options)[0]
    functions = [bound(*case) for case in cases]
    split = lambda key: jax.random.split(key, len(functions))
    compute = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: [function(k) for function, k in zip(functions, split(key), strict=True)], keys, batch_size=2000
        )
    )
    return [np.asarray(values) for values in compute(jax.random.split(jax.random.key(seed), num))]


SIZES = (1, 4, 16)


def z_score_of_rise(first: np.ndarray, second: np.ndarray) -> float:
    error = math.sqrt(first.var() / first.size + second.var() / second.size)
    return (second.mean() - first.mean()) / error


def test_iwae_rises_with_k_and_renyi_above_one_falls():
    """In expectation; and E[exp of the IWAE bound] = p(x), whatever K."""
    cases = [(name, {"num_samples": k} | o) for name, o in (("iwae", {}), ("renyi", {"alpha": 2.0})) for k in SIZES]
    values = replicated(10_000, 2, *cases)
    iwae, above = values[: len(SIZES)], values[len(SIZES) :]
    for first, second in ((0, 1), (1, 2)):
        assert z_score_of_rise(iwae[first], iwae[second]) > 5
        assert z_score_of_rise(above[first], above[second]) < -5
    exact = near_posterior()[3]
    assert_mean([np.exp(value - exact) for value in iwae], [1.0, 1.0, 1.0], resolution=0.03)
    assert all(value.mean() < exact for value in values)


def test_iwae_of_many_samples_is_the_evidence():
    """E2: the gap closes as 1/K, here to 5e-5."""
    assert_mean(replicated(200, 3, ("iwae", {"num_samples": 2000}))[0], near_posterior()[3], resolution=0.01)


@functools.cache
def at_posterior():
    oracle = oracles.linear_gaussian(jax.random.key(0), latent_dim=2, event_dim=3)
    params, x = oracle.with_exact_posterior(oracle.params), jax.random.normal(jax.random.key(1), (3,))
    return oracle, params, x, float(oracle.log_evidence(params, x))


@pytest.mark.parametrize("bound", [*BOUNDS, "wake_sleep", "thermodynamic"])
def test_every_bound_is_the_evidence_at_the_exact_posterior(bound):
    """E2, sample by sample: all weights are p(x)."""
    oracle, params, x, exact = at_posterior()
    options = {"num_samples": 6} | TOLD.get(bound, {}) | ({"kl": "monte_carlo"} if bound == "elbo" else {})
    value, terms = loss_of(bound)(params, jax.random.key(SEED), x, vae=oracle.vae, **options)
    np.testing.assert_allclose(value, -exact, rtol=1e-12)
    np.testing.assert_allclose(terms.effective_sample_size, 6, rtol=1e-12)


@pytest.mark.parametrize("bound", BOUNDS)
def test_at_the_exact_posterior_reparameterised_scores_leave_no_noise_in_phi(bound):
    """∂ log w/∂z is 0 everywhere; the pathwise gradient keeps the noise of ∂φ log q."""
    oracle, params, x, _ = at_posterior()
    options = {"num_samples": 6} | TOLD.get(bound, {}) | ({"kl": "monte_carlo"} if bound == "elbo" else {})

    def phi(key, gradient):
        loss = lambda params: loss_of(bound)(params, key, x, vae=oracle.vae, gradient=gradient, **options)[0]
        return flat(jax.grad(loss)(params)["encoder"])

    noise = np.std([phi(jax.random.key(seed), "pathwise") for seed in range(3)], axis=0).max()
    assert noise > 0.1
    for gradient in ("sticking_the_landing", "doubly_reparameterized"):
        assert np.abs(phi(jax.random.key(SEED), gradient)).max() < 1e-5 * noise


@pytest.mark.parametrize(
    ("bound", "options"),
    [
        ("piwae", {"gradient": "doubly_reparameterized", "num_groups": 2}),
        ("ciwae", {"gradient": "score_function", "baseline": "leave_one_out", "elbo_weight": 0.3}),
        ("wake_sleep", {"phi": "both"}),
    ],
)
def test_a_compiled_batch_is_the_mean_of_plain_calls(bound, options):
    """jit and vmap change no number."""
    vae, params, _ = build("bernoulli_mlp")
    xs = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 3)) > 0.5, jnp.float64)
    loss = functools.partial(loss_of(bound), vae=vae, num_samples=6, **options)
    batch = jax.jit(jax.value_and_grad(losses.over_batch(loss), has_aux=True))
    keys = jax.random.split(jax.random.key(7), 2)
    (value, terms), gradient = batch(params, jax.random.clone(keys), xs)
    single = [jax.value_and_grad(loss, has_aux=True)(params, key, x) for key, x in zip(keys, xs, strict=True)]
    np.testing.assert_allclose(value, np.mean([one[0][0] for one in single]), rtol=1e-10)
    assert_same(terms.log_weights, np.stack([one[0][1].log_weights for one in single]))
    assert_same(gradient, jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(one[1] for one in single)))
