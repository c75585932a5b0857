"""The loop of a run: chunks, what happens between them, and when it stops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import parallel, training

XS = np.arange(20, dtype=np.float32).reshape(10, 2)
SGD = optax.sgd(0.125)


def constant_gradient(params, keys, batch):
    """Σ params: every step of SGD takes 0.125 off every parameter."""
    return jnp.sum(params), None


def train(loss_fn, told: list, paused: list, *, num_steps: int, pauses: tuple[int, ...], start=None):
    """The final state and throughput; what the loop tells of goes into the lists: (step, losses), (step, parameter)."""
    mesh = parallel.data_mesh(jax.devices()[:1])
    state = training.init_state(jnp.ones(3), SGD) if start is None else start
    state, key, data = parallel.replicate((state, jax.random.key(0), XS), mesh)
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
        on_pause=lambda step, state: paused.append((step, float(state.params[0]))),
    )
    return state, throughput


def test_chunks_end_at_every_period_and_the_pauses_see_the_state_of_their_step():
    told, paused = [], []
    state, throughput = train(constant_gradient, told, paused, num_steps=11, pauses=(4, 6))
    assert told == [(4, 4), (6, 2), (8, 2), (11, 3)]
    assert paused == [(6, 1 - 6 * 0.125), (11, 1 - 11 * 0.125)]
    np.testing.assert_array_equal(state.params, np.full(3, 1 - 11 * 0.125))
    assert throughput.examples_per_second > 0


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


def test_throughput_leaves_out_the_first_chunk_unless_it_is_the_only_one():
    throughput = training.Throughput()
    assert throughput.examples_per_second is None
    throughput.add(100, 10.0)
    assert throughput.examples_per_second == 10.0
    throughput.add(100, 1.0)
    throughput.add(200, 2.0)
    assert throughput.examples_per_second == 100.0
