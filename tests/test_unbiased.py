"""Which estimators are unbiased, against exact gradients (E8, E9, E12)."""

import functools
import math
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats
from jax.flatten_util import ravel_pytree

from tests.statistics_checks import FALSE_ALARMS, assert_mean
from vae_jax import losses, oracles

REPLICATES, MANY = 50_000, 200_000
# Every unbiased estimator of the ELBO's gradient, and the number of samples.
UNBIASED = {
    "pathwise-exact-kl": {"num_samples": 1},
    "pathwise": {"num_samples": 1, "kl": "monte_carlo"},
    "sticking-the-landing": {"num_samples": 1, "gradient": "sticking_the_landing"},
    "doubly-reparameterised": {"num_samples": 2, "gradient": "doubly_reparameterized"},
    "score-function": {"num_samples": 2, "gradient": "score_function"},
    "score-function-number": {"num_samples": 1, "gradient": "score_function", "baseline": -6.0},
    "score-function-leave-one-out": {"num_samples": 4, "gradient": "score_function", "baseline": "leave_one_out"},
}
IWAE = {
    "sticking-the-landing": {"gradient": "sticking_the_landing"},
    "doubly-reparameterised": {"gradient": "doubly_reparameterized"},
    "score-function-leave-one-out": {"gradient": "score_function", "baseline": "leave_one_out"},
    "score-function-number": {"gradient": "score_function", "baseline": -6.0},
    "vimco": {"gradient": "vimco"},
}


@functools.cache
def build(kind: str, latent_dim: int = 2, event_dim: int = 3):
    oracle = getattr(oracles, kind)(jax.random.key(0), latent_dim=latent_dim, event_dim=event_dim)
    return oracle, jax.random.normal(jax.random.key(1), (event_dim,))


def replicates(model: Any, bound: str, seed: int, num: int = REPLICATES, **options) -> dict[str, np.ndarray]:
    """The gradient of the bound at independent keys: [num, parameters] of θ and of φ."""
    oracle, x = model
    loss = functools.partial(getattr(losses, f"negative_{bound}"), vae=oracle.vae, **options)

    def gradient(key):
        gradients = jax.grad(loss, has_aux=True)(oracle.params, key, x)[0]
        return {name: -ravel_pytree(gradients[name])[0] for name in ("decoder", "encoder")}

    compute = jax.jit(lambda keys: jax.lax.map(gradient, keys, batch_size=10_000))
    return jax.tree.map(np.asarray, compute(jax.random.split(jax.random.key(seed), num)))


@functools.cache
def exact_gradient(*model: Any) -> dict[str, np.ndarray]:
    oracle, x = build(*model)
    gradient = jax.jit(jax.grad(oracle.elbo))(oracle.params, x)
    return {name: np.asarray(ravel_pytree(gradient[name])[0]) for name in ("decoder", "encoder")}


def ceiling(name: str) -> float:
    """Of the relative bias; the score function without the other samples' baseline is the noisiest by far."""
    return 0.06 if name in ("score-function", "score-function-number") else 0.02


def assert_unbiased(samples: dict, exact: dict, *, ceiling: float) -> None:
    """Every component by its z-score (Bonferroni); and the whole, by a ceiling on the bias of θ's and φ's gradient."""
    assert_mean(samples, exact, resolution=0.05)
    for name, values in samples.items():
        bias = np.linalg.norm(values.mean(axis=0, dtype=np.float64) - exact[name]) / np.linalg.norm(exact[name])
        assert bias < ceiling, f"the gradient of the {name} is off by {bias:.2%}"


def z_scores(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the difference of the means of two independent sets."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    variance = first.var(axis=0) / len(first) + second.var(axis=0) / len(second)
    return np.abs(first.mean(axis=0) - second.mean(axis=0)) / np.sqrt(variance + 1e-14)


def threshold(comparisons: int) -> float:
    return float(scipy.stats.norm.isf(FALSE_ALARMS / (2 * comparisons)))


@pytest.mark.parametrize("kind", ["linear_gaussian", "ppca"])
@pytest.mark.parametrize("name", UNBIASED)
def test_an_unbiased_estimator_has_the_exact_gradient_as_mean(kind, name):
    """E8, E9, E12, in every parameter."""
    samples = replicates(build(kind), "elbo", 2, **UNBIASED[name])
    assert_unbiased(samples, exact_gradient(kind), ceiling=ceiling(name))


def test_the_naive_gradient_of_phi_is_zero_on_average():
    """E9: E_q[∂φ log q] = 0, so that its bias is minus the whole gradient; θ's is right."""
    samples = replicates(build("linear_gaussian"), "elbo", 3, num_samples=1, gradient="naive")
    exact = exact_gradient("linear_gaussian")
    assert_mean(samples["decoder"], exact["decoder"], resolution=0.05)
    error = samples["encoder"].std(axis=0) / math.sqrt(REPLICATES)
    moved = np.abs(samples["encoder"].mean(axis=0, dtype=np.float64))
    assert np.all(moved <= threshold(error.size) * error + 1e-6)
    assert np.abs(exact["encoder"]).max() > 30 * error.max()


@functools.cache
def of_iwae() -> dict[str, np.ndarray]:
    return replicates(build("linear_gaussian"), "iwae", 4, num_samples=6)


@pytest.mark.parametrize("name", IWAE)
def test_estimators_of_iwae_agree_with_the_pathwise_one(name):
    """At other keys, in every parameter; but sticking the landing, which is biased in φ."""
    samples = replicates(build("linear_gaussian"), "iwae", 5, num_samples=6, **IWAE[name])
    theta, phi = (z_scores(samples[part], of_iwae()[part]) for part in ("decoder", "encoder"))
    assert theta.max() < threshold(theta.size + phi.size)
    if name == "sticking-the-landing":
        assert phi.max() > 10
    else:
        assert phi.max() < threshold(theta.size + phi.size)


@pytest.mark.proof
@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize("model", [("linear_gaussian", 2, 3), ("ppca", 2, 3), ("linear_gaussian", 3, 5)], ids=str)
def test_unbiased_at_length(model, seed):
    """Four times the replicates, three models, three seeds: all estimators of the ELBO, and of IWAE."""
    exact, model = exact_gradient(*model), build(*model)
    for name, options in UNBIASED.items():
        assert_unbiased(replicates(model, "elbo", seed, MANY, **options), exact, ceiling=ceiling(name))
    reference = replicates(model, "iwae", seed, MANY, num_samples=6)
    for name, options in IWAE.items():
        samples = replicates(model, "iwae", 100 + seed, MANY, num_samples=6, **options)
        theta, phi = (z_scores(samples[part], reference[part]) for part in ("decoder", "encoder"))
        assert theta.max() < threshold(theta.size + phi.size)
        assert (phi.max() > 10) == (name == "sticking-the-landing")
        assert name == "sticking-the-landing" or phi.max() < threshold(theta.size + phi.size)
