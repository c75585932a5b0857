"""Where a run's numbers are kept: metrics.jsonl, TensorBoard and, if asked for, Weights & Biases."""

import contextlib
import importlib
import itertools
import math
import operator
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.summary import scalar

from vae_jax import parallel
from vae_jax.training import json_files

from ..command.errors import UserError
from .workdir import METRICS

# Figures need no more lines of a split than this; a long run has millions.
_MOST_LINES = 5000
_BLOCK_BYTES = 2**16


class MetricsLog:
    """metrics.jsonl and TensorBoard events of a run, from a given step on: later lines of a killed run are cut off.

    With `wandb_project` also a Weights & Biases run, named after the workdir, with `config`.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        step: int,
        wandb_project: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        self._path = workdir / METRICS
        self._file = self._path.open("a+b")
        last = _cut(self._file, step)
        # The splits that have a line of the last step.
        self._step, self._splits = step, {line["split"] for line in last if line["step"] == step}
        # Seconds of the run so far, over all the processes that worked on it.
        self._start = time.perf_counter() - max((line["seconds"] for line in last), default=0.0)
        self._events = _Events(workdir, first_step=step + 1 if step else None)
        self._wandb = None
        if wandb_project is not None:
            self._wandb = import_wandb().init(
                project=wandb_project, name=workdir.name, dir=str(workdir), config=config, resume="allow"
            )

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All are closed, in the reverse order, whichever fails; of several errors the last is raised.
        with contextlib.ExitStack() as stack:
            if self._wandb is not None:
                stack.callback(self._wandb.finish)
            stack.enter_context(json_files.naming(self._path))
            stack.callback(self._file.close)  # which writes what `write` could not
            stack.callback(self._events.close)

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """One line: {"step", "split", "seconds", ...values}; none where there is one of this step and split.

        An evaluation is repeated where its run was interrupted before its score was saved.
        """
        if step != self._step:
            self._step, self._splits = step, set()
        if split in self._splits:
            return
        self._splits.add(split)
        line = {"step": step, "split": split, "seconds": round(self.seconds(), 3), **values}
        with json_files.naming(self._path):
            self._file.write(json_files.to_text(line).encode() + b"\n")
            self._file.flush()
        for name, value in values.items():
            self._events.add(f"{split}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of the run so far, as `read_metrics` reads them."""
        return read_metrics(self._path)

    def seconds(self) -> float:
        """Wall-clock seconds of the run, those before a kill included."""
        return time.perf_counter() - self._start


class _Events:
    """TensorBoard's scalars, written by this thread: that of tensorboardX's `SummaryWriter` dies with a traceback where
    the disk is full, and what is written after waits for it for ever."""

    def __init__(self, folder: Path, *, first_step: int | None) -> None:
        """From `first_step` on, what earlier files hold is not shown."""
        self._folder, self._writer = folder, EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()
        if first_step is not None:
            log = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(step=first_step, wall_time=time.time(), session_log=log))

    def add(self, name: str, value: float, step: int) -> None:
        with json_files.naming(self._folder):
            self._writer.write_event(Event(step=step, wall_time=time.time(), summary=scalar(name, value)))
            if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
                self._writer.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        with json_files.naming(self._folder):
            self._writer.close()


_SECONDS_BETWEEN_FLUSHES = 30  # each waits for the disk


class NoLog:
    """In the place of a `MetricsLog`, in all processes but the first."""

    lines: tuple[dict[str, Any], ...] = ()

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        pass


@contextlib.contextmanager
def open_log(workdir: Path, **options: Any) -> Iterator[MetricsLog | NoLog]:
    """The `MetricsLog` of a run, which its first process writes."""
    if not parallel.is_first_process():
        yield NoLog()
        return
    with MetricsLog(workdir, **options) as log:
        yield log


def import_wandb() -> Any:
    """The optional package; raises `UserError` naming the extra where it is not installed."""
    try:
        return importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        raise UserError("--wandb_project needs the package wandb: pip install 'vae_jax[wandb]'") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl; evenly spaced ones of a split that has very many, and NaN in place of null.

    What is no such line, as one that a kill cut short, is left out.
    """
    if not path.exists():
        return []
    kept: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    seen: dict[str, int] = {}
    every: dict[str, int] = {}
    with path.open("rb") as file:
        for number, text in enumerate(file):
            if (line := _parsed(text)) is None:
                continue
            split = line["split"]
            at = seen[split] = seen.get(split, -1) + 1
            lines = kept.setdefault(split, [])
            if at % every.setdefault(split, 1) == 0:
                lines.append((number, line))
            if len(lines) > _MOST_LINES:
                del lines[1::2]
                every[split] *= 2
    return [line for _, line in sorted(itertools.chain(*kept.values()), key=operator.itemgetter(0))]


def _cut(file: BinaryIO, step: int) -> list[dict[str, Any]]:
    """Cuts the lines of later steps off the end of a log, and returns those of the last step that is left."""
    last: list[dict[str, Any]] = []
    end = None
    for start, text in _from_the_end(file):
        line = _parsed(text)
        if line is None or line["step"] > step:
            continue
        if last and line["step"] != last[0]["step"]:
            break
        if end is None:
            end = start + len(text)
        last.append(line)
    file.truncate(end or 0)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return last


def _from_the_end(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yields (offset, line with its end) from the last line to the first; the file's position is not kept."""
    start, rest = file.seek(0, os.SEEK_END), b""
    while start > 0:
        size = min(_BLOCK_BYTES, start)
        start -= size
        file.seek(start)
        lines = (file.read(size) + rest).splitlines(keepends=True)
        # The first may have begun in the block before.
        rest = lines[0] if start > 0 else b""
        at = start + sum(map(len, lines))
        for line in reversed(lines[1:] if start > 0 else lines):
            at -= len(line)
            yield at, line


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Returns the line that `MetricsLog.write` wrote, or None."""
    try:
        line = json_files.from_text(text)
        if type(line) is not dict or type(line.get("step")) is not int or line.get("seconds") is None:
            return None
        step, split = line.pop("step"), line.pop("split", None)
        # A bool is of neither type; no call of a function for each, since a long run has millions.
        if type(split) is not str or not all(type(v) in (float, int, _NONE) for v in line.values()):
            return None
        numbers = {name: math.nan if value is None else float(value) for name, value in line.items()}
    except (OverflowError, ValueError):
        return None
    return {"step": step, "split": split, **numbers}


_NONE = type(None)
