"""What the numbers of a matrix are, all of which are looked at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt64

from .kinds import Kind
from .matrices import Matrix
from .splits import row_hashes, sparse_row_hashes

_MOST_COUNT = 2**31 - 1


class Examined(NamedTuple):
    """Of a matrix.

    Attributes:
      kind: what its numbers are.
      hashes: of each row, as `row_hashes`, whether dense or sparse.
      no_count: where the first number is that is no count; "" where there is none.
    """

    kind: Kind
    hashes: UInt64[np.ndarray, " n"]
    no_count: str


def examine(matrix: Matrix, called: Callable[[int], str]) -> Examined:
    """Returns what the numbers of a matrix are, a part at a time.

    Whole numbers from 0 on of any type are counts, zeros and ones binary, and all else real. NaN in a dense matrix is a
    missing entry.

    Args:
      matrix: at least one number.
      called: what a message calls a column.

    Raises:
      ValueError: naming row and column, for numbers that are not finite and counts above 2³¹ − 1; for a row of NaN.
    """
    hashes: list[np.ndarray] = []
    missing, binary, no_count, too_large = False, True, "", ""
    for start in range(0, matrix.shape[0], matrix.rows_at_once):
        part = matrix.part(np.arange(start, min(start + matrix.rows_at_once, matrix.shape[0])))
        is_dense = isinstance(part, np.ndarray)
        values = part if is_dense else part.data
        nan, illegal = np.zeros(values.shape, bool), values < 0
        if values.dtype.kind == "f":
            nan = np.isnan(values)
            with np.errstate(over="ignore"):
                infinite = np.isinf(values.astype(np.float32))
            if (bad := infinite if is_dense else infinite | nan).any():
                or_nan = ", or NaN where one is missing" if is_dense else "; only dense ones may be missing, as NaN"
                raise ValueError(f"{_place(part, bad, start, called)}: its numbers must be finite{or_nan}")
            illegal |= (values != np.floor(values)) & ~nan
        if is_dense and (empty := np.flatnonzero(nan.all(axis=1))).size:
            raise ValueError(f"row {start + empty[0]} has no entry: all of it is NaN. Leave such rows out")
        missing, binary = missing or bool(nan.any()), binary and not (values > 1).any()
        no_count = no_count or _place(part, illegal, start, called)
        too_large = too_large or _place(part, values > _MOST_COUNT, start, called)
        if is_dense:
            hashes.append(row_hashes(part))
        else:
            hashes.append(sparse_row_hashes(part.data, part.indices, part.indptr, part.shape[1]))
    if too_large and not no_count:
        raise ValueError(f"{too_large}: its counts must be whole numbers from 0 to 2**31 - 1")
    name = "real" if no_count else "binary" if binary else "count"
    dtype = np.dtype(np.int32 if name == "count" else np.float32)
    return Examined(Kind(name, dtype, has_missing=missing), np.concatenate(hashes), no_count)


def _place(part: Any, bad: Bool[np.ndarray, "..."], start: int, called: Callable[[int], str]) -> str:
    """Where the first of some numbers of a part is, whose first row is `start`."""
    if not bad.any():
        return ""
    place = int(np.argmax(bad))
    if isinstance(part, np.ndarray):
        row, column = divmod(place, part.shape[1])
        value = part[row, column]
    else:
        row, column = int(np.searchsorted(part.indptr, place, side="right")) - 1, int(part.indices[place])
        value = part.data[place]
    return f"row {start + row} has {value} at {called(column)}"
