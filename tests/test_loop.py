"""The loop of a run: chunks, what happens between them, and when it stops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import data, parallel, training

XS = np.arange(20, dtype=np.float32).reshape(10, 2)
SGD = optax.sgd(0.125)


def constant_gradient(params, keys, batch):
    """Σ params: every step of SGD takes 0.125 off every parameter."""
    return jnp.sum(params), None


def train(loss_fn, told: list, paused: list, *, num_steps: int, pauses: tuple[int, ...], start=None, xs=XS, last=None):
    """The final state and throughput; what the loop tells of goes into the lists: (step, losses), (step, parameter).

    The pause at the step `last` ends it.
    """
    mesh = parallel.data_mesh(jax.devices()[:1])
    state = training.init_state(jnp.ones(3), SGD) if start is None else start
    state, key, data = parallel.replicate((state, jax.random.key(0), xs), mesh)
    steps = partial(training.train_steps, loss_fn=loss_fn, optimizer=SGD)
    throughput = training.Throughput()
    state = training.run(
        state,
        key,
        data,
        steps=parallel.data_parallel(steps, mesh=mesh),
        num_steps=num_steps,
        batch_size=5,
        pauses=pauses,
        throughput=throughput,
        on_metrics=lambda step, metrics: told.append((step, len(metrics["loss"]))),
        on_pause=lambda step, state: paused.append((step, float(state.params[0]))) or step == last,
    )
    return state, throughput


def test_chunks_end_at_every_period_and_the_pauses_see_the_state_of_their_step():
    told, paused = [], []
    state, throughput = train(constant_gradient, told, paused, num_steps=11, pauses=(4, 6))
    assert told == [(4, 4), (6, 2), (8, 2), (11, 3)]
    assert paused == [(6, 1 - 6 * 0.125), (11, 1 - 11 * 0.125)]
    np.testing.assert_array_equal(state.params, np.full(3, 1 - 11 * 0.125))
    assert throughput.examples_per_second > 0


def test_a_pause_that_returns_true_ends_the_run_at_its_step():
    told, paused = [], []
    state, _ = train(constant_gradient, told, paused, num_steps=20, pauses=(4, 6), last=12)
    assert [step for step, _ in told] == [4, 6, 8, 12]
    assert [step for step, _ in paused] == [6, 12]
    assert int(state.step) == 12


def test_a_run_goes_on_from_the_step_of_its_state():
    start = training.init_state(jnp.ones(3), SGD)._replace(step=jnp.int32(8))
    told = []
    state, _ = train(constant_gradient, told, [], num_steps=11, pauses=(4,), start=start)
    assert told == [(11, 3)]
    assert int(state.step) == 11


@pytest.mark.parametrize(
    "loss",
    [lambda total: jnp.log(-total), lambda total: 1 + jnp.sqrt(0 * total)],
    ids=["loss", "gradient-alone"],
)
def test_what_is_not_finite_stops_before_any_pause_naming_step_and_examples(loss):
    """In a single step, whose loss (the logarithm of −3) or gradient alone (that of the root of 0) is no number."""
    told, paused = [], []

    def loss_fn(params, keys, batch):
        return loss(jnp.sum(params)), None

    message = r"at step 0 the loss is .* training examples \[\d, \d, \d, \d, \d\]"
    with pytest.raises(FloatingPointError, match=message):
        train(loss_fn, told, paused, num_steps=1, pauses=(20, 40))
    assert told == []
    assert paused == []


def test_arrays_of_different_lengths_are_refused():
    """XLA would read the last label for every row beyond it."""
    with pytest.raises(ValueError, match=r"data must have one leading axis, .* got lengths \[\(4,\), \(10,\)\]"):
        train(constant_gradient, [], [], num_steps=1, pauses=(1,), xs=(XS, np.arange(4.0)))


def test_throughput_leaves_out_the_first_chunk_unless_it_is_the_only_one():
    throughput = training.Throughput()
    assert throughput.examples_per_second is None
    throughput.add(100, 10.0)
    assert throughput.examples_per_second == 10.0
    throughput.add(100, 1.0)
    throughput.add(200, 2.0)
    assert throughput.examples_per_second == 100.0


class Bytes:
    """Twelve images, read one chunk at a time; `events` is told of every reading."""

    contents = data.pictures((2, 3, 1))
    images = np.random.default_rng(0).integers(0, 256, (12, 2, 3, 1), dtype=np.uint8)

    def __init__(self, events: list) -> None:
        self.events = events

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray):
        self.events.append("read")
        return self.images[rows], None


def noisy_loss(params, keys, images):
    """Its gradient has every example's bytes and noise, and the parameters."""
    noise = jax.vmap(jax.random.normal)(keys)
    residuals = images.reshape(len(keys), -1) / 255 @ params + noise
    return jnp.mean(residuals**2), None


def trained_on_images(images, steps, events: list, *, batched: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """The parameters after eleven steps, in chunks of two and one of one, and the losses of every chunk."""
    mesh = parallel.data_mesh(jax.devices()[:1])
    state, key = parallel.replicate((training.init_state(jnp.ones(6), SGD), jax.random.key(0)), mesh)
    losses = []

    def on_metrics(step, metrics):
        events.append(step)
        losses.append(metrics["loss"])

    steps = partial(steps, loss_fn=noisy_loss, optimizer=SGD)
    state = training.run(
        state,
        key,
        images,
        steps=parallel.data_parallel(steps, mesh=mesh, batched=batched),
        num_steps=11,
        batch_size=5,
        pauses=(2, 6),
        throughput=training.Throughput(),
        on_metrics=on_metrics,
        on_pause=lambda step, state: None,
    )
    return np.asarray(state.params), losses


def test_streamed_images_give_the_bits_of_those_in_memory_each_chunk_read_before_the_last_is_waited_for():
    events: list = []
    streamed = data.Streamed(Bytes(events), np.array([7, 0, 3, 11, 4, 1, 10, 2, 9], np.int64))
    in_memory = jnp.asarray(Bytes.images[[7, 0, 3, 11, 4, 1, 10, 2, 9]])
    params, losses = trained_on_images(streamed, training.train_batches, events, batched=True)
    expected, expected_losses = trained_on_images(in_memory, training.train_steps, [], batched=False)
    np.testing.assert_array_equal(params, expected)
    for loss, expected_loss in zip(losses, expected_losses, strict=True):
        np.testing.assert_array_equal(loss, expected_loss)
    # Before a chunk of another length is compiled, the last is waited for.
    assert events.pop(0) == "read"  # of one, whose shape it has
    assert events == ["read", "read", 2, "read", 4, 6, "read", "read", 8, 10, "read", 11]
    assert np.abs(params - 1).min() > 0.01
