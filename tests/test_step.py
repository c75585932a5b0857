"""The training step as a pure function of (state, key, batch, index)."""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from tests.fixed_oracles import linear_gaussian
from vae_jax import losses, oracles, training

LEARNING_RATE, STEP = 0.125, 7
SGD = optax.sgd(LEARNING_RATE)
ROWS = np.array([4, 0, 9, 2, 7], np.int32)
XS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
oracle = partial(linear_gaussian, 1)
SLOPES = {"a": np.float32([3.0, -1.0]), "b": np.float32([[0.5], [2.0]])}


def exact_loss(params, keys, xs):
    """The mean of −L(x), in closed form."""
    return -jnp.mean(jax.vmap(lambda x: oracle().elbo(params, x))(xs)), None


def linear_loss(params, keys, batch):
    """Σ slope·param: its gradient is SLOPES, everywhere."""
    return sum(jax.tree.leaves(jax.tree.map(lambda slope, param: jnp.sum(slope * param), SLOPES, params))), None


def noise_loss(params, keys, batch):
    """Σ_i param_i e_i with e_i ~ N(0, 1) from example i's key: the gradient shows every example's noise."""
    return jnp.vdot(params, jax.vmap(jax.random.normal)(keys)), None


def state_at(params: Any, step: int = STEP, optimizer=SGD, **options) -> training.TrainState:
    return training.init_state(params, optimizer, **options)._replace(step=jnp.int32(step))


def key() -> jax.Array:
    return jax.random.key(2)


def updated(loss_fn, params, batch=XS[ROWS], index=ROWS, *, step: int = STEP) -> tuple[training.TrainState, dict]:
    run = jax.jit(partial(training.train_step, loss_fn=loss_fn, optimizer=SGD))
    return run(state_at(params, step), key(), batch, index)


def contract_noise(rows: np.ndarray, step: int = STEP) -> np.ndarray:
    """One normal number from each row's key, fold_in(fold_in(key, step), row)."""
    keys = [jax.random.fold_in(jax.random.fold_in(key(), step), int(row)) for row in rows]
    return np.array([jax.random.normal(row_key) for row_key in keys])


def test_sgd_moves_the_parameters_against_the_exact_gradient():
    """−lr ∇ mean(−L), from the exact gradients of the examples one by one, summed in float64."""
    state, metrics = updated(exact_loss, oracle().params)
    elbo_and_gradient = jax.jit(jax.value_and_grad(oracle().elbo))
    values, gradients = zip(*(elbo_and_gradient(oracle().params, x) for x in XS[ROWS]), strict=True)
    for moved, before, *parts in zip(*map(jax.tree.leaves, (state.params, oracle().params, *gradients)), strict=True):
        step = LEARNING_RATE * np.mean(np.asarray(parts, np.float64), axis=0)
        assert np.abs(step).max() > 0.01
        np.testing.assert_allclose(moved, before + step, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], -np.mean(values, dtype=np.float64), rtol=1e-5)


def test_the_step_is_counted():
    assert updated(linear_loss, SLOPES)[0].step == STEP + 1


def test_the_step_changes_nothing_that_it_was_given():
    """Called without jit, which would hide it."""
    state, batch, index = arguments = (state_at(SLOPES, average=True), XS[ROWS], jnp.asarray(ROWS))
    before = jax.tree.map(np.array, arguments)
    options = {"loss_fn": linear_loss, "optimizer": SGD, "average_decay": 0.9}
    after, _ = training.train_step(state, key(), batch, index, **options)
    chex.assert_trees_all_equal(arguments, before)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


def test_every_example_draws_from_the_key_of_its_row_and_step():
    """The gradient of Σ param_i e_i is e, bit for bit."""
    state, _ = updated(noise_loss, jnp.zeros(5))
    np.testing.assert_array_equal(state.params, np.float32(-LEARNING_RATE) * contract_noise(ROWS))


