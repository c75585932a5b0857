"""Runs beside one another: their figures, and how these differ from the first run's, with errors."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import evaluation

from ..run import workdir
from ..run.config import changed, describe
from .record import Record
from .rows import Row, is_number

# What log p is of, beside the arrays of the test set.
_OF_THE_DATA = ("data.binarization", "data.missing", "data.condition", "evaluation.num_examples")
_OF_SUMMARIES = ("test.elbo", "test.log_evidence", "test.bits_per_dimension")
_LARGER, _SMALLER = ("accuracy", "log_evidence", "reconstruction"), ("rmse",)


class Difference(NamedTuple):
    """A run's figure less the first run's.

    Attributes:
      value: the difference.
      error: its standard error; None where there is none.
      is_paired: whether the error is that of the differences of each example, and not of two independent figures.
      number: of examples.
    """

    value: float
    error: float | None
    is_paired: bool
    number: int | None


class Line(NamedTuple):
    """A figure of all runs: its name, values and errors, the differences, and the runs that are best ([]: no such)."""

    name: str
    values: list[Any]
    errors: list[float | None]
    differences: list[Difference | None]
    best: list[int]


class Comparison(NamedTuple):
    """Runs by name.

    Attributes:
      names: of the runs, each another.
      lines: the figures of the runs.
      reasons: for each run, why its log p(x) is no other figure of what the first run's is; "" where it is.
      fields: (name, value of each run as a text) of each field of the configs in which two differ.
    """

    names: list[str]
    lines: list[Line]
    reasons: list[str]
    fields: list[tuple[str, list[str]]]


def compare(records: Sequence[Record]) -> Comparison:
    """Returns the runs beside one another."""
    reasons = [_incomparable(records[0], record) for record in records]
    lines = [
        _of_test(records, reasons, "test ELBO, nats per example", "elbo", lambda table: table["elbo"], max),
        _of_test(records, reasons, "−log p(x), nats per example", "nll", lambda table: -table["log_evidence"], min),
        _plain("importance samples of −log p(x)", [record.test().get("nll_num_samples") for record in records]),
        _bits(records, reasons),
    ]
    for name, key in (("step", "step"), ("duration, s", "wall_seconds"), ("examples a second", "examples_per_second")):
        values = [(record.summary or {}).get(key) for record in records]
        lines.append(_plain(name, [round(value) if is_number(value) else None for value in values]))
    lines += _of_evaluations(records, reasons)
    said = [line for line in lines if any(map(_is_said, line.values))]
    return Comparison(unique_names(records), said, reasons, _fields(records))


def unique_names(records: Sequence[Record]) -> list[str]:
    """Returns the names of the runs' folders, or their paths where two have one name."""
    names = [record.name for record in records]
    return names if len(set(names)) == len(names) else [str(record.folder) for record in records]


def _incomparable(first: Record, other: Record) -> str:
    tests = [(record.stored.fingerprint or {}).get("test") for record in (first, other)]
    if tests[0] != tests[1]:
        return "its test data are others"
    differ = [name for name in changed(other.config, first.config) if name in _OF_THE_DATA]
    if differ:
        return f"it differs in {', '.join(differ)}"
    is_probability = [is_number(record.test().get("bits_per_dimension")) for record in (first, other)]
    if first.summary and other.summary and is_probability[0] != is_probability[1]:
        return "only one of the two log p(x) is a probability"
    return ""


def _of_test(
    records: Sequence[Record],
    reasons: Sequence[str],
    name: str,
    key: str,
    examples: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    better: Callable[..., Any],
) -> Line:
    """Returns a figure of the summaries; `examples` gives it for each example of an evaluation."""
    values = [record.test().get(key) for record in records]
    errors = [_known(record.test().get(f"{key}_standard_error")) for record in records]
    differences: list[Difference | None] = [None]
    for record, reason in zip(records[1:], reasons[1:], strict=True):
        differences.append(None if reason else _pair(records[0], record, examples))
    for at in range(1, len(records)):
        (value, first), (error, of_first) = ((of[at], of[0]) for of in (values, errors))
        if differences[at] is None and not reasons[at] and is_number(value) and is_number(first):
            both = None if error is None or of_first is None else math.hypot(error, of_first)
            differences[at] = Difference(value - first, both, False, records[at].test().get("num_examples"))
    return Line(name, values, errors, differences, [] if any(reasons) else _best(values, better))


