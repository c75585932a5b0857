"""What the JSON and CSV files of a run's folder say; neither its data nor its parameters are read."""

import contextlib
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import runs
from vae_jax.training import json_files

from ..command.errors import user_errors
from ..run import workdir
from ..run.config import Config
from ..run.metrics import read_metrics
from .rows import Row

_ERROR = "_standard_error"


class Record(NamedTuple):
    """A run by its files.

    Attributes:
      folder: of the run.
      stored: its config, its name for itself and the fingerprint of its data.
      summary: of summary.json; None before the run's end.
      lines: of metrics.jsonl.
      evaluation: of evaluation.json; None where there is none.
      rows: the figures of `evaluation`, with the labels of evaluation/summary.csv.
      trained_with: the versions of the packages, and the commit, of the newest checkpoint.
    """

    folder: Path
    stored: workdir.Stored
    summary: dict[str, Any] | None
    lines: list[dict[str, Any]]
    evaluation: dict[str, Any] | None
    rows: list[Row]
    trained_with: dict[str, str]

    @property
    def config(self) -> Config:
        return self.stored.config

    @property
    def name(self) -> str:
        """The folder's own name, which is no "." or ".."."""
        return self.folder.resolve().name or str(self.folder)

    def test(self) -> dict[str, Any]:
        """Returns the figures of the test set in the summary; {} before the run's end."""
        return (self.summary or {}).get("test") or {}


def read(folder: Path) -> Record:
    """Returns the record of a run's folder.

    Raises:
      UserError: where there is no run, or one of its files is damaged.
    """
    stored = workdir.read_stored(folder)
    with user_errors():
        summary = _object(folder / workdir.SUMMARY)
        evaluation = _object(folder / workdir.EVALUATION)
        rows = list(_rows(evaluation or {}, _labels(folder / workdir.TABLES / "summary.csv")))
        lines = read_metrics(folder / workdir.METRICS)
        return Record(folder, stored, summary, lines, evaluation, rows, _trained_with(folder))


def curve(lines: list[dict[str, Any]], split: str, name: str) -> tuple[list[int], list[float]]:
    """Returns (steps, values) of a metric in the lines of metrics.jsonl."""
    chosen = [line for line in lines if line["split"] == split and name in line]
    return [line["step"] for line in chosen], [line[name] for line in chosen]


def _object(path: Path) -> dict[str, Any] | None:
    return json_files.read_object(path) if path.exists() else None


def _trained_with(folder: Path) -> dict[str, str]:
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError), runs.open_checkpoints(folder) as checkpoints:
        step = checkpoints.latest_step()
        found = {} if step is None else checkpoints.metadata(step, versions=dict | None, commit=str | None)
    versions = {name: str(version) for name, version in (found.get("versions") or {}).items()}
    return versions | ({"commit": found["commit"]} if found.get("commit") else {})


def _labels(path: Path) -> dict[str, dict[str, str]]:
    """Returns what the table of an evaluation calls each figure, by its place in evaluation.json."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row.get("path", ""): row for row in csv.DictReader(file)}


def _rows(evaluation: Mapping[str, Any], labels: Mapping[str, Mapping[str, str]]) -> Iterator[Row]:
    told = {name: evaluation.get(name) or {} for name in ("remarks", "reasons")}
    for path, value, beside in _figures({k: v for k, v in evaluation.items() if k not in _NO_FIGURES}):
        about = labels.get(path, {})
        number = beside.get("num_examples")
        yield Row(
            path,
            about.get("label", path),
            value,
            beside.get(path.rpartition(".")[2] + _ERROR),
            unit=about.get("unit", ""),
            num_examples=number if isinstance(number, int) else None,
            examples=about.get("examples", ""),
            remark=str(told["remarks"].get(path, "")),
            reason=str(told["reasons"].get(path, "")),
        )


_NO_FIGURES = ("step", "weights", "remarks", "reasons", "format_version")


def _figures(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yields (place, value, what stands beside it) of each figure."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{name}.")
        elif not name.endswith(_ERROR) and name != "num_examples":
            yield prefix + name, value, tree
