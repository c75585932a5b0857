"""Every loss and estimate of examples with missing entries, NaN stored there: those of the model of what was observed.

Of the model z ~ N(0, I), x ~ N(Wz + μ, diag σ²), the observed entries are such a model too. Where q(z|x) is its
posterior, every importance weight is p(x_o), and no estimate of it has an error but rounding.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from tests.statistics_checks import FALSE_ALARMS, assert_mean
from vae_jax import VAE, evaluation, losses, training
from vae_jax.distributions import Bernoulli, DiagonalNormal, Masked, MultivariateNormal, standard_normal
from vae_jax.losses import OBJECTIVES, Objective

LATENT, EVENT, NUM = 2, 4, 12
RNG = np.random.default_rng(0)
COMPLETE = RNG.normal(size=(NUM, EVENT)).astype(np.float32)
OBSERVED = RNG.random((NUM, EVENT)) > 0.4
OBSERVED[0] = [True, False, True, True]
PARAMS = jax.tree.map(
    np.float32,
    {
        "weight": RNG.normal(size=(EVENT, LATENT)),
        "mean": RNG.normal(size=EVENT),
        "log_scale": 0.3 * RNG.normal(size=EVENT),
        "shift": np.zeros(LATENT),
        "log_width": np.zeros(LATENT),
    },
)
AWAY = PARAMS | {"shift": np.float32([0.6, -0.8]), "log_width": np.float32([0.3, -0.3])}


def posterior(params: Any, observed: Any, x: Any) -> Any:
    """Mean and covariance of p(z|x_o), of x with zeros where nothing was observed."""
    w, seen = params["weight"], observed * jnp.exp(-2 * params["log_scale"])
    covariance = jnp.linalg.inv(jnp.eye(LATENT, dtype=w.dtype) + (w * seen[:, None]).T @ w)
    return covariance @ w.T @ (seen * (x - params["mean"])), covariance


def encode(params: Any, x: Masked) -> MultivariateNormal:
    """p(z|x_o), moved by the shift, its Cholesky factor's columns widened; the posterior where both are 0."""
    mean, covariance = posterior(params, x.observed, x.filled(0))
    return MultivariateNormal(
        mean + params["shift"], jnp.linalg.cholesky(covariance) * jnp.exp(params["log_width"])[None]
    )


MODEL = VAE(
    init=lambda key: PARAMS,
    encode=encode,
    decode=lambda params, z: DiagonalNormal(params["weight"] @ z + params["mean"], jnp.exp(params["log_scale"])),
    prior=lambda params: standard_normal(LATENT),
)


def keys(num: int = NUM) -> jax.Array:
    return jax.random.split(jax.random.key(1), num)


def examples(stored: float = np.nan) -> Masked:
    return Masked(np.where(OBSERVED, COMPLETE, np.float32(stored)), OBSERVED)


def first(stored: float) -> Masked:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), examples(stored))


@functools.cache
def log_evidence() -> np.ndarray:
    """log p(x_o)."""
    weight, mean, log_scale = (np.asarray(PARAMS[name], np.float64) for name in ("weight", "mean", "log_scale"))
    covariance = weight @ weight.T + np.diag(np.exp(2 * log_scale))
    return np.array(
        [
            scipy.stats.multivariate_normal.logpdf(x[o], mean[o], covariance[np.ix_(o, o)])
            for x, o in zip(COMPLETE, OBSERVED, strict=True)
        ]
    )


def elbo(params: Any, x: Any) -> Any:
    """L(q) of the first example, in closed form, of the three rows of W that were observed."""
    q, rows = encode(params, Masked(x, OBSERVED[0])), np.flatnonzero(OBSERVED[0])
    weight, mean, scale = (part[rows] for part in (params["weight"], params["mean"], jnp.exp(params["log_scale"])))
    errors = (x[rows] - weight @ q.mean - mean) ** 2 + jnp.sum((weight @ q.scale_tril) ** 2, axis=1)
    likelihood = -0.5 * jnp.sum(errors / scale**2 + 2 * jnp.log(scale) + jnp.log(2 * jnp.pi))
    kl = 0.5 * (jnp.sum(q.scale_tril**2) + q.mean @ q.mean - LATENT) - jnp.sum(jnp.log(jnp.diag(q.scale_tril)))
    return likelihood - kl


