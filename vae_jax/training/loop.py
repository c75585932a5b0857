"""The training loop: chunks of compiled steps, and what happens between them."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, Key

from ..checks import count_rows
from ..data import batch_indices
from ..parallel import ParallelSteps, ask_all
from .step import TrainState


class NonFiniteError(FloatingPointError):
    """A loss or a gradient that is not finite, at `step`, for the examples in `rows` of the data."""

    def __init__(self, step: int, rows: np.ndarray, loss: float, gradient_norm: float) -> None:
        super().__init__(
            f"at step {step} the loss is {loss} and the gradient's norm {gradient_norm}, for the training examples "
            f"{rows.tolist()}"
        )
        self.step, self.rows = step, rows


def non_finite(
    stop: int, index: Int[np.ndarray, "steps batch"], metrics: dict[str, np.ndarray]
) -> tuple[Bool[np.ndarray, " steps"], list[NonFiniteError]]:
    """Returns which of the steps before `stop` are finite in loss and gradient, and an error for each that is not."""
    finite = np.isfinite(metrics["loss"]) & np.isfinite(metrics["gradient_norm"])
    first = stop - len(finite)
    errors = [
        NonFiniteError(first + int(bad), index[bad], *(float(metrics[name][bad]) for name in ("loss", "gradient_norm")))
        for bad in np.flatnonzero(~finite)
    ]
    return finite, errors


def _raise(error: NonFiniteError) -> None:
    raise error


class Throughput:
    """Examples per second of training alone: without compilation, without what runs between chunks, and without the
    first chunk unless there is no other."""

    def __init__(self) -> None:
        self._examples: list[int] = []
        self._seconds: list[float] = []

    def add(self, examples: int, seconds: float) -> None:
        self._examples.append(examples)
        self._seconds.append(seconds)

    @property
    def examples_per_second(self) -> float | None:
        """None before the first chunk."""
        first = 1 if len(self._examples) > 1 else 0
        seconds = sum(self._seconds[first:])
        return sum(self._examples[first:]) / seconds if seconds else None


def run_keys(key: Key[jax.Array, ""]) -> tuple[Key[jax.Array, ""], Key[jax.Array, ""]]:
    """(the key of the batch order, the key of all noise) of a run's key."""
    order_key, noise_key = jax.random.split(key)
    return order_key, noise_key


def run(
    state: TrainState,
    key: Key[jax.Array, ""],
    data: Any,
    *,
    steps: ParallelSteps,
    num_steps: int,
    batch_size: int,
    pauses: tuple[int, ...],
    throughput: Throughput,
    on_metrics: Callable[[int, dict[str, np.ndarray]], None],
    on_pause: Callable[[int, TrainState], bool | None],
    on_nonfinite: Callable[[NonFiniteError], None] = _raise,
    interrupted: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Trains from `state.step` to `num_steps`, to a pause that ends it, or to the end of the chunk in which it is
    interrupted.

    A chunk ends at every multiple of a period in `pauses`, and at `num_steps`: the chunks depend on the step alone, so
    that a resumed run compiles and computes what the uninterrupted one does. The next chunk is dispatched before the
    last one's metrics are read.

    Args:
      state: where to start; donated.
      key: the run's key, for the batch order and all noise.
      data: a pytree of arrays [N, ...] on the devices of `steps`; or, for `batched` ones, anything that is indexed by
        rows, `Streamed` for one, of which each chunk's batches are read while the chunk before is computed.
      steps: from `parallel.data_parallel`; of `train_steps`, or `batched` and of `train_batches`.
      num_steps: where to stop.
      batch_size: examples in a step's batch, over all devices.
      pauses: periods in steps; the first is the chunk's, at the others `on_pause` is called too.
      throughput: is told each chunk's examples and seconds.
      on_metrics: called with a chunk's last step + 1 and every step's metrics.
      on_pause: called with the step and the state, which it must not keep; training ends where it returns True.
      on_nonfinite: called for every step whose loss or gradient is not finite, which is then left out of the metrics;
        before any pause at which that state would be seen.
      interrupted: asked once a chunk, in every process; where it is true in any, all return. The caller sees by the
        state's step.

    Raises:
      NonFiniteError: unless `on_nonfinite` does otherwise.
      ValueError: for arrays of different lengths, or a batch larger than the data.
    """
    order_key, noise_key = run_keys(key)
    num_examples = count_rows(data, "data")
    compiled, pending = {}, None
    step = int(state.step)
    mark = time.perf_counter()

    def report(stop: int, index: np.ndarray, metrics: dict[str, jax.Array]) -> None:
        nonlocal mark
        host = {name: np.asarray(values.addressable_data(0)) for name, values in metrics.items()}  # waits for the chunk
        now = time.perf_counter()
        throughput.add(len(host["loss"]) * batch_size, now - mark)
        mark = now
        finite, errors = non_finite(stop, index, host)
        for error in errors:
            on_nonfinite(error)
        if finite.any():
            on_metrics(stop, {name: values[finite] for name, values in host.items()})

    while step < num_steps:
        stop = min(num_steps, *((step // period + 1) * period for period in pauses))
        index = batch_indices(order_key, num_examples=num_examples, batch_size=batch_size, start=step, stop=stop)
        if len(index) not in compiled:
            if pending is not None:
                report(*pending)
                pending = None
            compiled[len(index)] = steps.compile(state, noise_key, data, index)
            mark = time.perf_counter()
        ends = ask_all(interrupted)
        state, metrics = compiled[len(index)](state, noise_key, data, index)
        if pending is not None:
            report(*pending)
        pending, step, stops = (stop, index, metrics), stop, False
        if step == num_steps or any(step % period == 0 for period in pauses[1:]):
            report(*pending)
            pending = None
            stops = on_pause(step, state)
            mark = time.perf_counter()
        if ends() or stops:
            break
    if pending is not None:
        report(*pending)
    return state