def test_a_permuted_batch_gives_the_same_update():
    """Noise belongs to a row, not to a position in the batch: Σ x_i e_i over the batch, in any order."""
    loss = lambda params, keys, xs: (params @ (jax.vmap(jax.random.normal)(keys) @ xs), None)
    order = np.array([3, 1, 4, 0, 2])
    exact = -LEARNING_RATE * contract_noise(ROWS) @ XS[ROWS].astype(np.float64)
    assert np.abs(contract_noise(ROWS)[order] @ XS[ROWS] - contract_noise(ROWS) @ XS[ROWS]).max() > 0.1
    for rows in (ROWS, ROWS[order]):
        np.testing.assert_allclose(updated(loss, jnp.zeros(3), XS[rows], rows)[0].params, exact, rtol=1e-4)


def test_a_loss_of_four_arguments_is_given_the_step():
    """A schedule's value at this step, not at the next."""
    loss = lambda params, keys, batch, step: (params * 0.5**step, None)
    _, metrics = updated(loss, jnp.float32(3.0), step=2)
    assert metrics["loss"] == 0.75


def test_a_loss_with_further_options_needs_no_step():
    """`over_batch`'s loss as it is, with its options bound by name: −log p(x) at the exact posterior."""
    oracle = oracles.ppca(jax.random.key(3), latent_dim=2, event_dim=3)
    loss = partial(losses.over_batch(losses.negative_elbo), vae=oracle.vae, kl="monte_carlo", num_samples=2)
    _, metrics = updated(loss, oracle.with_exact_posterior(oracle.params))
    weight, mean, log_scale = (np.asarray(oracle.params["decoder"][name]) for name in ("weight", "mean", "log_scale"))
    covariance = weight @ weight.T + np.exp(2 * log_scale) * np.eye(3)
    evidence = scipy.stats.multivariate_normal.logpdf(XS[ROWS], mean, covariance)
    np.testing.assert_allclose(metrics["loss"], -np.mean(evidence), rtol=1e-5)


class Diagnostics(NamedTuple):
    """One field of every kind."""

    reconstruction: jax.Array
    kl_per_dimension: jax.Array
    scale: None
    rows: jax.Array
    z: dict[str, jax.Array]


def test_metrics_are_the_means_of_the_scalars_of_each_example():
    """And of nothing else: no vectors, no integers, no None."""
    terms = Diagnostics(jnp.asarray(XS[:5, 0]), jnp.asarray(XS[:5]), None, jnp.arange(5), {"u": jnp.zeros(5)})
    _, metrics = updated(lambda params, keys, batch: (jnp.sum(params), terms), jnp.ones(2))
    assert set(metrics) == {"loss", "gradient_norm", "reconstruction"}
    np.testing.assert_allclose(metrics["reconstruction"], XS[:5, 0].mean(dtype=np.float64), rtol=1e-6)


def test_gradient_norm_is_that_of_all_parameters_together():
    _, metrics = updated(linear_loss, SLOPES)
    flat = np.concatenate([slope.ravel() for slope in SLOPES.values()])
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(flat), rtol=1e-6)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_follows_its_recursion(decay):
    """a ← d a + (1 − d) params, d = min(decay, (1 + t)/(10 + t)); the parameters are p₀ − lr t slope."""
    options = {"loss_fn": linear_loss, "optimizer": SGD, "average_decay": decay}
    index = np.tile(ROWS, (12, 1))
    run = jax.jit(partial(training.train_steps, **options))
    state, _ = run(state_at(SLOPES, 0, average=True), key(), XS, index)
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(len(index))]
    assert (max(decays) == decay) == (decay == 0.5)
    for average, slope in zip(state.average.values(), SLOPES.values(), strict=True):
        expected = slope.astype(np.float64)
        for t, d in enumerate(decays):
            expected = d * expected + (1 - d) * (slope - LEARNING_RATE * (t + 1) * slope)
        np.testing.assert_allclose(average, expected, rtol=1e-5)


