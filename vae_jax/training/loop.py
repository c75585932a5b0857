"""The training loop: chunks of compiled steps, and what happens between them."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Key

from ..data import StreamedImages, batch_indices
from ..parallel import ParallelSteps
from .step import TrainState


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
    on_pause: Callable[[int, TrainState], None],
) -> TrainState:
    """Trains from `state.step` to `num_steps`.

    A chunk ends at every multiple of a period in `pauses`, and at `num_steps`: the chunks depend on the step alone, so
    that a resumed run compiles and computes what the uninterrupted one does. The next chunk is dispatched before the
    last one's metrics are read.

    Args:
      state: where to start; donated.
      key: the run's key, for the batch order and all noise.
      data: a pytree of arrays [N, ...] on the devices of `steps`; or `StreamedImages`, of which each chunk's batches
        are read while the chunk before is computed.
      steps: from `parallel.data_parallel`; of `train_steps`, or `batched` and of `train_batches` for streamed images.
      num_steps: where to stop.
      batch_size: examples in a step's batch, over all devices.
      pauses: periods in steps; the first is the chunk's, at the others `on_pause` is called too.
      throughput: is told each chunk's examples and seconds.
      on_metrics: called with a chunk's last step + 1 and every step's metrics.
      on_pause: called with the step and the state, which it must not keep.

    Raises:
      FloatingPointError: where a loss or a gradient is not finite, naming the step and the rows of its batch; before
        any pause at which that state would be seen.
    """
    order_key, noise_key = jax.random.split(key)
    num_examples = len(jax.tree.leaves(data)[0])
    compiled, pending = {}, None
    step = int(state.step)
    mark = time.perf_counter()

    def report(stop: int, index: np.ndarray, metrics: dict[str, jax.Array]) -> None:
        nonlocal mark
        host = jax.tree.map(np.asarray, metrics)  # waits for the chunk
        now = time.perf_counter()
        throughput.add(len(host["loss"]) * batch_size, now - mark)
        mark = now
        finite = np.isfinite(host["loss"]) & np.isfinite(host["gradient_norm"])
        if not finite.all():
            first = int(np.argmin(finite))
            raise FloatingPointError(
                f"at step {stop - len(finite) + first} the loss is {host['loss'][first]} and the gradient's norm "
                f"{host['gradient_norm'][first]}, for the training examples {index[first].tolist()}"
            )
        on_metrics(stop, host)

    while step < num_steps:
        stop = min(num_steps, *((step // period + 1) * period for period in pauses))
        index = batch_indices(order_key, num_examples=num_examples, batch_size=batch_size, start=step, stop=stop)
        chunk = data[index] if isinstance(data, StreamedImages) else data
        if len(index) not in compiled:
            if pending is not None:
                report(*pending)
                pending = None
            compiled[len(index)] = steps.compile(state, noise_key, chunk, index)
            mark = time.perf_counter()
        state, metrics = compiled[len(index)](state, noise_key, chunk, index)
        if pending is not None:
            report(*pending)
        pending, step = (stop, index, metrics), stop
        if step == num_steps or any(step % period == 0 for period in pauses[1:]):
            report(*pending)
            pending = None
            on_pause(step, state)
            mark = time.perf_counter()
    return state
