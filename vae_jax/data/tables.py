"""Tables: CSV and Parquet files of which each row is an example."""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32, UInt64

from ..distributions import Masked
from ..names import nearest
from .columns import encode, guess
from .csv_files import WholeCsv
from .dataset import DataError
from .entries import Entries
from .schema import MODELLED, Column

_BYTES = 5  # of a number and its mask


@runtime_checkable
class TableFile(Protocol):
    """A file of named columns."""

    @property
    def names(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def where(self, row: int) -> str:
        """Returns what a message calls a row."""
        ...

    def column(self, name: str, levels: Sequence[str]) -> Entries:
        """Returns the entries of a column; `levels` are entries even where they are words for missing ones."""
        ...

    def hashes(self, columns: Sequence[Entries]) -> UInt64[np.ndarray, " n"]:
        """Returns a hash of each row's entries in these columns, which depends on no other row."""
        ...


class Table(NamedTuple):
    """The rows of a file, by column.

    Attributes:
      columns: all columns of the file in its order, with their kinds and levels decided.
      values: of each modelled column and each condition, by name: float32 for real, positive and binary, int32 for
        counts and for the codes of categories and ordinal levels. Where any modelled column has a hole, each of these
        is `Masked`, with 0 stored in the holes.
      labels: the codes of the label column; None where there is none.
      hashes: a hash of each row's texts, which depends on no other row, for `splits.by_hash`.
      missing: the number of holes of each modelled column.
      notes: why columns were ignored that no schema ignores.
      where: what a message calls a row.
      listed: the columns whose levels the schema lists.
    """

    columns: tuple[Column, ...]
    values: dict[str, np.ndarray | Masked]
    labels: Int32[np.ndarray, " n"] | None
    hashes: UInt64[np.ndarray, " n"]
    missing: dict[str, int]
    notes: list[str]
    where: Callable[[int], str]
    listed: frozenset[str]


_LABELS, _CLASSES = ("label", "labels"), ("binary", "category", "count")


def read_table(
    path: str | Path,
    *,
    schema: Mapping[str, Column] | None,
    conditions: Sequence[str] = (),
    memory_limit: int | None = None,
) -> Table:
    """Returns the table of a CSV file: UTF-8, fields separated by commas, the columns' names in its first line; or of a
    Parquet file, whose numbers, booleans, texts and dictionaries are entries, and its null and NaN missing ones.

    An entry is missing where it is empty, "?", or in whatever case NA, N/A, NaN, None or null, unless the schema lists
    it as a level. The kind of a column that the schema does not give is guessed: binary for 0 and 1 or for two texts;
    category for other texts; count for whole numbers from 0 to 2³¹ − 1 written without point or exponent; positive for
    numbers above 0 of which the largest is 100 times the smallest or more; else real. It is ignored, with a note, where
    it has no entries, is constant, numbers the rows from 0 or 1, or has more than 20 texts that differ in more than
    half of the rows. A column of classes without missing entries that is called "label" or "labels" is the label.
    Levels that the schema does not list are sorted, whole numbers by value.

    Args:
      path: the file.
      schema: columns by name, as `read_schema` returns them; None guesses all.
      conditions: names of further columns that the model is given beside x.
      memory_limit: where the values of all columns may take more bytes, they are kept in a temporary file.

    Raises:
      OSError: for a file that cannot be opened.
      DataError: naming the file, and where it applies the row (from 0), its line and the column: for a file that is no
        such table, names that it lacks, entries that are not of their column's kind, holes in conditions or labels,
        rows without any modelled entry, and columns that cannot be modelled.
    """
    file = open_table(path)
    is_large = memory_limit is not None and len(file) * len(file.names) * _BYTES > memory_limit
    keep = _in_file if is_large else np.asarray
    given = _given(path, file.names, schema or {}, conditions)
    for kind in ("label", "id"):
        if len(of_kind := [name for name, column in given.items() if column.kind == kind]) > 1:
            raise DataError(
                f"{path}: a table has at most one {kind} column, and the schema has {of_kind}; ignore others"
            )
    has_id, has_label = (any(column.kind == kind for column in given.values()) for kind in ("id", "label"))
    columns, notes, hashed, values, seen = [], [], [], {}, {}
    for name in file.names:
        column = given.get(name, Column(name, "guess"))
        own = file.column(name, column.levels)
        if column.kind in ("guess", "condition"):
            kind, reason = guess(own)
            if reason and column.condition:
                raise own.error(f"{reason}, so that it is no condition unless a schema gives its kind")
            kind = "ignore" if kind == "id" and has_id else kind
            if column.kind == "guess" and not has_label and name in _LABELS and kind in _CLASSES and own.seen.all():
                kind, has_label = "label", True
                notes.append(f"column {name!r} is taken for the label, which colours figures and is not modelled")
            has_id = has_id or kind == "id"
            what = "is taken for the rows' id" if kind == "id" else "is ignored"
            notes += [f"column {name!r} {what}: {reason}"] if reason else []
            column = column._replace(kind=kind)
        if column.kind not in ("ignore", "id"):
            column, of_rows = encode(column, own)
            values[name] = keep(of_rows)
            hashed.append(own)
        if column.kind in MODELLED and not column.condition:
            seen[name] = keep(own.seen[own.codes])
        columns.append(column)
    if not seen:
        raise DataError(f"{path}: no column is left to be modelled. {'; '.join(notes)}".rstrip())
    empty = ~functools.reduce(np.logical_or, seen.values())
    if empty.any():
        raise DataError(f"{file.where(int(np.argmax(empty)))}: every modelled entry is missing; leave the row out")
    labels = [column.name for column in columns if column.kind == "label"]
    codes = values.pop(labels[0]) if labels else None
    missing = {name: int(np.sum(~observed)) for name, observed in seen.items()}
    if any(missing.values()):
        values |= {name: Masked(values[name], observed) for name, observed in seen.items()}
    return Table(
        columns=tuple(columns),
        values=values,
        labels=codes,
        hashes=file.hashes(hashed),
        missing=missing,
        notes=notes,
        where=file.where,
        listed=frozenset(name for name, column in given.items() if column.levels),
    )


def _in_file(values: np.ndarray) -> np.ndarray:
    """Returns the same array [n] in a temporary file, which the system deletes with it."""
    with tempfile.TemporaryFile() as file:
        values.tofile(file)
        return np.memmap(file, values.dtype, "r")


def open_table(path: str | Path) -> TableFile:
    """Returns the columns of a .csv or .parquet file, by its suffix."""
    if Path(path).suffix == ".parquet":
        from .parquet_files import WholeParquet

        return WholeParquet(path)
    return WholeCsv(path)


def check_levels_in_training(
    table: Table, train_rows: Int[np.ndarray, " n"], held_out_rows: Int[np.ndarray, " m"]
) -> None:
    """Checks that every level of the held-out rows occurs in the training rows, unless the schema lists the levels.

    It is asked of categories and ordinal levels, and of binary conditions: nothing is learnt of a level without rows.

    Raises:
      DataError: naming the file, the first row (from 0), its line, the column and the level.
    """
    for name, kind, levels, condition in table.columns:
        if name in table.listed or not (kind in ("category", "ordinal") or (condition and kind == "binary")):
            continue
        value = table.values[name]
        masked = value if isinstance(value, Masked) else Masked(value, np.ones(len(value), bool))
        codes, seen = np.asarray(masked.value), np.asarray(masked.observed)
        unknown = seen[held_out_rows] & ~np.isin(codes[held_out_rows], codes[train_rows][seen[train_rows]])
        if unknown.any():
            row = int(held_out_rows[np.argmax(unknown)])
            level = levels[int(codes[row])] if levels else f"{codes[row]:g}"
            raise DataError(
                f"{table.where(row)}, column {name!r}: the level {level!r} is in no row of the training split; list "
                "the levels of the column in a schema, or leave its rows out"
            )


def _given(
    path: str | Path, names: Sequence[str], schema: Mapping[str, Column], conditions: Sequence[str]
) -> dict[str, Column]:
    """Returns the schema with the conditions in it."""
    for what, asked in (("column of the schema", schema), ("condition", conditions)):
        for name in asked:
            if name not in names:
                raise DataError(f"{path} lacks the {what} {name!r}.{nearest(name, names)} It has: {', '.join(names)}")
    given = dict(schema)
    for name in conditions:
        entry = given.get(name, Column(name, "condition"))
        if entry.kind in ("ignore", "id", "label"):
            raise DataError(f"{path}: the condition {name!r} is of the kind {entry.kind!r} in the schema; change one")
        given[name] = entry._replace(condition=True)
    return given
