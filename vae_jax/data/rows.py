"""The rows of a file as the examples of a model that was trained on others."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped

from ..distributions import Masked
from ..names import nearest
from .columns import convert
from .contents import Contents, Variable
from .dataset import DataError
from .entries import Entries
from .images import fit_all
from .kinds import Kind, check_legal
from .row_files import KINDS, RowFile, open_file
from .schema import Column, from_json

_ID_NAMES = ("id", "ids")
_READ_AT_ONCE = 2**14
_NO_HOLES = "is a missing entry, and the model was trained without any: fill it, or train with data.missing above 0"


class Block(NamedTuple):
    """Some rows of a file.

    Attributes:
      start: the number of the first of them.
      examples: x, or a pair (x, c), as `VAE.at` takes them; pictures as numbers in [0, 1].
      ids: what names each row; None where nothing does.
      columns: the entries of the columns that were asked for besides.
    """

    start: int
    examples: Any
    ids: Shaped[np.ndarray, " rows"] | None
    columns: dict[str, Entries]


def open_rows(
    path: str | Path,
    contents: Contents,
    *,
    layer: str | None = None,
    image_size: Sequence[int] | None = None,
    channels: int | None = None,
    id_name: str | None = None,
    schema: Mapping[str, Any] | None = None,
    element_names: Sequence[str] | None = None,
) -> "Rows":
    """Returns the rows of a file as examples of a model with these contents; `runs.open_rows` does of a run's.

    Args:
      path: an array (.npy, .npz), a table (.csv, .parquet), an AnnData file (.h5ad), a picture, or a folder of
        pictures. The columns of a table may come in any order, and beside others. Of an array x the table's columns are
        x_0, x_1, …, row by row.
      contents: what an example is.
      layer: of an AnnData file, that which is read in the place of X.
      image_size: to which pictures are made, as by `load`.
      channels: to which they are made.
      id_name: the column that names the rows; by default the one that the file or the schema says is the id, or that
        is called "id" or "ids".
      schema: what the columns of the model's data were, as `Dataset.schema`.
      element_names: what the elements of x were called, as `Dataset.element_names`: those of an AnnData file are taken
        by these names, in their order.

    Raises:
      FileNotFoundError: for a path that does not exist.
      ValueError: naming the file, for one that is damaged, of another kind or shape, or lacks a column.
    """
    path = Path(os.path.expanduser(path))
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if layer is not None and path.suffix != ".h5ad":
        raise ValueError(f"a layer is one of an .h5ad file, got {layer!r} for {path}")
    size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
    file = open_file(path, contents, layer, size, channels, element_names)
    of_schema = [name for name, column in from_json(schema or {}).items() if column.kind == "id"]
    known = [name for name in (file.id_name, *of_schema, *_ID_NAMES) if name in file.names]
    own = [name for name in known if name not in contents.variables()]
    return Rows(path, file, contents, id_name or next(iter(own), None), (size, channels), element_names)


class Rows:
    """The rows of a file as examples.

    Attributes:
      number: how many there are; None where only reading all of the file would tell.
      id_name: the column that names them; None where there is none.
      names: of the file's columns.
      contents: what an example is.
      element_names: what the elements of x are called; None where they have no names.
    """

    def __init__(
        self,
        path: Path,
        file: RowFile,
        contents: Contents,
        id_name: str | None,
        fitted: tuple[tuple[int, int] | None, int | None],
        element_names: Sequence[str] | None,
    ) -> None:
        self.number, self.names, self.id_name, self.contents = file.number, list(file.names), id_name, contents
        self._path, self._file, self._fitted, self.element_names = path, file, fitted, element_names
        self._conditions = {n: Column(n, of.kind, of.levels, condition=True) for n, of in contents.condition.items()}
        self._is_array = isinstance(contents.x, Variable) and file.array_shape is not None
        self._columns = {} if self._is_array else _columns_of_x(contents)
        absent = [name for name in self._columns if name not in file.names]
        if absent and file.array_shape is not None:
            raise DataError(f"{path} holds an array, and the model's examples are a table; {KINDS} with its columns")
        if absent and isinstance(contents.x, Variable):
            raise DataError(
                f"{path} is a table, and the model's examples are an array {_sizes(contents.x.shape)}: give an .npy or "
                f".npz file, or a table with the columns x_0 to x_{len(self._columns) - 1}, of which {absent[0]!r} is "
                "missing"
            )
        self._check_names([*absent, *self._conditions, *([] if id_name is None else [id_name])])
        if self._is_array and fitted == (None, None):
            shape = file.array_shape or ()
            self._check_shape((*shape, 1) if contents.is_picture and len(shape) == 2 else shape)
        self._white = file.white() if self._is_array and contents.is_picture else 1

    def blocks(self, size: int, columns: Collection[str] = ()) -> Iterator[Block]:
        """Returns the rows in order, in blocks of `size` and a last one of fewer, beside the entries of more columns.

        Raises:
          DataError: naming the file, for a column that it lacks; and, when its row comes, for an entry that is not of
            its variable's kind, or missing where the model knows no missing ones, and for a file that ends early.
        """
        self._check_names(columns)
        more = [*columns, *([] if self.id_name is None else [self.id_name])]
        wanted = {name: Column(name, "ignore") for name in more} | self._columns | self._conditions
        return self._blocks(size, wanted, columns)

    def unused(self, columns: Collection[str] = ()) -> list[str]:
        """Returns the names of the file's columns that no block has, beside the entries of these ones."""
        used = {*columns, *self._columns, *self._conditions, self.id_name}
        return [name for name in self.names if name not in used]

    def read(self) -> Any:
        """Returns the examples of all rows; raises as `blocks`."""
        blocks = [block.examples for block in self.blocks(_READ_AT_ONCE)]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *blocks)

    def _blocks(self, size: int, wanted: Mapping[str, Column], columns: Collection[str]) -> Iterator[Block]:
        start = 0
        for array, entries in self._file.blocks(size, wanted):
            for of in entries.values():
                if of.unreadable:
                    raise of.error(f"{of.unreadable}, neither numbers nor texts; change it, or leave the column out")
            x = self._of_array(array, start) if self._is_array else self._of_columns(entries, start)
            c = {name: convert(column, entries[name]) for name, column in self._conditions.items()}
            ids = None if self.id_name is None else entries[self.id_name].of_rows
            yield Block(start, (x, c) if c else x, ids, {name: entries[name] for name in columns})
            start += len(jax.tree.leaves(x)[0])

    def _of_columns(self, entries: Mapping[str, Entries], start: int) -> Any:
        for name in self._columns if not self.contents.masked else ():
            entries[name].refuse(~entries[name].seen, _NO_HOLES)
        values = {name: convert(column, entries[name]) for name, column in self._columns.items()}
        seen = {name: entries[name].seen[entries[name].codes] for name in self._columns}
        if isinstance(self.contents.x, Variable):
            numbers = [np.where(seen[name], values[name], np.nan) for name in self._columns]
            return self._of_array(np.stack(numbers, axis=1).reshape(-1, *self.contents.x.shape), start)
        return {name: self._masked(values[name], seen[name]) for name in values}

    def _of_array(self, values: np.ndarray, start: int) -> Any:
        assert isinstance(self.contents.x, Variable)
        rows, name = np.arange(start, start + len(values)), self.contents.x.kind
        if values.dtype.kind not in "biuf":
            raise DataError(f"{self._path}: its numbers must be whole, floating or booleans, got {values.dtype}")
        if name == "picture":
            values = self._as_pictures(values)
        self._check_shape(values.shape[1:])
        missing = np.isnan(values)
        if missing.any() and not self.contents.masked:
            row, *place = np.argwhere(missing)[0].tolist()
            raise DataError(f"{self._path}, row {rows[row]}, {place}: NaN {_NO_HOLES}")
        kind = Kind(name, np.dtype(np.int32 if name == "count" else np.float32), has_missing=self.contents.masked)
        try:
            check_legal(values, kind, rows)
        except ValueError as error:
            raise DataError(f"{self._path}: {error}") from error
        return self._masked(np.where(missing, 0, values).astype(kind.dtype), ~missing)

    def _as_pictures(self, values: np.ndarray) -> np.ndarray:
        """Returns pictures as numbers in [0, 1], made to the size and the channels of the model's."""
        values = values[..., None] if values.ndim == 3 else values
        if values.dtype.kind == "f":
            return values
        if self._white > 255:
            return values / np.float32(self._white)
        pictures = values.astype(np.uint8) * np.uint8(255 // self._white)
        size, channels = self._fitted
        return fit_all(pictures, size=size, channels=channels) / np.float32(255)

    def _masked(self, values: np.ndarray, seen: np.ndarray) -> Any:
        return Masked(values, seen) if self.contents.masked else values

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if shape != self.contents.event_shape:
            expected = _sizes(self.contents.event_shape)
            raise DataError(f"{self._path} holds examples {_sizes(shape)}, and the model's are {expected}")

    def _check_names(self, names: Collection[str]) -> None:
        for name in names:
            if name not in self.names:
                have = ", ".join(self.names) or "none"
                raise DataError(f"{self._path} lacks the column {name!r}.{nearest(name, self.names)} It has: {have}")


def _columns_of_x(contents: Contents) -> dict[str, Column]:
    """Returns the columns that hold x: those of a table, or of an array x_0, x_1, …, row by row."""
    if isinstance(contents.x, Variable):
        kind = "real" if contents.x.kind == "picture" else contents.x.kind
        return {f"x_{place}": Column(f"x_{place}", kind) for place in range(contents.num_elements)}
    return {name: Column(name, of.kind, of.levels) for name, of in contents.x.items()}


def _sizes(shape: Sequence[int]) -> str:
    return f"of shape {list(shape)}"
