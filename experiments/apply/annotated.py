"""Outputs of AnnData's kind, .h5ad."""

import contextlib
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd

_TEXT = h5py.string_dtype("utf-8")
_ROWS_OF_A_CHUNK = 1024


class _Disk(io.RawIOBase):
    """A file that drops what cannot be written, and keeps the error until `told` ends.

    HDF5 ends the process where a disk is full.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file, self._error = path.open("r+b", buffering=0), None
        self.seek, self.tell, self.truncate = self._file.seek, self._file.tell, self._file.truncate

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def readinto(self, buffer: Any) -> int:
        part = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(part) and (number := self._file.readinto(part[filled:])):
            filled += number
        part[filled:] = bytes(len(part) - filled)
        return len(part)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Raises `OSError` where anything could not be written, also in the place of what HDF5 raises of it."""
        try:
            yield
        finally:
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        self._file.close()


class Annotated:
    """Arrays [n] in obs, x in a layer, other arrays in obsm as X_vae_<name>; in a copy of `like`, where it is given.

    Each is written row by row into a dataset that grows; what anndata would write of them is their attributes.
    """

    def __init__(
        self,
        partial: Path,
        *,
        id_name: str,
        layer: str,
        like: Path | None,
        overwrite: bool,
        element_names: Sequence[str] | None,
    ) -> None:
        self._layer, self._overwrite, self._is_copy, self._number = layer, overwrite, like is not None, 0
        self._names = None if element_names is None else list(element_names)
        if like is not None:
            shutil.copyfile(like, partial)
        self._disk = _Disk(partial)
        self._file: Any = h5py.File(self._disk, "r+" if self._is_copy else "w")
        self._grown: dict[str, Any] = {}
        if self._is_copy:
            names: Any = anndata.io.read_elem(self._file["var"][self._file["var"].attrs["_index"]])
            self._var: list[str] = names.tolist()

    def write(self, ids: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> None:
        rows = np.arange(self._number, self._number + len(next(iter(fields.values()))))
        if not self._is_copy:
            self._grow("obs/_index", np.array(list(map(str, (rows if ids is None else ids).tolist())), object))
        for name, values in fields.items():
            flat = values.reshape(len(values), -1)
            if name == "x" and values.ndim > 1:
                self._grow(f"layers/{self._layer}", self._by_var(flat) if self._is_copy else flat)
            else:
                is_column = values.ndim == 1
                self._grow(f"obs/{name}" if is_column else f"obsm/X_vae_{name}", values if is_column else flat)
        self._number += len(rows)

    def finish(self) -> None:
        with self._disk.told():
            columns = (place for place in self._grown if place.startswith("obs/") and place != "obs/_index")
            new = [place.removeprefix("obs/") for place in columns]
            if self._is_copy:
                obs = self._file["obs"].attrs
                obs["column-order"] = np.array([*(n for n in obs["column-order"] if n not in new), *new], _TEXT)
            else:
                self._file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
                frame = {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"}
                self._file["obs"].attrs.update(frame)
                self._file["obs"].attrs["column-order"] = np.array(new, _TEXT)
                layer = self._grown.get(f"layers/{self._layer}")
                width = 0 if layer is None else layer.shape[1]
                names = self._names or list(map(str, range(width)))
                anndata.io.write_elem(self._file, "var", pd.DataFrame(index=pd.Index(names, dtype=str)))
            self._file.close()

    def close(self) -> None:
        self._file.close()
        self._disk.close()

    def _by_var(self, flat: np.ndarray) -> np.ndarray:
        """Returns x in the order that the file has its elements in."""
        if flat.shape[1] != len(self._var):
            raise ValueError(f"x has {flat.shape[1]} elements, and the file {len(self._var)} var")
        if self._names in (None, self._var):
            return flat
        place = {name: number for number, name in enumerate(self._names or ())}
        return flat[:, [place[name] for name in self._var]]

    def _grow(self, place: str, values: np.ndarray) -> None:
        is_text = values.dtype.kind in "OU"
        with self._disk.told():
            if place not in self._grown:
                self._grown[place] = self._begun(place, values, is_text)
            dataset = self._grown[place]
            dataset.resize(self._number + len(values), axis=0)
            dataset[self._number :] = np.array(list(map(str, values.tolist())), object) if is_text else values

    def _begun(self, place: str, values: np.ndarray, is_text: bool) -> Any:
        group, name = place.split("/", 1)
        if "/" in name:
            raise ValueError(f"{name!r} cannot be a name in an .h5ad file, since it holds a slash")
        if place in self._file:
            if not self._overwrite:
                raise ValueError(f"the input has {group}[{name!r}] already; --overwrite replaces it")
            del self._file[place]
        if group not in self._file and group != "obs":
            self._file.create_group(group).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        shape, dtype = (0, *values.shape[1:]), _TEXT if is_text else values.dtype
        chunks = (_ROWS_OF_A_CHUNK, *values.shape[1:])
        dataset = self._file.create_dataset(place, shape, dtype, maxshape=(None, *values.shape[1:]), chunks=chunks)
        kind = "string-array" if is_text else "array"
        dataset.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})
        return dataset
