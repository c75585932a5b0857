"""One's own matrices of counts or other numbers as a source: AnnData files, and sparse matrices of SciPy."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from ..distributions import Masked
from .annotated import Annotated
from .arrays import Header, headers, read_npz
from .conditions import LABEL
from .contents import Contents, Variable
from .covariates import Known, category, classes, covariate
from .dataset import DataError
from .examined import examine
from .matrices import Matrix, SparseFile, SparseMemory, compressed, dense, reading

LABEL_NAMES = ("label", "labels", "y", "targets", "cell_type")
_MOST_ABOUT = 2**10
_ARRAYS_OF = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "coo": ("data", "row", "col"),
}


class MatrixSource:
    """The rows of a matrix as examples."""

    is_decoded = True

    def __init__(
        self,
        path: Path,
        matrix: Matrix,
        *,
        memory_limit: int,
        called: Callable[[int], str] = "column {}".format,
        labels: np.ndarray | None = None,
        covariates: Mapping[str, Known] | None = None,
        notes: Sequence[str] = (),
        element_names: Sequence[str] | None = None,
    ) -> None:
        """`called` is what a message calls a column."""
        number, length = matrix.shape
        if not number or not length:
            raise DataError(f"data.path {path} holds no examples: its matrix has the shape {[number, length]}")
        if 4 * length > memory_limit:
            raise DataError(
                f"data.path {path}: one example has {length} numbers, more than may be held in memory "
                f"({memory_limit / 2**30:.3g} GiB, data.memory_gb)"
            )
        self._matrix, self._labels, self.covariates = matrix, labels, dict(covariates or {})
        self.element_names = element_names
        try:
            self._kind, self._hashes, no_count = examine(matrix, called)
        except ValueError as error:
            raise error if isinstance(error, DataError) else DataError(f"data.path {path}: {error}") from error
        self.contents = Contents(Variable(self._kind.name, (length,)), masked=self._kind.has_missing)
        why = f" (no counts: {no_count})" if no_count else ""
        holes = ", NaN where an entry is missing" if self._kind.has_missing else ""
        taken = f"{path}: {number} examples of shape {[length]}, taken for {self._kind.called}{why}{holes}"
        self.notes = (taken, *notes)

    def __len__(self) -> int:
        return len(self._hashes)

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
        values = dense(self._matrix.part(rows))
        if not self._kind.has_missing:
            return values.astype(self._kind.dtype, copy=False), self.labels_of(rows)
        observed = ~np.isnan(values)
        return Masked(np.where(observed, values, 0).astype(self._kind.dtype), observed), self.labels_of(rows)

    def labels_of(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self._labels is None else self._labels[rows]

    def hashes(self) -> UInt64[np.ndarray, " n"]:
        return self._hashes

    def identity(self, rows: np.ndarray) -> bytes:
        return self._hashes[rows].astype("<u8").tobytes()


def annotated_source(path: Path, layer: str | None, *, memory_limit: int) -> MatrixSource:
    """Returns the cells of an .h5ad file: X or a layer, with the columns of obs as covariates.

    The labels are the column "label", "labels", "y", "targets" or "cell_type", the first without missing entries.

    Raises:
      DataError: as `Annotated`, and for numbers that are not finite.
    """
    file = Annotated(path, layer, memory_limit=memory_limit)
    matrix = file.matrix
    if isinstance(matrix, SparseFile) and matrix.nbytes <= memory_limit:
        matrix = matrix.in_memory()
    known, notes = _of_obs(path, file)
    labels, named = _labels(file, known)
    if layer is None and file.layers:
        notes.append(f"{path}: X is read; data.layer may name one of its layers instead: {', '.join(file.layers)}")
    return MatrixSource(
        path,
        matrix,
        memory_limit=memory_limit,
        called=lambda column: f"gene {file.var_names[column]!r}",
        labels=labels,
        covariates={**named, **known},
        notes=notes,
        element_names=list(map(str, file.var_names)),
    )


def _of_obs(path: Path, file: Annotated) -> tuple[dict[str, Known], list[str]]:
    """What is known of all cells, and notes on what is known of some."""
    known: dict[str, Known] = {}
    notes = []
    for name in file.obs:
        try:
            values, levels = file.obs.column(name)
        except DataError as error:
            notes.append(f"{error}; it is left out")
            continue
        missing = _missing(values) if levels is None else values < 0
        if missing.any():
            notes.append(f"{path}: the obs column {name!r} is left out: row {np.argmax(missing)} has no entry")
        elif levels is not None:
            known[name] = category(values, levels)
        else:
            known[name] = covariate(values.astype(str) if values.dtype == object else values)
    return known, notes


def _missing(values: np.ndarray) -> np.ndarray:
    return np.array([text is None for text in values]) if values.dtype == object else np.isnan(values)


def _labels(file: Annotated, known: Mapping[str, Known]) -> tuple[np.ndarray | None, dict[str, Known]]:
    for name in (name for name in LABEL_NAMES if name in known):
        values, levels = file.obs.column(name)
        if levels is not None:
            return known[name][1], {LABEL: known[name]}
        with contextlib.suppress(ValueError):  # of numbers that are no classes
            return classes(values.astype(str) if values.dtype == object else values)
    return None, {}


def is_sparse(path: Path) -> bool:
    """Returns whether an .npz file is one of `scipy.sparse.save_npz`; False for one that is damaged."""
    try:
        return {"format", "shape", "data"} <= set(headers(path))
    except ValueError:
        return False


def sparse_source(path: Path, *, memory_limit: int) -> MatrixSource:
    """Returns the rows of a sparse matrix of `scipy.sparse.save_npz`; raises as `sparse_matrix`."""
    return MatrixSource(path, sparse_matrix(path, memory_limit=memory_limit), memory_limit=memory_limit)


def sparse_matrix(path: Path, *, memory_limit: int) -> SparseMemory:
    """Returns the matrix that `scipy.sparse.save_npz` has saved, in memory.

    Raises:
      DataError: for a file that is damaged, a format other than CSR, CSC and COO, a matrix of more than `memory_limit`
        bytes, or numbers that are not finite.
    """
    with reading(f"data.path {path}"):
        found = {name: of for name, of in headers(path).items() if isinstance(of, Header)}
        about = read_npz(path, lambda names: ("format", "shape"), memory_limit=_MOST_ABOUT)
        kind, shape = about["format"].item(), tuple(map(int, about["shape"]))
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind not in _ARRAYS_OF or len(shape) != 2 or min(shape) < 0:
            raise ValueError(
                f"it holds {list(shape)} numbers in the format {kind!r}; a matrix in one of {', '.join(_ARRAYS_OF)} is "
                "read: save matrix.tocsr()"
            )
        names = _ARRAYS_OF[kind]
        if lacks := [name for name in names if name not in found]:
            raise ValueError(f"it lacks the array {lacks[0]!r} of the format {kind!r}: save matrix.tocsr()")
        pointers = 8 * (1 + shape[0])
        nbytes = pointers + sum(math.prod(found[name].shape) * found[name].dtype.itemsize for name in names)
        if nbytes > memory_limit:
            raise ValueError(
                f"unpacked it takes {nbytes / 2**30:.3g} GiB, more than may be held in memory "
                f"({memory_limit / 2**30:.3g} GiB, data.memory_gb): save it as an .h5ad file, whose rows are read as "
                "needed, or raise data.memory_gb"
            )
        return SparseMemory(compressed(kind, read_npz(path, lambda _: names, memory_limit=memory_limit), shape))
