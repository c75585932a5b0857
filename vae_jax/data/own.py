"""One's own data: an array, a matrix or a table in a file, or a folder of pictures."""

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..distributions import Masked
from . import schema as schemas
from .arrays import open_npy, read_npz
from .contents import Contents, Variable
from .covariates import Known, classes, covariate
from .dataset import DataError, OwnSource
from .images import fit_all, to_bytes
from .kinds import Kind, kind_of
from .matrix_sources import annotated_source, is_sparse, sparse_source
from .splits import row_hashes
from .tables import check_levels_in_training, read_table

_NAMES, _LABEL_NAMES = ("x", "images", "data", "arr_0"), ("y", "labels", "label", "targets")


def own_sources(
    path: str | Path,
    *,
    size: tuple[int, int] | None,
    channels: int | None,
    memory_limit: int,
    schema: str | Path | Mapping[str, Any] | None = None,
    condition: Sequence[str] = (),
    layer: str | None = None,
) -> dict[str, OwnSource]:
    """Returns the splits of an array, a matrix, a table or a folder of pictures: "train" alone, or what it holds.

    An .npz holds one array, or one of the name "x", "images" or "data" beside labels "y", "labels", "label" or
    "targets": whole numbers, or text, whose classes are numbered in alphabetical order. Its other arrays of one number
    or text for each example are covariates. For a .csv or .parquet file see `tables.read_table`, for an .h5ad file and
    an .npz file of `scipy.sparse.save_npz` `matrix_sources`, for a folder `folder_sources`.

    Raises:
      FileNotFoundError: for a path that does not exist.
      ValueError: naming the file, for anything in it that is no example or not like the others, and for an .npz of
        which an array takes more than `memory_limit` bytes.
    """
    path = Path(os.path.expanduser(path))  # which leaves a user's name that does not exist as it is
    if not path.exists():
        raise FileNotFoundError(
            f"data.path {path} does not exist; where the data of a run have moved, --data_path names their new place"
        )
    if layer is not None and path.suffix != ".h5ad":
        raise ValueError(f"data.layer is the name of one in an .h5ad file, got {layer!r} for {path}")
    if path.suffix in (".csv", ".parquet") and path.is_file():
        return {"train": _Rows(path, schema, condition, memory_limit)}
    if schema is not None:
        raise ValueError(f"data.schema says what the columns of a .csv or .parquet file are, and data.path is {path}")
    if path.is_dir():
        from .folders import folder_sources

        return folder_sources(path, size=size, channels=channels)
    if path.suffix == ".h5ad" or (path.suffix == ".npz" and is_sparse(path)):
        if size is not None or channels is not None:
            raise DataError(f"data.path {path}: data.image_size and data.channels are for pictures, not for a matrix")
        if path.suffix == ".h5ad":
            return {"train": annotated_source(path, layer, memory_limit=memory_limit)}
        return {"train": sparse_source(path, memory_limit=memory_limit)}
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"data.path {path} must be an .npy, .npz, .h5ad, .csv or .parquet file or a folder of images")
    return {"train": _Arrays(path, size, channels, memory_limit)}


class _Rows:
    """Of a table."""

    def __init__(
        self,
        path: Path,
        schema: str | Path | Mapping[str, Any] | None,
        condition: Sequence[str],
        memory_limit: int,
    ) -> None:
        given = schemas.from_json(schema) if isinstance(schema, Mapping) else schema and schemas.read_schema(schema)
        self.is_decoded = True
        self._table = read_table(path, schema=given or None, conditions=condition, memory_limit=memory_limit)
        columns = [column for column in self._table.columns if column.kind in schemas.MODELLED]
        variables = {column.name: Variable(column.kind, (), column.levels) for column in columns}
        conditions = {column.name: variables.pop(column.name) for column in columns if column.condition}
        masked = any(self._table.missing.values())
        self.contents = Contents(variables, conditions, masked)
        self.schema = schemas.as_json(self._table.columns)
        self.notes = (*self._table.notes, *([] if given else [_GUESSED.format(path=path, text=self._text())]))

    def __len__(self) -> int:
        return len(self._table.hashes)

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
        of = lambda names: {n: jax.tree.map(lambda leaf: leaf[rows], self._table.values[n]) for n in names}
        x, c = of(self.contents.variables()), of(self.contents.condition)
        labels = self._table.labels
        return ((x, c) if c else x), None if labels is None else labels[rows]

    def hashes(self) -> np.ndarray:
        return self._table.hashes

    def identity(self, rows: np.ndarray) -> bytes:
        return self._table.hashes[rows].astype("<u8").tobytes()

    def check_split(self, train: np.ndarray, held_out: np.ndarray) -> None:
        check_levels_in_training(self._table, train, held_out)

    def _text(self) -> str:
        return schemas.schema_text(self._table.columns).rstrip()


_GUESSED = (
    "the columns of {path} are taken for these; to change them, write them to a file and give it as "
    "--config.data.schema=FILE:\n{text}"
)


