"""Matrices of which rows are taken in any order: dense or sparse, in memory or in an HDF5 file."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Shaped

from .dataset import DataError

_AT_ONCE = 2**22  # numbers
_MOST_GAP = 8  # Reading so many rows more is faster than reading twice.


@runtime_checkable
class Matrix(Protocol):
    """Numbers [n, d] of a file.

    Attributes:
      rows_at_once: how many rows are a part of moderate size.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    rows_at_once: int

    def part(self, rows: Int[np.ndarray, " rows"]) -> Any:
        """Returns some rows: an array where the matrix is dense, else a `csr_array` without duplicates.

        Raises:
          DataError: naming the file, where it is damaged.
        """
        ...


class DenseFile:
    """A matrix of an HDF5 file."""

    def __init__(self, path: str | Path, dataset: Any) -> None:
        self._path, self._dataset = path, dataset
        self.shape: tuple[int, int] = dataset.shape
        self.dtype: np.dtype = dataset.dtype
        self.rows_at_once = max(1, _AT_ONCE // max(1, self.shape[1]))

    def part(self, rows: Int[np.ndarray, " rows"]) -> Shaped[np.ndarray, "rows d"]:
        spans, places = _spans(rows)
        with reading(self._path):
            return np.concatenate([self._dataset[:0], *(self._dataset[start:stop] for start, stop in spans)])[places]


class SparseFile:
    """A matrix of an HDF5 file whose rows are compressed (CSR)."""

    def __init__(self, path: str | Path, group: Any, shape: tuple[int, int]) -> None:
        """Raises `DataError` where the group's arrays are not of a matrix of this shape."""
        self._path, self.shape = path, shape
        self._data, self._indices, pointers = (group[name] for name in ("data", "indices", "indptr"))
        self.dtype: np.dtype = self._data.dtype
        self.nbytes: int = sum(of.nbytes for of in (self._data, self._indices, pointers))
        with reading(path):
            _check_pointers(pointers, self._indices, self._data, shape[0])
            self._starts = pointers[:].astype(np.int64)
        self.rows_at_once = max(1, shape[0] * _AT_ONCE // max(1, len(self._data)))

    def part(self, rows: Int[np.ndarray, " rows"]) -> Any:
        spans, places = _spans(rows)
        ends = self._starts
        pieces = [slice(ends[start], ends[stop]) for start, stop in spans]
        lengths = [np.diff(ends[start : stop + 1]) for start, stop in spans]
        starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
        with reading(self._path):
            of = lambda array: np.concatenate([array[:0], *(array[piece] for piece in pieces)])
            arrays = {"data": of(self._data), "indices": of(self._indices), "indptr": starts}
            return compressed("csr", arrays, (len(starts) - 1, self.shape[1]))[places]

    def in_memory(self) -> "SparseMemory":
        with reading(self._path):
            arrays = {"data": self._data[:], "indices": self._indices[:], "indptr": self._starts}
            return SparseMemory(compressed("csr", arrays, self.shape))


class SparseMemory:
    """A `csr_array` without duplicates."""

    def __init__(self, matrix: Any) -> None:
        self._matrix, self.shape, self.dtype = matrix, tuple(matrix.shape), matrix.dtype
        self.rows_at_once = max(1, self.shape[0] * _AT_ONCE // max(1, matrix.nnz))

    def part(self, rows: Int[np.ndarray, " rows"]) -> Any:
        return self._matrix[rows]


def dense(part: Any) -> Shaped[np.ndarray, "rows d"]:
    """Returns a part of a matrix as an array."""
    return part if isinstance(part, np.ndarray) else part.toarray()


def compressed(kind: str, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> Any:
    """Returns the `csr_array`, without duplicates, that arrays of the format "csr", "csc" or "coo" describe.

    Raises:
      ValueError: for arrays that are not of a matrix of this shape: SciPy reads beyond them otherwise.
    """
    from scipy import sparse

    data = arrays["data"]
    if data.dtype.kind not in "biuf":
        raise ValueError(f"its numbers must be whole, floating or booleans, got {data.dtype}")
    data = data.astype(np.float32) if data.dtype == np.float16 else data  # which SciPy has no sparse arrays of
    if kind == "coo":
        row, column = arrays["row"], arrays["col"]
        if not row.shape == column.shape == data.shape or {row.dtype.kind, column.dtype.kind} - set("iu"):
            raise ValueError("its rows, columns and numbers must be as many, and the first two whole numbers")
        found: Any = sparse.coo_array((data, (row, column)), shape=shape)
    else:
        _check_pointers(arrays["indptr"], arrays["indices"], data, shape[0 if kind == "csr" else 1])
        make = {"csr": sparse.csr_array, "csc": sparse.csc_array}[kind]
        found = make((data, arrays["indices"], arrays["indptr"]), shape=shape)
        found.check_format(full_check=True)
    found = found.tocsr()
    found.sum_duplicates()
    return found


def _check_pointers(pointers: Any, indices: Any, data: Any, number: int) -> None:
    """Raises `ValueError` unless they divide as many indices as there are numbers among `number` rows or columns."""
    if {pointers.dtype.kind, indices.dtype.kind} - set("iu"):
        raise ValueError(f"its indptr and indices must be whole numbers, got {pointers.dtype} and {indices.dtype}")
    if pointers.shape != (number + 1,) or indices.shape != data.shape:
        raise ValueError(
            f"indptr must have {number + 1} numbers, and indices as many as data, got {list(pointers.shape)}, "
            f"{list(indices.shape)} and {list(data.shape)}"
        )
    ends = pointers[:].astype(np.int64)
    if ends[0] or ends[-1] != data.shape[0] or np.any(ends[1:] < ends[:-1]):
        raise ValueError(f"its indptr must rise from 0 to the {data.shape[0]} numbers that are stored")


def _spans(rows: Int[np.ndarray, " rows"]) -> tuple[list[tuple[int, int]], Int[np.ndarray, " rows"]]:
    """Returns ranges that hold the rows, and the place of each row in these ranges one after another."""
    different = np.unique(rows)
    pieces = np.split(different, np.flatnonzero(np.diff(different) > _MOST_GAP) + 1)
    spans = [(int(piece[0]), int(piece[-1]) + 1) for piece in pieces if len(piece)]
    read = np.concatenate([np.zeros(0, np.int64), *(np.arange(start, stop) for start, stop in spans)])
    return spans, np.searchsorted(read, rows)


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Names the file in what h5py, anndata and SciPy raise for one that is damaged."""
    try:
        yield
    except (FileNotFoundError, DataError):
        raise
    except Exception as error:  # a file may hold anything, and they may raise anything for it
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}") from error