def _pair(
    first: Record, other: Record, examples: Callable[[Mapping[str, np.ndarray]], np.ndarray]
) -> Difference | None:
    """Returns the mean difference over the examples that both evaluations are of, with its error."""
    tables = [_examples(record) for record in (first, other)]
    if tables[0] is None or tables[1] is None or len(tables[0]["elbo"]) != len(tables[1]["elbo"]):
        return None
    value, error = evaluation.mean_and_error(examples(tables[1]) - examples(tables[0]))
    return Difference(value, _known(error), True, len(tables[0]["elbo"]))


def _examples(record: Record) -> dict[str, np.ndarray] | None:
    """Returns ELBO and log p(x) of each test example, where they are of the step that the summary is of."""
    path: Path = record.folder / workdir.TABLES / "examples.csv"
    if not path.exists() or (record.evaluation or {}).get("step") != (record.summary or {}).get("step"):
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: np.array([float(row[name]) for row in rows]) for name in ("elbo", "log_evidence")}
    except (KeyError, TypeError, ValueError):
        return None


def _bits(records: Sequence[Record], reasons: Sequence[str]) -> Line:
    """Returns bits per dimension, with the error that an evaluation gives it."""
    path = "test.bits_per_dimension"
    values = [record.test().get("bits_per_dimension") for record in records]
    errors = [next((_known(r.standard_error) for r in record.rows if r.path == path), None) for record in records]
    best = [] if any(reasons) else _best(values, min)
    return Line("bits per dimension", values, errors, [None] * len(records), best)


def _of_evaluations(records: Sequence[Record], reasons: Sequence[str]) -> list[Line]:
    """Returns the labelled figures of the evaluations that are not among those of the summaries."""
    by_path = [{row.path: row for row in record.rows if row.label} for record in records]
    paths = list(dict.fromkeys(path for rows in by_path for path in rows))
    lines = []
    for path in paths:
        rows = [rows.get(path) for rows in by_path]
        last = path.rpartition(".")[2]
        if path in _OF_SUMMARIES or last == "explanation":
            continue
        name = next(_called(row) for row in rows if row is not None)
        values = [None if row is None else row.value for row in rows]
        errors = [None if row is None else _known(row.standard_error) for row in rows]
        better = max if last in _LARGER else min if last in _SMALLER else None
        best = [] if better is None or any(reasons) else _best(values, better)
        lines.append(Line(name, values, errors, [None] * len(records), best))
    return lines


def _called(row: Row) -> str:
    """Returns the label with a split that is not that of the test set, and with the unit where it is one of log p."""
    split = row.examples if row.path.startswith("gaps.") else ""
    return ", ".join(filter(None, (row.label.strip(), split, row.unit if row.unit in ("nats", "bits") else "")))


def _fields(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    differ = {name for record in records[1:] for name in changed(record.config, records[0].config)}
    values = [{field.name: str(field.value) for field in describe(record.config)} for record in records]
    return [(name, [of[name] for of in values]) for name in values[0] if name in differ]


def _plain(name: str, values: list[Any]) -> Line:
    return Line(name, values, [None] * len(values), [None] * len(values), [])


def _best(values: Sequence[Any], better: Callable[..., Any]) -> list[int]:
    known = [value for value in values if is_number(value)]
    if len(known) < 2:
        return []
    return [number for number, value in enumerate(values) if value == better(known)]


def _is_said(value: Any) -> bool:
    return is_number(value) or isinstance(value, str)


def _known(value: Any) -> float | None:
    return float(value) if is_number(value) else None
