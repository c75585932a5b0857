"""What the numbers of an array are, where nothing but the array says so."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .images import black_and_white
from .order import spread_rows

_LOOKED_AT = 1024
_AT_ONCE = 2**22
_MOST_COUNT = 2**31 - 1


class Kind(NamedTuple):
    """What the numbers of an array are.

    Attributes:
      name: "picture", "real", "count" or "binary".
      dtype: that they are stored with.
      is_bytes: whether they become pictures of bytes.
      is_black_and_white: whether these are zeros and ones that stand for black and white.
      has_missing: whether NaN among them stands for missing entries.
    """

    name: str
    dtype: np.dtype
    is_bytes: bool = False
    is_black_and_white: bool = False
    has_missing: bool = False

    @property
    def called(self) -> str:
        """What the numbers are called in a message."""
        return _MEANINGS[self.name]

    def convert(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns the values of some rows as they are stored.

        Raises:
          ValueError: naming row and place, for values of another kind.
        """
        check_legal(values, self, rows)
        _check_not_empty(values, self, rows)
        return values.astype(self.dtype, copy=False)


def kind_of(array: np.ndarray, *, all_of_it: bool) -> Kind:
    """Returns what the numbers of an array [n, ...] are.

    Pictures are arrays [n, height, width] or [n, height, width, 1 or 3] of booleans, of whole numbers from 0 to 255, of
    16-bit numbers without a sign, or of floats from 0 to 1. Of other arrays, zeros and ones are binary, whole numbers
    from 0 on of an integer type counts, and all else real. Floats may be NaN where an entry is missing.

    Args:
      array: may be on disk.
      all_of_it: whether to look at all of it; else at some rows, and a later row may be refused.

    Raises:
      ValueError: for another type, infinite numbers, or rows or columns with no entry.
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"its numbers must be whole, floating or booleans, got {array.dtype}")
    is_image = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] in (1, 3))
    if array.dtype == bool:
        return Kind("picture", np.dtype(np.uint8), is_bytes=True) if is_image else Kind("binary", np.dtype(np.float32))
    rows = np.arange(len(array)) if all_of_it else spread_rows(len(array), _LOOKED_AT)
    looked_at = array if all_of_it else array[rows]
    low, high, missing, whole = _range(looked_at)
    if array.dtype.kind == "f":
        name = "picture" if is_image and _is_binary(low, high) else "real"
        name = "binary" if name == "real" and whole and _is_binary(low, high) else name
        kind = Kind(name, np.dtype(np.float32), has_missing=missing)
    elif is_image and low >= 0 and high <= 255:
        kind = Kind("picture", np.dtype(np.uint8), is_bytes=True, is_black_and_white=black_and_white(looked_at))
    elif is_image and array.dtype == np.uint16:
        kind = Kind("picture", np.dtype(np.uint16))
    elif _is_binary(low, high):
        kind = Kind("binary", np.dtype(np.float32))
    else:
        kind = Kind("count" if low >= 0 else "real", np.dtype(np.int32 if low >= 0 else np.float32))
    if not kind.is_bytes:
        for part in _parts(looked_at):
            check_legal(np.asarray(looked_at[part]), kind, rows[part])
            _check_not_empty(np.asarray(looked_at[part]), kind, rows[part])
    return kind


def check_legal(values: np.ndarray, kind: Kind, rows: np.ndarray) -> None:
    """Raises `ValueError`, naming row and place, for values that are not of a kind."""
    if kind.name == "count":
        bad = (values < 0) | (values > _MOST_COUNT)
        if values.dtype.kind == "f":
            bad |= (values != np.floor(values)) & ~(np.isnan(values) & kind.has_missing)
    elif values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            in_float32 = values.astype(np.float32, copy=False)
        bad = np.isinf(in_float32) if kind.has_missing else ~np.isfinite(in_float32)
    else:
        bad = np.zeros(values.shape, bool)
    if kind.name == "picture" and kind.dtype == np.float32:
        bad |= (values < 0) | (values > 1)
    if kind.name == "binary":
        bad |= (values != 0) & (values != 1) & ~np.isnan(values)
    if bad.any():
        row, *place = np.argwhere(bad)[0].tolist()
        raise ValueError(
            f"its {kind.called} must be {_LEGAL[kind.name]}; row {rows[row]} has {values[row, *place]} at "
            f"{place if len(place) != 1 else f'column {place[0]}'}"
        )


def _check_not_empty(values: np.ndarray, kind: Kind, rows: np.ndarray) -> None:
    if kind.has_missing:
        (empty,) = np.nonzero(np.isnan(values).reshape(len(values), -1).all(axis=1))
        if empty.size:
            raise ValueError(f"row {rows[empty[0]]} has no entry: all of it is NaN. Leave such rows out")


_MEANINGS = {"picture": "pictures", "real": "real numbers", "count": "counts", "binary": "zeros and ones"}
_LEGAL = {
    "picture": "floats from 0 to 1",
    "real": "finite, or NaN where one is missing",
    "count": "whole numbers from 0 to 2**31 - 1",
    "binary": "0 or 1, or NaN where one is missing",
}


def _range(array: np.ndarray) -> tuple[float, float, bool, bool]:
    """(least, greatest, whether some are NaN, whether the others are whole numbers), a part at a time."""
    low, high, missing, whole = math.inf, -math.inf, False, True
    for rows in _parts(array):
        part = np.asarray(array[rows])
        if part.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                least, greatest = np.fmin.reduce(part, axis=None), np.fmax.reduce(part, axis=None)
                missing = missing or bool(np.isnan(part).any())
                whole = whole and bool(np.all((part == np.rint(part)) | np.isnan(part)))
        else:
            least, greatest = part.min(), part.max()
        low, high = np.fmin(low, float(least)), np.fmax(high, float(greatest))
    return float(low), float(high), missing, whole


def _parts(array: np.ndarray) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(1, math.prod(array.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(array), step))


def _is_binary(low: float, high: float) -> bool:
    return low >= 0 and high <= 1
