"""Tables: CSV files of which each row is an example."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, UInt64

from ..distributions import Masked
from ..names import nearest
from .columns import Texts, encode, guess
from .dataset import DataError
from .schema import MODELLED, Column
from .splits import name_hashes


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
      lines: the line of the file in which each row ends, the first being 1.
      listed: the columns whose levels the schema lists.
    """

    columns: tuple[Column, ...]
    values: dict[str, np.ndarray | Masked]
    labels: Int32[np.ndarray, " n"] | None
    hashes: UInt64[np.ndarray, " n"]
    missing: dict[str, int]
    notes: list[str]
    lines: Int[np.ndarray, " n"]
    listed: frozenset[str]


def read_table(path: str | Path, *, schema: Mapping[str, Column] | None, conditions: Sequence[str] = ()) -> Table:
    """Returns the table of a CSV file: UTF-8, fields separated by commas, the columns' names in its first line.

    An entry is missing where it is empty, "?", or in whatever case NA, N/A, NaN, None or null, unless the schema lists
    it as a level. The kind of a column that the schema does not give is guessed: binary for 0 and 1 or for two texts;
    category for other texts; count for whole numbers from 0 to 2³¹ − 1 written without point or exponent; positive for
    numbers above 0 of which the largest is 100 times the smallest or more; else real. It is ignored, with a note, where
    it has no entries, is constant, numbers the rows from 0 or 1, or has more than 20 texts that differ in more than
    half of the rows. Levels that the schema does not list are sorted, whole numbers by value.

    Args:
      path: the file.
      schema: columns by name, as `read_schema` returns them; None guesses all.
      conditions: names of further columns that the model is given beside x.

    Raises:
      OSError: for a file that cannot be opened.
      DataError: naming the file, and where it applies the row (from 0), its line and the column: for a file that is no
        such table, names that it lacks, entries that are not of their column's kind, holes in conditions or labels,
        rows without any modelled entry, and columns that cannot be modelled.
    """
    names, rows, lines = _read(path)
    given = _given(path, names, schema or {}, conditions)
    labels = [name for name, column in given.items() if column.kind == "label"]
    if len(labels) > 1:
        raise DataError(f"{path}: a table has at most one label column, and the schema has {labels}; ignore the others")
    columns, notes, hashed, values, seen = [], [], [], {}, {}
    for name, texts in zip(names, zip(*rows, strict=True), strict=True):
        column = given.get(name, Column(name, "guess"))
        own = Texts(path, name, texts, lines, column.levels)
        if column.kind in ("guess", "condition"):
            kind, reason = guess(own)
            if reason and column.condition:
                raise own.error(f"{reason}, so that it is no condition unless a schema gives its kind")
            notes += [f"column {name!r} is ignored: {reason}"] if reason else []
            column = column._replace(kind=kind)
        if column.kind != "ignore":
            column, values[name] = encode(column, own)
            hashed.append(np.where(own.seen, own.different, "")[own.codes])
        if column.kind in MODELLED and not column.condition:
            seen[name] = own.seen[own.codes]
        columns.append(column)
    if not seen:
        raise DataError(f"{path}: no column is left to be modelled. {'; '.join(notes)}".rstrip())
    empty = ~np.any(list(seen.values()), axis=0)
    if empty.any():
        row = int(np.argmax(empty))
        raise DataError(f"{path}, row {row} (line {lines[row]}): every modelled entry is missing; leave the row out")
    codes = values.pop(labels[0]) if labels else None
    missing = {name: int(np.sum(~observed)) for name, observed in seen.items()}
    if any(missing.values()):
        values |= {name: Masked(values[name], observed) for name, observed in seen.items()}
    return Table(
        columns=tuple(columns),
        values=values,
        labels=codes,
        hashes=name_hashes(list(map("\x1f".join, zip(*hashed, strict=True)))),
        missing=missing,
        notes=notes,
        lines=np.array(lines),
        listed=frozenset(name for name, column in given.items() if column.levels),
    )


def check_levels_in_training(
    table: Table, train_rows: Int[np.ndarray, " n"], held_out_rows: Int[np.ndarray, " m"], path: str | Path
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
                f"{path}, row {row} (line {table.lines[row]}), column {name!r}: the level {level!r} is in no row of "
                "the training split; list the levels of the column in a schema, or leave its rows out"
            )


def _read(path: str | Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Returns the columns' names, the rows, and the line in which each row ends."""
    rows, lines = [], []
    # Not pandas, which fills short lines without a word, and counts records where a user counts lines.
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row:
                    rows.append([text.strip() for text in row])
                    lines.append(reader.line_num)
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: it is no CSV: {error}") from error
    if len(rows) < 2:
        what = "only the columns' names" if rows else "nothing"
        raise DataError(f"{path} holds {what}; it must hold a line of columns' names and a line for each row")
    names = rows[0]
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(f"{path}, line {lines[0]}: commas must separate the columns' names, got {names[0]!r}")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}, line {lines[0]}: two columns are called {repeated[0]!r}; rename one of them")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: {len(row)} fields, but the first line names {len(names)} columns")
    return names, rows[1:], lines[1:]


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
        if entry.kind in ("ignore", "label"):
            raise DataError(f"{path}: the condition {name!r} is of the kind {entry.kind!r} in the schema; change one")
        given[name] = entry._replace(condition=True)
    return given