def test_the_average_of_bfloat16_parameters_reaches_them():
    """In their own type it would stop half-way, where 0.001 of what is left is rounded to 0."""
    loss = lambda params, keys, batch: (0 * params, None)
    run = jax.jit(partial(training.train_steps, loss_fn=loss, optimizer=SGD, average_decay=0.999))
    state = state_at(jnp.zeros((), jnp.bfloat16), 100_000, average=True)._replace(params=jnp.ones((), jnp.bfloat16))
    state, _ = run(state, key(), XS, np.zeros((20_000, 1), np.int32))
    assert state.params.dtype == jnp.bfloat16
    np.testing.assert_allclose(state.average, 1.0, rtol=1e-4)


@pytest.mark.parametrize("microbatches", [1, 500])
def test_metrics_of_low_precision_are_summed_in_float32(microbatches):
    """A thousand ones in bfloat16 would sum to 256, and the gradient's square be infinite in float16."""
    rows = np.zeros(1000, np.int32)
    terms = lambda xs: Diagnostics(jnp.ones(len(xs), jnp.bfloat16) / 3, xs, None, jnp.arange(len(xs)), {})
    loss = lambda params, keys, xs: (jnp.sum(params) * 300, terms(xs))
    loss = losses.mean_over_examples(loss)
    state, metrics = moved(loss, jnp.ones(2, jnp.float16), rows, microbatches=microbatches)
    assert state.params.dtype == jnp.float16
    assert {value.dtype for value in metrics.values()} == {np.dtype(np.float32)}
    expected = {"loss": 600, "gradient_norm": 300 * np.sqrt(2), "reconstruction": float(jnp.bfloat16(1 / 3))}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)


@pytest.mark.parametrize("microbatches", [1, 5])
def test_a_step_promotes_no_types_by_itself(microbatches):
    options = {"average_decay": 0.9, "microbatches": microbatches, "skip_nonfinite": True}
    loss = losses.mean_over_examples(exact_loss)
    step = partial(training.train_step, loss_fn=loss, optimizer=SGD, **options)
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(step, state_at(oracle().params, average=True), key(), XS[ROWS], jnp.asarray(ROWS))


def test_consecutive_steps_in_a_scan_have_the_batches_and_noise_of_their_rows_and_steps():
    """After S steps the parameters are −lr Σ_s Σ_i x_i e_i(s), the sum over the rows of each step."""
    loss = lambda params, keys, xs: (params @ (jax.vmap(jax.random.normal)(keys) @ xs["x"]), None)
    index = np.array([[1, 8], [3, 0], [8, 5]], np.int32)
    run = jax.jit(partial(training.train_steps, loss_fn=loss, optimizer=SGD))
    state, metrics = run(state_at(jnp.zeros(3)), key(), {"x": XS}, index)
    gradients = [contract_noise(rows, STEP + s) @ XS[rows].astype(np.float64) for s, rows in enumerate(index)]
    before = -LEARNING_RATE * np.concatenate([np.zeros((1, 3)), np.cumsum(gradients, axis=0)])
    np.testing.assert_allclose(state.params, before[-1], rtol=1e-4)
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(gradients, axis=1), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], np.sum(before[:-1] * gradients, axis=1), rtol=1e-4, atol=1e-6)
    assert state.step == STEP + 3


