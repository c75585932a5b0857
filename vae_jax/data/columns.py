"""One column of a table: its texts, its kind and its numbers."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from ..names import nearest
from .dataset import DataError
from .schema import Column

_MISSING = ("", "?", "n/a", "na", "nan", "none", "null")
_LARGEST_COUNT = 2**31 - 1
_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
_MOST_ERROR = 1e-3


class Texts:
    """The texts of one column.

    Attributes:
      name: the column's name.
      different: the different texts, in the order in which they occur.
      codes: for each row the index of its text.
      seen: for each different text whether it stands for an entry, not for a missing one.
      numbers: for each different text its number, NaN where it is none.

    Args:
      path: the file, for messages, as `lines` are: the line of each row.
      levels: texts that stand for entries even where they are words for missing ones.
    """

    def __init__(
        self, path: str | Path, name: str, texts: Sequence[str], lines: Sequence[int], levels: Sequence[str]
    ) -> None:
        codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
        self.name, self._path, self._lines = name, path, lines
        self.codes = np.fromiter(map(codes.__getitem__, texts), np.intp, len(texts))
        self.different = np.array(list(codes), object)
        self.seen = np.array([text.lower() not in _MISSING or text in levels for text in codes])
        self.numbers = np.array([_number(text) for text in codes])

    def error(self, message: str) -> DataError:
        return DataError(f"{self._path}, column {self.name!r}: {message}")

    def refuse(self, bad: Bool[np.ndarray, " different"], message: str, legal: Sequence[str] = ()) -> None:
        """Raises `DataError` for the first row whose text is `bad`."""
        if bad.any():
            row = int(np.argmax(bad[self.codes]))
            text = str(self.different[self.codes[row]])
            raise DataError(
                f"{self._path}, row {row} (line {self._lines[row]}), column {self.name!r}: {text!r} {message}."
                f"{nearest(text, legal)}"
            )


def guess(texts: Texts) -> tuple[str, str]:
    """Returns the kind of a column by its texts, and the reason where that is "ignore"."""
    different, numbers, num_rows = texts.different[texts.seen], texts.numbers[texts.seen], len(texts.codes)
    if not len(different):
        return "ignore", "it has no entries"
    if len(different) == 1 or (numbers == numbers[0]).all():
        return "ignore", f"every entry is {different[0]!r}"
    if np.isnan(numbers).any():
        if len(different) > max(20, num_rows / 2):
            return "ignore", f"it has {len(different)} different texts in {num_rows} rows"
        return "binary" if len(different) == 2 else "category", ""
    if np.isin(numbers, (0, 1)).all():
        return "binary", ""
    by_row = texts.numbers[texts.codes]
    if by_row[0] in (0, 1) and np.array_equal(by_row, by_row[0] + np.arange(num_rows)):
        return "ignore", "it numbers the rows"
    if all(map(str.isdecimal, different)) and numbers.max() <= _LARGEST_COUNT:
        return "count", ""
    return "positive" if 0 < numbers.min() <= numbers.max() / 100 else "real", ""


def encode(column: Column, texts: Texts) -> tuple[Column, Shaped[np.ndarray, " n"]]:
    """Returns a column with its levels decided, and the number of each row's entry, 0 where it is missing.

    Raises:
      DataError: for a text that is not of the column's kind, a hole in a condition or a label, and a column that its
        kind cannot model.
    """
    if column.condition or column.kind == "label":
        what = "condition" if column.condition else "label"
        texts.refuse(~texts.seen, f"is a missing entry, and a {what} must have none: fill it, or leave the row out")
    if not texts.seen.any():
        raise texts.error(f"it has no entries, so that it cannot be {column.kind}; ignore it")
    column, numbers = _encode(column, texts)
    return column, np.where(texts.seen, numbers, np.zeros_like(numbers))[texts.codes]


def _encode(column: Column, texts: Texts) -> tuple[Column, np.ndarray]:
    """Returns the column with its levels, and the number of each different text."""
    kind, numbers, seen = column.kind, texts.numbers, texts.seen
    if kind in ("real", "positive"):
        return column, _floats(kind, texts)
    if kind == "count":
        legal = (numbers >= 0) & (numbers <= _LARGEST_COUNT) & (numbers == np.floor(numbers))
        texts.refuse(seen & ~legal, f"is no count, a whole number from 0 to {_LARGEST_COUNT}")
        return column, np.where(seen, numbers, 0).astype(np.int32)
    if kind == "binary" and not column.levels and np.isin(numbers[seen], (0, 1)).all():
        return column, numbers.astype(np.float32)
    levels = column.levels or _levels(kind, texts)
    codes = {level: code for code, level in enumerate(levels)}
    known = np.array([text in codes for text in texts.different])
    texts.refuse(seen & ~known, f"is none of the {len(levels)} levels in the schema", levels)
    by_text = [codes.get(text, 0) for text in texts.different]
    return column._replace(levels=levels), np.array(by_text, np.float32 if kind == "binary" else np.int32)


def _floats(kind: str, texts: Texts) -> np.ndarray:
    numbers, seen = texts.numbers, texts.seen
    texts.refuse(seen & np.isnan(numbers), f"is no number, and a {kind} column holds numbers")
    texts.refuse(np.abs(numbers) > _LARGEST, f"is infinite in float32, whose largest number is {_LARGEST:.2g}")
    if kind == "positive":  # log x of what lies below float32's normal numbers is −∞ on many processors
        texts.refuse(numbers < _SMALLEST, f"is not positive, or below {_SMALLEST:.2g}, the smallest number of float32")
    values = numbers[seen]
    if (values == values[0]).all():
        raise texts.error(f"every entry is {values[0]:g}, and a {kind} column must vary; ignore it")
    error, spread = np.abs(values.astype(np.float32) - values).max(), values.std()
    if error > _MOST_ERROR * spread:
        raise texts.error(
            f"float32 changes entries by up to {error:.2g}, and their standard deviation is only {spread:.2g}; "
            f"subtract a constant from them, {np.median(values):.12g} for one"
        )
    return numbers.astype(np.float32)


def _levels(kind: str, texts: Texts) -> tuple[str, ...]:
    """Returns the levels that a column has, in order."""
    different = texts.different[texts.seen]
    whole = np.array([text.lstrip("+-").isdecimal() for text in texts.different])
    if kind == "ordinal":
        texts.refuse(texts.seen & ~whole, "is no whole number: a schema must list the levels, the lowest first")
    if kind == "binary" and len(different) != 2:
        neither = texts.seen & ~np.isin(texts.numbers, (0, 1))
        texts.refuse(neither, f"is neither 0 nor 1, and the column holds {len(different)} different texts, not two")
    if len(different) < 2 and kind != "label":
        raise texts.error(f"every entry is {different[0]!r}; ignore the column, or list its levels in a schema")
    return tuple(sorted(different, key=(lambda text: (int(text), text)) if whole[texts.seen].all() else None))


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)  # Python's own numbers may hold underscores
    except ValueError:
        return math.nan
