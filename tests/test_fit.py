"""`training.fit` from start to end: a linear VAE reaches the largest evidence there is, known in closed form."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.fixed_oracles import ppca
from vae_jax import losses, training

LATENT, EVENT, NUM_EXAMPLES, NUM_STEPS = 2, 5, 256, 3000
oracle = partial(ppca, latent_dim=LATENT, event_dim=EVENT)


def key() -> jax.Array:
    return jax.random.key(1)


def drawn_data() -> np.ndarray:
    """Examples from the oracle's p(x) = ∫ p(x|z) p(z) dz."""
    decoder = jax.tree.map(np.asarray, oracle().params["decoder"])
    rng = np.random.default_rng(2)
    z, noise = rng.normal(size=(NUM_EXAMPLES, LATENT)), rng.normal(size=(NUM_EXAMPLES, EVENT))
    return (z @ decoder["weight"].T + decoder["mean"] + np.exp(decoder["log_scale"]) * noise).astype(np.float32)


def largest_evidence(xs: np.ndarray) -> float:
    """The mean of log p(x) at the maximum of the likelihood, of all pPCA models.

    −½ (D log 2π + Σ_{j≤d} log λ_j + (D − d) log σ² + D), λ the eigenvalues of the data's covariance and σ² the mean of
    the D − d smallest of them (Tipping and Bishop 1999, equations 3, 7 and 8).
    """
    eigenvalues = np.linalg.eigvalsh(np.cov(xs.T.astype(np.float64), bias=True))[::-1]
    variance = eigenvalues[LATENT:].mean()
    log_det = np.log(eigenvalues[:LATENT]).sum() + (EVENT - LATENT) * np.log(variance)
    return -0.5 * (EVENT * np.log(2 * np.pi) + log_det + EVENT)


@pytest.fixture(scope="module")
def fitted():
    """Parameters before and after, the curve, and the data."""
    xs = drawn_data()
    rng = np.random.default_rng(3)
    start = jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.5 * rng.normal(size=leaf.shape), jnp.float32), oracle().params
    )
    params, curve = training.fit(
        partial(losses.over_batch(losses.negative_elbo), vae=oracle().vae),
        start,
        key(),
        xs,
        optimizer=optax.adam(optax.cosine_decay_schedule(0.02, NUM_STEPS)),
        num_steps=NUM_STEPS,
        batch_size=64,
    )
    return start, params, curve, xs


@jax.jit
def exact_means(params, xs):
    """The exact log p(x) and L(x), means over the data."""
    both = jax.vmap(lambda x: (oracle().log_evidence(params, x), oracle().elbo(params, x)))(xs)
    return jax.tree.map(jnp.mean, both)


def test_a_linear_vae_reaches_the_largest_evidence_of_all(fitted):
    """And its bound is tight there: every W of the maximum can be rotated to orthogonal columns (Lucas et al. 2019)."""
    start, params, _, xs = fitted
    best = largest_evidence(xs)
    assert exact_means(start, xs)[0] < best - 0.5
    evidence, elbo = exact_means(params, xs)
    assert best - 5e-3 < elbo <= evidence + 1e-4
    assert evidence < best + 1e-4


def test_the_curve_falls_to_the_exact_bound(fitted):
    """The mean of its last 400 losses, 100 epochs of constant parameters, is −L within their standard error."""
    _, params, curve, xs = fitted
    assert curve.shape == (NUM_STEPS,)
    last = curve[-400:].astype(np.float64)
    assert abs(last.mean() + exact_means(params, xs)[1]) < 4 * last.std() / np.sqrt(len(last))


def test_the_parameters_given_are_left_as_they_were(fitted):
    """The loop donates its state, which must not delete them."""
    rng = np.random.default_rng(3)
    again = jax.tree.map(lambda leaf: (leaf + 0.5 * rng.normal(size=leaf.shape)).astype(np.float32), oracle().params)
    chex.assert_trees_all_equal(fitted[0], again)


def test_one_epoch_sees_every_example_once():
    """SGD on a loss that is linear in the parameters adds the examples up, in whatever order."""
    xs = {"x": np.random.default_rng(4).normal(size=(12, 2)).astype(np.float32), "c": np.arange(12.0, dtype=np.float32)}
    loss = lambda params, keys, batch: (-jnp.sum(params * jnp.sum(batch["x"] * batch["c"][:, None], axis=0)), None)
    params, _ = training.fit(loss, jnp.zeros(2), key(), xs, optimizer=optax.sgd(0.5), num_steps=3, batch_size=4)
    np.testing.assert_allclose(params, 0.5 * xs["c"] @ xs["x"], rtol=1e-5)


