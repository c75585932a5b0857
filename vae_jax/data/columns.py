"""The kind of a column of a table, and its numbers."""

import numpy as np
from jaxtyping import Shaped

from .entries import Entries
from .schema import Column

_LARGEST_COUNT = 2**31 - 1
_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
_MOST_ERROR = 1e-3


def guess(entries: Entries) -> tuple[str, str]:
    """Returns the kind of a column by its entries, and the reason where that is "ignore" or "id"."""
    different, numbers, num_rows = entries.different[entries.seen], entries.numbers[entries.seen], entries.num_rows
    if not len(different):
        return "ignore", entries.unreadable or "it has no entries"
    if (is_one := (different == different[0]).all()) or (numbers == numbers[0]).all():
        return "ignore", f"every entry is {different.tolist()[0]!r}{'' if is_one else ' in float64'}"
    if np.isnan(numbers).any():
        if len(different) > max(20, num_rows / 2):
            kind = "id" if len(different) == num_rows else "ignore"
            return kind, f"it has {len(different)} different texts in {num_rows} rows"
        return "binary" if len(different) == 2 else "category", ""
    if np.isin(numbers, (0, 1)).all():
        return "binary", ""
    by_row = entries.numbers[entries.codes]
    if by_row[0] in (0, 1) and np.array_equal(by_row, by_row[0] + np.arange(num_rows)):
        return "id", "it numbers the rows"
    if entries.whole[entries.seen].all() and numbers.min() >= 0 and numbers.max() <= _LARGEST_COUNT:
        return "count", ""
    return "positive" if 0 < numbers.min() <= numbers.max() / 100 else "real", ""


def encode(column: Column, entries: Entries) -> tuple[Column, Shaped[np.ndarray, " n"]]:
    """Returns a column with its levels decided, and the number of each row's entry, 0 where it is missing.

    Raises:
      DataError: as `convert`, and for a column that its kind cannot model.
    """
    entries = _with_texts(column, entries)
    if not entries.seen.any():
        reason = entries.unreadable or "it has no entries"
        raise entries.error(f"{reason}, so that it cannot be {column.kind}; ignore it")
    is_numeric = column.kind == "binary" and np.isin(entries.numbers[entries.seen], (0, 1)).all()
    if column.kind in ("binary", "category", "ordinal", "label") and not column.levels and not is_numeric:
        entries = entries.as_texts()
        column = column._replace(levels=_levels(column.kind, entries))
    values = convert(column, entries)
    if column.kind in ("real", "positive"):
        _check_varies(column.kind, entries)
    return column, values


def convert(column: Column, entries: Entries) -> Shaped[np.ndarray, " n"]:
    """Returns the number of each row's entry, 0 where it is missing, in a column whose levels are decided.

    Raises:
      DataError: for an entry that is not of the column's kind, or a hole in a condition or a label.
    """
    entries = _with_texts(column, entries)
    if column.condition or column.kind == "label":
        what = "condition" if column.condition else "label"
        entries.refuse(~entries.seen, f"is a missing entry, and a {what} must have none: fill it, or leave the row out")
    numbers = _numbers(column, entries)
    return np.where(entries.seen, numbers, np.zeros_like(numbers))[entries.codes]


def _with_texts(column: Column, entries: Entries) -> Entries:
    return entries.as_texts(column.levels) if column.levels else entries


def _numbers(column: Column, entries: Entries) -> np.ndarray:
    """Returns the number of each different entry."""
    kind, numbers, seen = column.kind, entries.numbers, entries.seen
    if kind in ("real", "positive"):
        return _floats(kind, entries)
    if kind == "count":
        legal = (numbers >= 0) & (numbers <= _LARGEST_COUNT) & (numbers == np.floor(numbers))
        entries.refuse(seen & ~legal, f"is no count, a whole number from 0 to {_LARGEST_COUNT}")
        return np.where(seen, numbers, 0).astype(np.int32)
    if not column.levels:
        entries.refuse(seen & ~np.isin(numbers, (0, 1)), "is neither 0 nor 1, and the column is binary")
        return numbers.astype(np.float32)
    codes = {level: code for code, level in enumerate(column.levels)}
    known = np.array([text in codes for text in entries.different])
    entries.refuse(seen & ~known, f"is none of the {len(codes)} levels of the column", column.levels)
    by_text = [codes.get(text, 0) for text in entries.different]
    return np.array(by_text, np.float32 if kind == "binary" else np.int32)


def _floats(kind: str, entries: Entries) -> np.ndarray:
    numbers, seen = entries.numbers, entries.seen
    entries.refuse(seen & np.isnan(numbers), f"is no number, and a {kind} column holds numbers")
    entries.refuse(np.abs(numbers) > _LARGEST, f"is infinite in float32, whose largest number is {_LARGEST:.2g}")
    if kind == "positive":  # log x of what lies below float32's normal numbers is −∞ on many processors
        entries.refuse(
            numbers < _SMALLEST, f"is not positive, or below {_SMALLEST:.2g}, the smallest number of float32"
        )
    return numbers.astype(np.float32)


def _check_varies(kind: str, entries: Entries) -> None:
    """Raises `DataError` for a column that is constant, or nearly so in float32."""
    values = entries.numbers[entries.seen]
    if (values == values[0]).all():
        raise entries.error(f"every entry is {values[0]:g}, and a {kind} column must vary; ignore it")
    error, spread = np.abs(values.astype(np.float32) - values).max(), values.std()
    if error > _MOST_ERROR * spread:
        raise entries.error(
            f"float32 changes entries by up to {error:.2g}, and their standard deviation is only {spread:.2g}; "
            f"subtract a constant from them, {np.median(values):.12g} for one"
        )


def _levels(kind: str, entries: Entries) -> tuple[str, ...]:
    """Returns the levels that a column has, in order."""
    different, whole = entries.different[entries.seen], entries.whole[entries.seen]
    if kind == "ordinal":
        entries.refuse(entries.seen & ~entries.whole, "is no whole number: a schema must list the levels, lowest first")
    if kind == "binary" and len(different) != 2:
        neither = entries.seen & ~np.isin(entries.numbers, (0, 1))
        entries.refuse(neither, f"is neither 0 nor 1, and the column holds {len(different)} different texts, not two")
    if len(different) < 2 and kind != "label":
        raise entries.error(
            f"every entry is {different.tolist()[0]!r}; ignore the column, or list its levels in a schema"
        )
    return tuple(sorted(different, key=(lambda text: (int(text), text)) if whole.all() else None))