OPTIONS = {
    "elbo": {"kl": "monte_carlo"},
    "renyi": {"alpha": 0.5},
    "miwae": {"num_groups": 2},
    "piwae": {"num_groups": 2},
    "wake_sleep": {"phi": "both"},
}


@functools.cache
def all_gradients(name: str) -> Any:
    """(params, key, x) -> the value and the gradient of an objective, by each of its estimators."""
    objective = OBJECTIVES.parts[name](**OPTIONS.get(name, {}))
    if isinstance(objective, Objective):
        estimators = {"its own": objective.loss}
    else:
        estimators = {
            gradient: functools.partial(losses.negative_bound, bound=objective, gradient=gradient)
            for gradient in objective.gradients
        }
    return jax.jit(
        lambda params, key, x: {
            gradient: jax.value_and_grad(
                lambda params, loss=loss: loss(params, jax.random.clone(key), x, vae=MODEL, num_samples=4)[0]
            )(params)
            for gradient, loss in estimators.items()
        }
    )


@pytest.mark.parametrize("name", OBJECTIVES.parts)
def test_what_is_stored_under_the_mask_changes_no_bit_of_a_loss_and_its_gradients(name):
    found = all_gradients(name)(AWAY, jax.random.key(2), first(0.0))
    for stored in (np.nan, np.inf):
        other = all_gradients(name)(AWAY, jax.random.key(2), first(stored))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(other), strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OBJECTIVES.parts)
def test_an_objective_of_the_posterior_is_the_evidence_of_what_was_observed(name):
    for value, _ in all_gradients(name)(PARAMS, jax.random.key(3), first(np.nan)).values():
        np.testing.assert_allclose(value, -log_evidence()[0], rtol=1e-5)


def test_the_dreams_of_wake_sleep_lack_what_the_example_lacks():
    """The mean over p(z, x_o) of −∂φ log q(z|x_o), in closed form; of whole dreams it would be another."""

    def gradient(key):
        loss = functools.partial(losses.negative_wake_sleep, vae=MODEL, num_samples=1, phi="sleep")
        of_all = jax.grad(loss, has_aux=True)(AWAY, key, first(np.nan))[0]
        return {name: of_all[name] for name in ("shift", "log_width")}

    found = jax.jit(jax.vmap(gradient))(keys(60_000))
    with jax.enable_x64(True):
        covariance = posterior(jax.tree.map(np.float64, AWAY), OBSERVED[0], COMPLETE[0])[1]
    factor, narrowness = np.linalg.cholesky(covariance), np.exp(-2 * np.float64(AWAY["log_width"]))
    shift = np.linalg.solve(factor, np.float64(AWAY["shift"]))
    exact = {
        "shift": np.linalg.solve(factor.T, narrowness * shift),
        "log_width": 1 - narrowness * (1 + shift**2),
    }
    assert_mean(found, exact, resolution=0.1)


@functools.cache
def exact_elbo() -> Any:
    """Of the first example, and its gradient."""
    return jax.jit(jax.value_and_grad(elbo))(AWAY, COMPLETE[0])


@pytest.mark.parametrize("gradient", ["pathwise", "sticking_the_landing", "score_function"])
def test_the_elbo_and_its_gradients_are_those_of_what_was_observed(gradient):
    value, exact = exact_elbo()
    loss = functools.partial(losses.negative_elbo, vae=MODEL, num_samples=4, gradient=gradient)
    exact = jax.tree.map(jnp.negative, exact)
    report = evaluation.gradient_report(loss, AWAY, jax.random.key(4), first(np.nan), num_replicates=5000, exact=exact)
    assert all(block.bias_z < block.bias_z_threshold for block in report.blocks.values())
    error = scipy.stats.norm.isf(FALSE_ALARMS / 2) * report.loss_standard_deviation / np.sqrt(5000)
    assert abs(report.loss + value) < error < 0.05


