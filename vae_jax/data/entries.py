"""The entries of one column of a table: texts or numbers, as a file has them."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ..names import nearest
from .dataset import DataError

_MISSING = ("", "?", "n/a", "na", "nan", "none", "null")


class Entries:
    """The entries of one column, by their different values where these are few.

    Attributes:
      name: the column's name.
      different: the different texts in the order in which they occur, or the numbers of all rows.
      codes: picks the entry of each row out of `different`.
      seen: of `different`, whether it is an entry, and no missing one.
      numbers: of `different`, its number, NaN where it is none.
      whole: of `different`, whether it is written as a whole number.
      num_rows: how many rows there are.
      unreadable: why its entries are neither texts nor numbers, and all missing; "" where they are.

    Args:
      where: what a message calls a row: "cells.csv, row 3 (line 5)".
    """

    def __init__(
        self,
        name: str,
        different: Shaped[np.ndarray, " different"],
        codes: Any,
        seen: Bool[np.ndarray, " different"],
        numbers: Float[np.ndarray, " different"],
        *,
        whole: Bool[np.ndarray, " different"],
        num_rows: int,
        where: Callable[[int], str],
        path: Any,
        unreadable: str = "",
    ) -> None:
        self.name, self.different, self.codes, self.seen, self.numbers = name, different, codes, seen, numbers
        self.whole, self.num_rows, self.unreadable = whole, num_rows, unreadable
        self._where, self._path = where, path

    @property
    def of_rows(self) -> Shaped[np.ndarray, " n"]:
        """The entry of each row, as the file has it."""
        return self.different[self.codes]

    def error(self, message: str) -> DataError:
        return DataError(f"{self._path}, column {self.name!r}: {message}")

    def refuse(self, bad: Bool[np.ndarray, " different"], message: str, legal: Sequence[str] = ()) -> None:
        """Raises `DataError` for the first row whose entry is `bad`."""
        if bad.any():
            row = int(np.argmax(bad[self.codes]))
            text = self.of_rows[row]
            shown = repr(text) if isinstance(text, str) else str(text)
            raise DataError(f"{self._where(row)}, column {self.name!r}: {shown} {message}.{nearest(str(text), legal)}")

    def as_texts(self, levels: Collection[str] = ()) -> "Entries":
        """Returns the same entries as texts, whole numbers without a point; `levels` as in `of_texts`."""
        if self.different.dtype == object:
            return self
        different, codes = np.unique(self.different, return_inverse=True)
        texts = [_text(value) for value in different.tolist()]
        return of_texts(self._path, self.name, [texts[code] for code in codes.tolist()], self._where, levels)


def of_texts(
    path: Any, name: str, texts: Sequence[str], where: Callable[[int], str], levels: Collection[str] = ()
) -> Entries:
    """Returns the entries of a column of texts; `levels` are entries even where they are words for missing ones."""
    codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    numbers = np.array([_number(text) for text in codes])
    return Entries(
        name,
        np.array(list(codes), object),
        np.fromiter(map(codes.__getitem__, texts), np.intp, len(texts)),
        np.array([text.lower() not in _MISSING or text in levels for text in codes]),
        numbers,
        whole=np.array([text.lstrip("+-").isdecimal() for text in codes]) & np.isfinite(numbers),
        num_rows=len(texts),
        where=where,
        path=path,
    )


def of_numbers(
    path: Any,
    name: str,
    values: Shaped[np.ndarray, " n"],
    where: Callable[[int], str],
    *,
    is_whole: bool = False,
    unreadable: str = "",
) -> Entries:
    """Returns the entries of a column of numbers or booleans, of which NaN are missing.

    Integers are whole, and floats that the caller says are.
    """
    with np.errstate(over="ignore"):  # infinite numbers are refused where they are asked for
        numbers = values.astype(np.float64)
    return Entries(
        name,
        values,
        slice(None),
        ~np.isnan(numbers),
        numbers,
        whole=np.full(len(values), is_whole or values.dtype.kind in "iu"),
        num_rows=len(values),
        where=where,
        path=path,
        unreadable=unreadable,
    )


def numbers_of_texts(path: Any, name: str, texts: Sequence[str], where: Callable[[int], str]) -> Entries:
    """Returns the entries of a column that should be numbers: as such where all of its texts are, which is faster."""
    try:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return of_texts(path, name, texts, where)
    # To Python, numbers may hold underscores, and "-nan" is one.
    if np.isnan(values).any() or "_" in "".join(texts):
        return of_texts(path, name, texts, where)
    return of_numbers(path, name, values, where)


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _text(value: Any) -> str:
    """A number as a text: without a point where it is whole, since whole numbers with holes are stored as floats."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)
