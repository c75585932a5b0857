"""The rows of a report as a table, as JSON and as CSV files."""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vae_jax import evaluation

from .assessment import Assessment
from .rows import Row, is_number

_WIDTH = 160  # where there is no terminal


def as_json(rows: Iterable[Row]) -> dict[str, Any]:
    """Returns what evaluation.json holds of the rows.

    Each value lies at its path, its standard error beside it as "<name>_standard_error", and the number of examples as
    "num_examples". "remarks" holds the remarks, and "reasons" why a figure is null, both by path.
    """
    tree: dict[str, Any] = {}
    remarks: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for row in rows:
        *places, name = row.path.split(".")
        at = tree
        for place in places:
            at = at.setdefault(place, {})
        at[name] = _null_unless_known(row.value)
        if row.standard_error is not None:
            at[f"{name}_standard_error"] = _null_unless_known(row.standard_error)
        if places and row.num_examples is not None:
            at["num_examples"] = row.num_examples
        told = ((remarks, "", row.remark), (reasons, "", row.why()), (reasons, "_standard_error", row.why_no_error()))
        for where, ending, text in told:
            if text:
                where[row.path + ending] = text
    return {**tree, "remarks": remarks, "reasons": reasons}


def _null_unless_known(value: float | str | None) -> float | str | None:
    return value if is_number(value) or isinstance(value, str) else None


def print_table(rows: Sequence[Row], title: str) -> None:
    """Prints the rows that have a label, under the title and the diagnosis of the latents."""
    explained = [row.value for row in rows if row.path == "collapse.explanation"]
    table = Table(title="\n".join(map(str, (title, *explained))), title_justify="left")
    for column in ("", "value", "± error", "unit", "examples", ""):
        table.add_column(column, justify="right" if column in ("value", "± error") else "left")
    for row in rows:
        if row.label:
            examples = " ".join(str(part) for part in (row.num_examples, row.examples) if part)
            said = "; ".join(text for text in (row.remark, row.why() and f"not known: {row.why()}") if text)
            table.add_row(row.label, _shown(row.value), _shown(row.standard_error), row.unit, examples, said)
    # Names of files and reasons may hold what rich would take for markup.
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, markup=False, highlight=False, emoji=False)
    console.print(table)
    print("nats are nats per example; ± is one standard error, over the examples")


def _shown(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if is_number(value) else ""
    return "" if value is None else str(value)


def write_tables(rows: Iterable[Row], found: Assessment, labels: Any, folder: Path) -> None:
    """Writes summary.csv, the rows, and CSV files with a row for each example, number of samples and dimension."""
    rows = list(rows)
    columns = [name for name in Row._fields if name not in ("value", "standard_error", "reason")]
    _write_csv(
        folder / "summary.csv",
        ("path", "value", "standard_error", *columns[1:], "reason"),
        (
            (
                row.path,
                _null_unless_known(row.value),
                _null_unless_known(row.standard_error),
                *(getattr(row, name) for name in columns[1:]),
                row.why() or row.why_no_error(),
            )
            for row in rows
        ),
    )
    evidence = found.evidence
    names = ("value", "standard_error", "effective_sample_size", "pareto_k", "elbo")
    _write_csv(
        folder / "examples.csv",
        ("row", "label", *("log_evidence" if name == "value" else name for name in names)),
        zip(
            range(len(evidence.value)),
            [""] * len(evidence.value) if labels is None else labels,
            *(getattr(evidence, name) for name in names),
            strict=True,
        ),
    )
    bounds = [row for row in rows if row.path.startswith("bounds.")]
    _write_csv(
        folder / "bounds.csv",
        ("num_samples", "bound", "standard_error"),
        ((row.path.removeprefix("bounds.L"), row.value, row.standard_error) for row in bounds),
    )
    if (latents := found.latents) is not None:
        columns = ("activity", "active", "kl_per_dimension", "kl_per_dimension_standard_error", "collapsed")
        known = [name for name in columns if getattr(latents, name) is not None]
        dimensions = zip(range(len(latents.activity)), *(getattr(latents, name) for name in known), strict=True)
        drawn = "" if latents.num_draws is None else f"_from_{latents.num_draws}_draws"
        _write_csv(folder / "dimensions.csv", ("dimension", *(name + drawn for name in known)), dimensions)
    if found.annealed is not None:
        chosen, annealed = found.annealed
        names = evaluation.AnnealedEvidence._fields
        _write_csv(folder / "annealed.csv", ("row", "log_evidence", *names[1:]), zip(chosen, *annealed, strict=True))
    if found.gaps is not None:
        names = [name for name in evaluation.InferenceGaps._fields if name != "posterior"]
        _write_csv(
            folder / "gaps.csv",
            ("split", "family", *names),
            (
                (split, family, *values)
                for split, of in found.gaps.items()
                for family, gaps in of.items()
                for values in zip(*(getattr(gaps, name) for name in names), strict=True)
            ),
        )


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