def test_batches_gathered_before_are_trained_on_as_they_are():
    """Ten steps by hand: −lr times the gradient of ½|params|² + Σ_i params·x_i e_i, which is params + Σ_i x_i e_i.

    The batches hold other examples than the rows of `index`, which say what noise is drawn.
    """

    def loss_fn(params, keys, batch):
        noise = jax.vmap(jax.random.normal)(keys)
        terms = Diagnostics(batch["x"][:, 0] * noise, batch["x"], None, batch["number"], {"u": noise})
        return 0.5 * jnp.vdot(params, params) + params @ (noise @ batch["x"]), terms

    rng = np.random.default_rng(4)
    index = rng.permuted(np.tile(np.arange(10, dtype=np.int32), (10, 1)), axis=1)[:, :4]
    batches = {"x": rng.normal(size=(10, 4, 3)).astype(np.float32), "number": rng.integers(9, size=(10, 4))}
    run = jax.jit(partial(training.train_batches, loss_fn=loss_fn, optimizer=SGD))
    state, metrics = run(state_at(jnp.ones(3)), key(), batches, index)

    params, expected = np.ones(3), []
    for step, (rows, xs) in enumerate(zip(index, batches["x"].astype(np.float64), strict=True), start=STEP):
        noise = contract_noise(rows, step).astype(np.float64)
        gradient = params + noise @ xs
        loss = 0.5 * params @ params + params @ (noise @ xs)
        expected.append((loss, np.linalg.norm(gradient), np.mean(xs[:, 0] * noise)))
        params = params - LEARNING_RATE * gradient
    np.testing.assert_allclose(state.params, params, rtol=1e-4, atol=1e-6)
    assert state.step == STEP + 10
    assert set(metrics) == {"loss", "gradient_norm", "reconstruction"}
    measured = np.stack([metrics[name] for name in ("loss", "gradient_norm", "reconstruction")], axis=1)
    np.testing.assert_allclose(measured, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("params", [jnp.float32(1.0), jnp.asarray(1.0), 1.0], ids=["strong", "weak", "python"])
def test_steps_compile_once(params):
    """The state keeps its types from the first step on, whatever types the parameters began with."""
    chex.clear_trace_counter()  # it counts by source: the three cases would share a count

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(state, key, batch, index):
        loss = lambda params, keys, batch: (params**2, None)
        return training.train_step(state, key, batch, index, loss_fn=loss, optimizer=optax.adam(0.1))

    state = training.init_state(params, optax.adam(0.1))
    for _ in range(3):
        state, _ = step(state, key(), XS[ROWS], ROWS)
    assert state.step == 3


def test_the_state_has_its_own_arrays():
    """So that donating it leaves the caller's parameters alone."""
    params = jax.tree.map(jnp.asarray, SLOPES)
    state = training.init_state(params, optax.adam(0.1), average=True)
    jax.tree.map(lambda leaf: leaf.delete(), state)
    chex.assert_trees_all_equal(params, SLOPES)


@pytest.mark.usefixtures("no_annotations")
def test_a_raw_key_is_refused():
    arguments = (state_at(SLOPES), jax.random.PRNGKey(0), XS[ROWS], jnp.asarray(ROWS))
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        training.train_step(*arguments, loss_fn=linear_loss, optimizer=SGD)


def test_a_fourth_argument_with_a_default_is_no_step():
    """`lambda params, keys, batch, vae=vae: …` closes over its last argument."""
    seen = []

    def loss_fn(params, keys, batch, beta=3.0):
        seen.append(beta)
        return jnp.sum(params), None

    updated(loss_fn, jnp.ones(2))
    assert seen == [3.0]


@pytest.mark.parametrize(("average", "decay"), [(True, None), (False, 0.9)])
def test_an_average_without_a_decay_or_a_decay_without_an_average_is_refused(average, decay):
    state = state_at(jnp.ones(2), average=average)
    with pytest.raises(ValueError, match="average_decay"):
        training.train_step(
            state, key(), XS[ROWS], jnp.asarray(ROWS), loss_fn=noise_loss, optimizer=SGD, average_decay=decay
        )


def moved(loss_fn, params, rows=ROWS, *, microbatches: int) -> tuple[training.TrainState, dict]:
    """By plain SGD, which hides no factor."""
    run = jax.jit(partial(training.train_step, loss_fn=loss_fn, optimizer=SGD, microbatches=microbatches))
    return run(state_at(params), key(), XS[rows], rows)


@pytest.mark.parametrize("microbatches", [2, 3, 6])
def test_microbatches_move_the_parameters_as_the_whole_batch_does(microbatches):
    """Exactly: against the gradients of the examples one by one, each with the noise of its row, in float64."""
    rows = np.array([4, 0, 9, 2, 7, 5], np.int32)
    loss = losses.over_batch(losses.negative_elbo)
    options = {"vae": oracle().vae, "kl": "monte_carlo", "num_samples": 2}
    one = jax.jit(jax.value_and_grad(lambda params, key, x: loss(params, key[None], x[None], **options)[0]))
    step_key = jax.random.fold_in(key(), STEP)
    parts = [one(oracle().params, jax.random.fold_in(step_key, int(row)), XS[row]) for row in rows]
    values, gradients = zip(*parts, strict=True)
    state, metrics = moved(partial(loss, **options), oracle().params, rows, microbatches=microbatches)
    for after, before, *each in zip(*map(jax.tree.leaves, (state.params, oracle().params, *gradients)), strict=True):
        step = LEARNING_RATE * np.mean(np.asarray(each, np.float64), axis=0)
        assert np.abs(step).max() > 0.01
        np.testing.assert_allclose(after, np.asarray(before, np.float64) - step, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(metrics["loss"], np.mean(values, dtype=np.float64), rtol=1e-5)


def test_microbatches_report_the_means_over_the_whole_batch():
    rows = np.array([4, 0, 9, 2], np.int32)
    terms = lambda xs: Diagnostics(xs[:, 0], xs, None, jnp.arange(len(xs)), {})
    loss = lambda params, keys, xs: (jnp.sum(params) * jnp.mean(xs), terms(xs))
    _, metrics = moved(losses.mean_over_examples(loss), jnp.ones(2), rows, microbatches=2)
    assert set(metrics) == {"loss", "gradient_norm", "reconstruction"}
    np.testing.assert_allclose(metrics["reconstruction"], XS[rows, 0].mean(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], np.sqrt(2) * abs(XS[rows].mean(dtype=np.float64)), rtol=1e-5)


@pytest.mark.parametrize("options", [{"replace": losses.free_bits(0.1)}, {"add": (lambda terms: jnp.float32(0.0),)}])
def test_microbatches_of_a_loss_of_the_whole_batch_are_refused(options):
    """However its options are bound."""
    loss = partial(partial(losses.over_batch(losses.negative_elbo, **options), vae=oracle().vae), kl="analytic")
    with pytest.raises(ValueError, match="a mean over examples; this one has `add` or `replace`"):
        moved(loss, oracle().params, ROWS[:4], microbatches=2)


def test_microbatches_of_a_loss_that_does_not_say_what_it_is_are_refused():
    """A function around a batch's loss hides whether its value is a mean over examples."""
    inner = partial(losses.over_batch(losses.negative_elbo, replace=losses.free_bits(0.1)), vae=oracle().vae)
    with pytest.raises(ValueError, match=r"which this function does not say: .* losses\.mean_over_examples"):
        moved(lambda params, keys, xs: inner(params, keys, xs), oracle().params, ROWS[:4], microbatches=2)


def test_microbatches_of_uneven_size_are_refused():
    with pytest.raises(ValueError, match="a device's batch of 5 cannot be divided into 2 microbatches"):
        moved(losses.mean_over_examples(exact_loss), oracle().params, microbatches=2)


NOT_FINITE = {
    "loss": lambda params: (jnp.log(-jnp.sum(params)), None),
    "gradient-alone": lambda params: (1 + jnp.sqrt(0 * jnp.sum(params)), None),
    "infinite": lambda params: (jnp.inf * jnp.sum(params), None),
}


@pytest.mark.parametrize("case", NOT_FINITE)
def test_a_skipped_step_changes_nothing_but_its_number(case):
    """Parameters, optimiser and average keep their bits; the metrics show why."""
    adam = optax.adam(0.1)
    state = state_at(jnp.ones(3), optimizer=adam, average=True)
    options = {"optimizer": adam, "average_decay": 0.9, "skip_nonfinite": True}
    loss = lambda params, keys, batch: NOT_FINITE[case](params)
    run = jax.jit(partial(training.train_step, loss_fn=loss, **options))
    after, metrics = run(state, key(), XS[ROWS], ROWS)
    chex.assert_trees_all_equal(after, state._replace(step=jnp.int32(STEP + 1)))
    assert not np.isfinite([metrics["loss"], metrics["gradient_norm"]]).all()


def test_a_finite_step_is_the_same_where_others_would_be_skipped():
    run = jax.jit(partial(training.train_step, loss_fn=exact_loss, optimizer=SGD, skip_nonfinite=True))
    state, _ = run(state_at(oracle().params), key(), XS[ROWS], ROWS)
    chex.assert_trees_all_equal(state, updated(exact_loss, oracle().params)[0])
