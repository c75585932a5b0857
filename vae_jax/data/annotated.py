"""AnnData files: a matrix of cells by genes, and what is known of the cells."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from ..names import nearest
from .dataset import DataError
from .matrices import DenseFile, Matrix, SparseFile, SparseMemory, compressed, dense, reading


class Annotated:
    """An .h5ad file, of which rows and columns are read when they are asked for. Nothing in it is unpickled.

    Attributes:
      shape: [cells, genes].
      var_names: the names of the genes.
      obs: what is known of every cell, by name.
      layers: the names of its layers.
      layer: the one that is read; None where it is X.
      matrix: the numbers.

    Args:
      path: of the file.
      layer: the name of the layer that is read in the place of X.
      memory_limit: the bytes that a matrix which is stored by columns (CSC) may take: it is turned into rows in memory.

    Raises:
      FileNotFoundError: for a path that does not exist.
      DataError: naming the file, for one that is damaged, is no AnnData file, lacks X or the layer, or has parts that
        do not fit together; and where anndata is not installed.
    """

    def __init__(self, path: str | Path, layer: str | None = None, *, memory_limit: int = 2**31) -> None:
        try:
            import anndata  # noqa: F401 -- `_element` needs it
            import h5py
        except ModuleNotFoundError as error:
            raise DataError(f"{path} needs anndata: pip install 'vae_jax[anndata]'") from error
        self._path, self.layer = path, layer
        with reading(path):
            self._file: Any = h5py.File(path, "r")
            self.layers = list(self._file.get("layers", ()))
            obs, var = _frame(path, self._file, "obs"), _frame(path, self._file, "var")
            self._names, self.var_names = obs[obs.attrs["_index"]], _texts(_element(var[var.attrs["_index"]]))
            number = len(self._names if hasattr(self._names, "asstr") else self.obs_names)
            self.obs = Obs(path, obs, number)
            self.shape = (number, len(self.var_names))
            self.matrix = self._opened(memory_limit)
        if not all(self.shape):
            raise DataError(f"{path} holds no numbers: it has {self.shape[0]} cells and {self.shape[1]} genes")
        if self.matrix.dtype.kind not in "biuf":
            raise DataError(f"{path}: {self._called} must be of numbers or booleans, got {self.matrix.dtype}")

    def __len__(self) -> int:
        return self.shape[0]

    @functools.cached_property
    def obs_names(self) -> Shaped[np.ndarray, " cells"]:
        """The names of the cells."""
        with reading(self._path):
            return _texts(_element(self._names))

    def names_of(self, start: int, stop: int) -> list[str]:
        """Returns the names of some cells; raises `DataError` where the file is damaged."""
        if not hasattr(self._names, "asstr"):  # of pandas' own kind of text, a group of two arrays
            return self.obs_names[start:stop].tolist()
        with reading(self._path):
            return self._names.asstr()[start:stop].tolist()

    def matrix_rows(self, rows: Int[np.ndarray, " rows"]) -> Shaped[np.ndarray, "rows genes"]:
        """Returns rows of the matrix, in any order; raises `DataError` where the file is damaged."""
        return dense(self.matrix.part(rows))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @property
    def _called(self) -> str:
        return "X" if self.layer is None else f"the layer {self.layer!r}"

    def _opened(self, memory_limit: int) -> Matrix:
        path, called = self._path, self._called
        node, kind = self._node()
        is_compressed = kind in ("csr_matrix", "csc_matrix")
        shape = tuple(map(int, node.attrs["shape"] if is_compressed else getattr(node, "shape", ())))
        if len(shape) != 2:
            raise DataError(f"{path}: {called} must be a matrix, dense or sparse (CSR, CSC), got {kind or 'another'!r}")
        if shape != self.shape:
            raise DataError(f"{path}: {called} is {list(shape)}, and obs and var have {list(self.shape)} names")
        if not is_compressed:
            return DenseFile(path, node)
        if kind == "csr_matrix":
            return SparseFile(path, node, shape)
        arrays = {name: node[name] for name in ("data", "indices", "indptr")}
        if (nbytes := sum(of.nbytes for of in arrays.values())) > memory_limit:
            raise DataError(
                f"{path}: {called} is stored by columns (CSC), {nbytes / 2**30:.3g} GiB, more than may be in memory "
                f"({memory_limit / 2**30:.3g} GiB, data.memory_gb) to turn it into rows: save it as a "
                "csr_matrix, whose rows are read as needed, or raise data.memory_gb"
            )
        return SparseMemory(compressed("csc", {name: of[:] for name, of in arrays.items()}, shape))

    def _node(self) -> tuple[Any, Any]:
        """Returns what the file calls X or the layer, and what it says it is."""
        have = f"its layers are {', '.join(self.layers)}" if self.layers else "it has no layers"
        if self.layer is None and "X" not in self._file:
            raise DataError(f"{self._path} has no X; {have}, one of which data.layer may name")
        if self.layer is not None and self.layer not in self.layers:
            near = nearest(self.layer, self.layers)
            raise DataError(f"{self._path} has no layer {self.layer!r} for data.layer.{near} In all, {have}")
        node = self._file["X"] if self.layer is None else self._file["layers"][self.layer]
        return node, node.attrs.get("encoding-type")


class Obs(Mapping[str, np.ndarray]):
    """What is known of every cell, by name: numbers, booleans, or texts, with None or NaN where one is missing.

    A column is read when it is asked for; `DataError` is raised for one that is damaged, or is none of these.
    """

    def __init__(self, path: str | Path, group: Any, number: int) -> None:
        self._path, self._group, self._number = path, group, number
        self._names = list(dict.fromkeys(map(str, group.attrs.get("column-order", ()))))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Shaped[np.ndarray, " cells"]:
        values, levels = self.column(name)
        return values if levels is None else np.array([*levels, None], object)[values]

    def column(self, name: str) -> tuple[Shaped[np.ndarray, " cells"], tuple[str, ...] | None]:
        """Returns a column and None; of a categorical the codes of its entries, −1 for missing ones, and its levels."""
        if name not in self._names:
            raise KeyError(name)
        where = f"{self._path}, obs column {name!r}"
        with reading(where):
            values = _element(self._group[name])
            if len(getattr(values, "shape", ())) != 1:
                raise ValueError("it is no column")
            if len(values) != self._number:
                raise ValueError(f"it has {len(values)} entries, and there are {self._number} cells")
            if hasattr(values, "categories"):
                return np.asarray(values.codes), tuple(map(str, values.categories))
            return _plain(values), None


def _frame(path: str | Path, file: Any, name: str) -> Any:
    group = file.get(name)
    if group is None or "_index" not in group.attrs:
        raise DataError(
            f"{path} is no AnnData file of version 0.7 or later: it has no table {name!r}. Read an older one "
            "with anndata, and write it again"
        )
    return group


def _element(stored: Any) -> Any:
    import anndata

    return anndata.io.read_elem(stored)


def _plain(values: Any) -> np.ndarray:
    """Returns an array of numpy's or of pandas' as numpy has it."""
    import pandas as pd

    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
        return values
    if pd.api.types.is_numeric_dtype(values.dtype):  # pandas' own, which may have missing entries; booleans too
        if pd.isna(values).any():
            return values.to_numpy(np.float64, na_value=np.nan)
        return values.to_numpy(values.dtype.type)
    return _texts(values)


def _texts(values: Any) -> Shaped[np.ndarray, " n"]:
    import pandas as pd

    texts = np.array(values, object)
    texts[pd.isna(values)] = None
    if not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError(f"it holds {values.dtype}, neither texts nor numbers")
    return texts