class _Arrays:
    def __init__(self, path: Path, size: tuple[int, int] | None, channels: int | None, memory_limit: int) -> None:
        self._path, self._size, self._channels = path, size, channels
        self.is_decoded = size is None and channels is None
        try:
            self._array, self._labels, named, beside = _load(path, memory_limit)
        except Exception as error:  # a file may hold anything, and numpy may raise anything for it
            reason = str(error) or type(error).__name__
            raise DataError(f"data.path {path} cannot be read: {reason}") from error
        if not self._array.size or not self._array.ndim:
            raise DataError(f"data.path {path} holds no examples: its array has the shape {list(self._array.shape)}")
        if self._labels is not None and self._labels.shape != (len(self._array),):
            raise DataError(
                f"data.path {path}: {len(self._array)} examples need as many labels, got {list(self._labels.shape)}"
            )
        self._was_looked_at = self._array.nbytes <= memory_limit
        try:
            self._kind: Kind = kind_of(self._array, all_of_it=self._was_looked_at)
        except ValueError as error:
            raise DataError(f"data.path {path}: {error}") from error
        if (size is not None or channels is not None) and not self._kind.is_bytes:
            raise DataError(
                f"data.path {path}: data.image_size and data.channels are for pictures of bytes, and it holds "
                f"{self._array.dtype}"
            )
        known = {name: covariate(values) for name, values in beside.items() if _is_covariate(values, self)}
        self.covariates = {**named, **known}
        shape = self._value(np.arange(1)).shape[1:]
        self.contents = Contents(Variable(self._kind.name, shape), masked=self._kind.has_missing)
        holes = ", NaN where an entry is missing" if self._kind.has_missing else ""
        self.notes = (
            f"{path}: {len(self)} examples of shape {list(shape)}, taken for {self._kind.called}{holes}",
            *(
                f"{path}: the array {name!r}, {_described(values)}, is left out: it is no covariate, [{len(self)}] of "
                "numbers or text"
                for name, values in beside.items()
                if name not in known
            ),
        )
        self.hashes = functools.cache(functools.partial(row_hashes, self._array))  # read once, and only if need be

    def __len__(self) -> int:
        return len(self._array)

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
        value = self._value(rows)
        if self._kind.has_missing:
            observed = ~np.isnan(value)
            value = Masked(np.where(observed, value, np.zeros_like(value)), observed)
        return value, self.labels_of(rows)

    def labels_of(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self._labels is None else self._labels[rows]

    def identity(self, rows: np.ndarray) -> bytes:
        return self.hashes()[rows].astype("<u8").tobytes()

    def _value(self, rows: np.ndarray) -> np.ndarray:
        values = np.asarray(self._array[rows])
        try:
            if self._kind.is_bytes:
                pictures = to_bytes(values, binary=self._kind.is_black_and_white, numbers=rows.tolist())
                return fit_all(pictures, size=self._size, channels=self._channels)
            values = self._kind.convert(values, rows)
            return values[..., None] if self._kind.name == "picture" and values.ndim == 3 else values
        except ValueError as error:
            why = "" if self._was_looked_at else _LOOKED_AT_SOME
            raise DataError(f"data.path {self._path}: {error}{why}") from error


_LOOKED_AT_SOME = ". What its numbers are was decided by some of its rows; a larger data.memory_gb has all looked at"


def _load(
    path: Path, memory_limit: int
) -> tuple[np.ndarray, np.ndarray | None, dict[str, Known], dict[str, np.ndarray]]:
    """The array, its labels, the names of these, and what stands beside them."""
    if path.suffix == ".npy":
        return open_npy(path), None, {}, {}
    label: str | None = None

    def choose(names: Sequence[str]) -> list[str]:
        nonlocal label
        array, label = choose_array(names)
        if array is None:
            raise ValueError(f"one of its arrays must be called {' or '.join(_NAMES)}; it holds {list(names)}")
        others.extend(name for name in names if name not in (array, label))
        return [array] if label is None else [array, label]

    others: list[str] = []
    arrays = read_npz(path, choose, memory_limit=memory_limit)
    beside = {}
    for name in others:  # one by one: what is no covariate may be anything, Python objects too
        with contextlib.suppress(ValueError):
            beside |= read_npz(path, lambda _, name=name: [name], memory_limit=memory_limit)
    unreadable = {name: np.empty(0, object) for name in others if name not in beside}
    labels, named = (None, {}) if label is None else classes(arrays[label])
    return next(iter(arrays.values())), labels, named, beside | unreadable


def choose_array(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Returns the name of the array of examples among those of an .npz file, and of the labels."""
    only = names[0] if len(names) == 1 else None
    array = next((name for name in _NAMES if name in names), only)
    return array, next((name for name in _LABEL_NAMES if name in names and name != array), None)


def _described(values: np.ndarray) -> str:
    return f"{list(values.shape)} of {values.dtype}" if values.dtype != object else "which cannot be read"


def _is_covariate(values: np.ndarray, of: Sized) -> bool:
    return values.shape == (len(of),) and values.dtype.kind in "USbiuf"
