"""Where a run's numbers are kept, metrics.jsonl, and shown, by trackers."""

import contextlib
import itertools
import math
import operator
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from vae_jax import parallel
from vae_jax.training import json_files

from .trackers import Tracked, Trackers
from .workdir import METRICS

# Figures need no more lines of a split than this; a long run has millions.
_MOST_LINES = 5000
_BLOCK_BYTES = 2**16


class MetricsLog:
    """metrics.jsonl of a run, from a given step on, and its trackers: later lines of a killed run are cut off."""

    def __init__(
        self,
        workdir: Path,
        *,
        step: int,
        track: str = "tensorboard",
        config: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> None:
        """Opens the log; raises `ValueError` for trackers that are unknown.

        Args:
          workdir: the run's folder.
          step: that from which the run goes on.
          track: the trackers, joined by " + ".
          config: the fields of the run's config by their dotted names.
          run_id: the run's name for itself.
        """
        self._path, self._config = workdir / METRICS, config or {}
        self._file = self._path.open("a+b")
        last = _cut(self._file, step)
        # The splits that have a line of the last step.
        self._step, self._splits = step, {line["split"] for line in last if line["step"] == step}
        # Seconds of the run so far, over all the processes that worked on it.
        self._start = time.perf_counter() - max((line["seconds"] for line in last), default=0.0)
        self._trackers = Trackers(track, Tracked(workdir, run_id, step, self._config))

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Both are closed, whichever fails; of two errors that of the file is raised.
        with contextlib.ExitStack() as stack:
            stack.enter_context(json_files.naming(self._path))
            stack.callback(self._file.close)  # which writes what `write` could not
            stack.callback(self._trackers.close)

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
        self._trackers.scalars(step, {f"{split}/{name}": value for name, value in values.items()})

    def show_results(self, step: int, results: Mapping[str, float | None], pictures: Path) -> None:
        """Shows with the trackers what a run came to at its last step: numbers of the test split, of which some may be
        None, the PNG files of a folder, and which config led to them."""
        finite = {
            f"test/{name}": value for name, value in results.items() if value is not None and math.isfinite(value)
        }
        self._trackers.scalars(step, finite)
        self._trackers.images(step, {path.stem: path for path in sorted(pictures.glob("*.png"))})
        self._trackers.hyper_parameters(self._config, finite)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of the run so far, as `read_metrics` reads them."""
        return read_metrics(self._path)

    def seconds(self) -> float:
        """Wall-clock seconds of the run, those before a kill included."""
        return time.perf_counter() - self._start


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
