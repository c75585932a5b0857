"""Contenders in processes of their own, which take turns: A B C, A B C, ….

A machine's speed drifts, so that only ratios within a round say anything; and what one library's threads keep of the
processor or of the memory must not be another's loss.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .device_time import device_seconds

Call = Callable[[], float | None]
"""Does the work once, to its end; returns the seconds that count, or None for those that it took."""

Make = Callable[[], Call]
"""Prepares a contender in its process; a function that can be pickled."""

# What a contender's process is asked for.
_TIMED, _TRACED = "timed", "traced"


class Contender(NamedTuple):
    """What is timed, and how many steps of it one call does."""

    make: Make
    steps: int


class Times(NamedTuple):
    """Of one contender.

    Attributes:
      seconds: a step's, in every round.
      failure: why there are none.
      on_device: the seconds of a step in which an accelerator was at work, in one more call; None without one.
    """

    seconds: tuple[float, ...]
    failure: str | None = None
    on_device: float | None = None

    def over(self, other: "Times") -> tuple[float, float, float] | None:
        """Returns the quartiles of the ratio to another's time of the same round: the lower, the median, the upper."""
        if not self.seconds or not other.seconds:
            return None
        return quartiles([mine / its for mine, its in zip(self.seconds, other.seconds, strict=True)])

    @property
    def milliseconds(self) -> tuple[float, float, float] | None:
        """The quartiles of a step's time: the lower, the median, the upper."""
        return quartiles([1e3 * value for value in self.seconds]) if self.seconds else None


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Returns the lower quartile, the median and the upper quartile."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, median, upper


def time_interleaved(contenders: Mapping[str, Contender], *, rounds: int) -> dict[str, Times]:
    """Returns the times of each contender, which in every round are called one after another, once each."""
    # Of several processes that share an accelerator none may take its memory beforehand.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    context = multiprocessing.get_context("spawn")
    started, failures = {}, {}
    try:
        for name, contender in contenders.items():
            ours, its = context.Pipe()
            process = context.Process(target=_serve, args=(its, contender.make), daemon=True)
            process.start()
            its.close()
            started[name] = process, ours
            failure = _answer(ours)
            if failure is not None:
                failures[name] = failure
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, contender in contenders.items():
                if name not in failures:
                    connection = started[name][1]
                    connection.send(_TIMED)
                    seconds[name].append(_answer(connection) / contender.steps)
        on_device = dict.fromkeys(contenders)
        for name in [name for name in contenders if name not in failures]:
            connection = started[name][1]
            connection.send(_TRACED)
            traced = _answer(connection)
            on_device[name] = None if traced is None else traced / contenders[name].steps
        return {name: Times(tuple(seconds[name]), failures.get(name), on_device[name]) for name in contenders}
    finally:
        for process, connection in started.values():
            connection.close()
            process.join(10)
            if process.is_alive():
                process.terminate()


def _answer(connection: Any) -> Any:
    try:
        return connection.recv()
    except EOFError as error:
        raise RuntimeError("a contender's process has died") from error


def _serve(connection: Any, make: Make) -> None:
    try:
        call = make()
        call()  # compiles
    except Exception as error:  # a library may be missing, or have no compiler; the others are timed without it
        connection.send(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
        return
    connection.send(None)
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        if asked == _TRACED:
            connection.send(device_seconds(call))
            continue
        start = time.perf_counter()
        counted = call()
        connection.send(time.perf_counter() - start if counted is None else counted)
