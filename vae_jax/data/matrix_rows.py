"""Rows of AnnData files and of sparse matrices, some at a time."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..names import nearest
from .annotated import Annotated
from .dataset import DataError
from .entries import Entries, of_numbers, of_texts
from .matrices import dense
from .matrix_sources import LABEL_NAMES, sparse_matrix
from .schema import Column

_OBS_NAMES = "obs_names"


class AnnotatedRows:
    """The cells of an .h5ad file: X or a layer, and as columns the names of the cells and obs."""

    id_name = _OBS_NAMES

    def __init__(self, path: Path, layer: str | None, element_names: Sequence[str] | None) -> None:
        self._path, self._file = path, Annotated(path, layer)
        self.number: int | None = len(self._file)
        self._columns = {name: name for name in self._file.obs}
        if "label" not in self._columns and (label := next(filter(self._columns.get, LABEL_NAMES), None)):
            self._columns["label"] = label
        self.names = [_OBS_NAMES, *self._columns]
        self._genes = None if element_names is None else _places(path, self._file.var_names.tolist(), element_names)
        self.array_shape: tuple[int, ...] | None = (self._file.shape[1] if self._genes is None else len(self._genes),)

    def white(self) -> int:
        return 1

    def blocks(self, size: int, columns: Mapping[str, Column]) -> Iterator[tuple[np.ndarray, dict[str, Entries]]]:
        """Yields the numbers of some cells, and the entries of these columns."""
        obs = {name: self._file.obs[self._columns[name]] for name in columns if name != _OBS_NAMES}
        for start in range(0, len(self._file), size):
            rows = np.arange(start, min(start + size, len(self._file)))
            values = self._file.matrix_rows(rows)
            where = lambda row, start=start: f"{self._path}, row {start + row}"
            found = {}
            for name, column in columns.items():
                part = (
                    obs[name][rows] if name in obs else np.array(self._file.names_of(start, start + len(rows)), object)
                )
                if part.dtype == object:
                    texts = ["" if text is None else text for text in part.tolist()]
                    found[name] = of_texts(self._path, name, texts, where, column.levels)
                else:
                    found[name] = of_numbers(self._path, name, part, where)
            yield values if self._genes is None else values[:, self._genes], found
        self._file.close()


class SparseRows:
    """The rows of a matrix that `scipy.sparse.save_npz` has saved, which is in memory as it is stored."""

    names: Sequence[str] = ()
    id_name: str | None = None

    def __init__(self, path: Path) -> None:
        self._matrix = sparse_matrix(path, memory_limit=sys.maxsize)
        self.number: int | None = self._matrix.shape[0]
        self.array_shape: tuple[int, ...] | None = self._matrix.shape[1:]

    def white(self) -> int:
        return 1

    def blocks(self, size: int, columns: Mapping[str, Column]) -> Iterator[tuple[np.ndarray, dict[str, Entries]]]:
        """Yields some rows."""
        number = self._matrix.shape[0]
        for start in range(0, number, size):
            yield dense(self._matrix.part(np.arange(start, min(start + size, number)))), {}


def _places(path: Path, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray | None:
    """Returns the places of the names that are wanted; None where they are all of them, in their order."""
    if list(names) == list(wanted):
        return None
    place = {name: number for number, name in enumerate(names)}
    for name in wanted:
        if name not in place:
            raise DataError(f"{path} has no var {name!r}, which the model's examples have.{nearest(name, names)}")
    return np.array([place[name] for name in wanted])