def test_the_curve_has_the_loss_of_every_step():
    """Of 2,003 steps, more than are compiled into one call and no multiple of them; the loss is the step."""
    loss = lambda params, keys, batch, step: (jnp.float32(step) + 0 * params, None)
    options = {"optimizer": optax.sgd(0.0), "num_steps": 2003, "batch_size": 1}
    _, curve = training.fit(loss, jnp.zeros(()), key(), np.zeros((2, 1)), **options)
    np.testing.assert_array_equal(curve, np.arange(2003))


def noisy_fit(seed: int) -> tuple[jax.Array, np.ndarray]:
    """A fit whose result is a sum over its order and all its noise."""
    loss = lambda params, keys, xs: (jnp.vdot(params, jax.vmap(jax.random.normal)(keys) * xs), None)
    xs, options = np.arange(10, dtype=np.float32), {"num_steps": 7, "batch_size": 3}
    return training.fit(loss, jnp.zeros(3), jax.random.key(seed), xs, optimizer=optax.sgd(0.1), **options)


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    (params, curve), (same, same_curve), (other, _) = noisy_fit(0), noisy_fit(0), noisy_fit(1)
    np.testing.assert_array_equal(params, same)
    np.testing.assert_array_equal(curve, same_curve)
    assert np.abs(params - other).max() > 0.1


def noisy_state(state: training.TrainState, num_steps: int) -> tuple[training.TrainState, np.ndarray]:
    """Adam on the ELBO of the oracle: what it holds, the order and the noise all show in the next bits."""
    loss = partial(losses.over_batch(losses.negative_elbo), vae=oracle().vae, kl="monte_carlo")
    options = {"optimizer": optax.adam(0.1), "num_steps": num_steps, "batch_size": 3}
    return training.fit_state(loss, state, key(), np.linspace(-1, 1, 50, dtype=np.float32).reshape(10, 5), **options)


@pytest.mark.parametrize("first", [1, 4])
def test_a_fit_continued_from_its_state_has_the_bits_of_one_longer_call(first):
    start = training.init_state(oracle().params, optax.adam(0.1))
    whole, curve = noisy_state(start, 9)
    half, begun = noisy_state(start, first)
    continued, rest = noisy_state(half, 9 - first)
    chex.assert_trees_all_equal(continued, whole)
    np.testing.assert_array_equal(np.concatenate([begun, rest]), curve)
    assert half.step == first  # neither state was donated


def test_the_state_of_another_optimizer_is_refused():
    with pytest.raises(ValueError, match=r"not of this optimizer: make one with .*init_state"):
        noisy_state(training.init_state(oracle().params, optax.sgd(0.1)), 1)


def test_examples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="xs must be finite; 1 of 3 rows are not: 2"):
        fit_badly(key(), xs=np.array([[0.0], [1.0], [np.nan]]))


@pytest.mark.parametrize(
    "bad", [lambda total: jnp.log(total - 1), lambda total: jnp.sqrt(total - 1)], ids=["loss", "gradient-alone"]
)
def test_what_is_not_finite_stops_naming_step_and_examples(bad):
    """At step 4 of SGD from 5 on, where the loss is log 0, or the gradient that of the root of 0."""
    loss = lambda params, keys, batch: (params + jnp.where(params > 1.5, 0.0, bad(jnp.maximum(params, 1.0))), None)
    options = {"optimizer": optax.sgd(1.0), "num_steps": 6, "batch_size": 2}
    with pytest.raises(
        training.NonFiniteError, match=r"at step 4 the loss is .* training examples \[\d, \d\]"
    ) as caught:
        training.fit(loss, jnp.float32(5.0), key(), THREE, **options)
    assert caught.value.step == 4


THREE = np.zeros((3, 1))


def fit_badly(key: jax.Array, batch_size: int = 2, xs: Any = THREE):
    loss = lambda params, keys, batch: (jnp.sum(params), None)
    options = {"optimizer": optax.sgd(0.1), "num_steps": 1, "batch_size": batch_size}
    return training.fit(loss, jnp.zeros(2), key, xs, **options)


@pytest.mark.parametrize("batch_size", [0, 4])
def test_a_batch_that_the_data_cannot_fill_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"a batch of {batch_size} cannot be drawn from 3 examples"):
        fit_badly(key(), batch_size)


@pytest.mark.parametrize(
    ("xs", "message"),
    [
        (
            (np.zeros((6, 2)), np.arange(4.0)),
            r"xs must have one leading axis, .* got lengths \[\(4,\), \(6,\)\]",
        ),
        ([np.zeros((28, 28))] * 3, r"xs is a list of 3: .* numpy\.stack\(xs\)"),
    ],
    ids=["lengths", "list"],
)
def test_data_of_no_common_length_are_refused(xs, message):
    with pytest.raises(ValueError, match=message):
        fit_badly(key(), xs=xs)


@pytest.mark.usefixtures("no_annotations")
def test_a_raw_key_is_refused():
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        fit_badly(jax.random.PRNGKey(0))