def test_a_batch_has_a_mask_for_each_example():
    loss = losses.over_batch(losses.negative_iwae)
    value, _ = jax.jit(functools.partial(loss, vae=MODEL, num_samples=3))(PARAMS, keys(), examples())
    np.testing.assert_allclose(value, -log_evidence().mean(), rtol=1e-5)


def test_training_sees_observed_entries_alone():
    loss = functools.partial(losses.over_batch(losses.negative_iwae), vae=MODEL, num_samples=3)
    _, curve = training.fit(
        loss, PARAMS, jax.random.key(5), examples(), optimizer=optax.sgd(0.0), num_steps=2, batch_size=NUM
    )
    np.testing.assert_allclose(curve, -log_evidence().mean(), rtol=1e-5)


def fit_binary(value: np.ndarray, observed: np.ndarray) -> Any:
    normal = lambda params, *x: standard_normal(1)
    vae = VAE(lambda key: {}, normal, lambda params, z: Bernoulli(params["logits"]), normal)
    loss = functools.partial(losses.over_batch(losses.negative_elbo), vae=vae)
    start = {"logits": jnp.zeros(value.shape[1])}
    options = {"optimizer": optax.sgd(1.0), "num_steps": 1, "batch_size": len(value)}
    return training.fit(loss, start, jax.random.key(6), Masked(value, observed), **options)


def test_a_step_of_training_moves_by_what_was_observed():
    value = np.float32([[1, np.nan, 5], [1, 0, -1], [0, 1, np.inf]])
    observed = np.array([[True, False, False], [True, True, False], [True, True, False]])
    params, curve = fit_binary(value, observed)
    np.testing.assert_allclose(params["logits"], [0.5 / 3, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(curve, 5 / 3 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("bad", "message"), [(np.nan, "xs must be finite; 1 of 2 rows are not: 1"), (5.0, "x lies outside the support")]
)
def test_training_refuses_an_observed_entry_that_is_no_number_of_the_support(bad, message):
    observed = np.array([[True, False], [True, True]])
    with pytest.raises(ValueError, match=message):
        fit_binary(np.float32([[1, np.nan], [0, bad]]), observed)


def test_annealing_ends_at_the_evidence_of_what_was_observed():
    estimate = evaluation.annealed_log_evidence(
        PARAMS, keys(), examples(), vae=MODEL, num_temperatures=3, num_chains=2, start="posterior"
    )
    np.testing.assert_allclose(estimate.value, log_evidence(), rtol=1e-4, atol=1e-4)
    assert np.isfinite(estimate.acceptance).all()


def test_the_posterior_of_what_was_observed_has_no_inference_gaps():
    gaps = evaluation.inference_gaps(
        PARAMS, keys(), examples(), vae=MODEL, family="full", learning_rate=1e-6, num_steps=2, num_samples=20
    )
    np.testing.assert_allclose(gaps.elbo, log_evidence(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gaps.approximation_gap, 0, atol=1e-4)
    np.testing.assert_allclose(gaps.amortization_gap, 0, atol=1e-4)


def test_latent_statistics_are_those_of_posteriors_given_what_was_observed():
    found = evaluation.latent_statistics(PARAMS, keys(), examples(), vae=MODEL)
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, PARAMS)
        each = [posterior(params, o, np.where(o, x, 0)) for x, o in zip(COMPLETE, OBSERVED, strict=True)]
    means, covariances = (np.array(part, np.float64) for part in zip(*each, strict=True))
    kls = np.trace(covariances, axis1=1, axis2=2) + (means**2).sum(axis=1) - LATENT
    kl = 0.5 * np.mean(kls - np.linalg.slogdet(covariances)[1])
    np.testing.assert_allclose(found.activity, means.var(axis=0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(found.kl, kl, rtol=1e-4)
