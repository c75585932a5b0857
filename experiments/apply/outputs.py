"""Files that are written row by row, and are there as a whole or not at all."""

import contextlib
import csv
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..command.errors import UserError

FORMATS = (".npz", ".csv", ".parquet", ".h5ad")


@runtime_checkable
class Writer(Protocol):
    """An output that is being written."""

    def write(self, ids: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> None:
        """Writes the next rows: of each array one, after what names it; names, types and shapes are those of the first
        call."""
        ...


class _Format(Protocol):
    """What a format does with blocks; it writes into `partial`, and into no other files but those beside it."""

    def write(self, ids: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> None: ...
    def finish(self) -> None:
        """Completes the file after the last row."""
        ...

    def close(self) -> None:
        """Lets go of all files, whatever has happened."""
        ...


@contextlib.contextmanager
def open_output(
    path: Path,
    *,
    overwrite: bool,
    id_name: str | None,
    layer: str,
    like: Path | None = None,
    element_names: Sequence[str] | None = None,
) -> Iterator[Writer]:
    """Yields an output; at the end of the block it takes its name, and after an error nothing of it is left.

    Args:
      path: a .npz file (arrays by their names), a .csv or .parquet file (columns, of arrays with more axes `name_0`,
        `name_1`, … row by row), or an .h5ad file (numbers in obs, x in a layer, other arrays in obsm as X_vae_<name>).
      overwrite: whether to replace a file that exists.
      id_name: what the column of ids is called, which leads; "id" where it is None.
      layer: the layer of an .h5ad file that x becomes.
      like: an .h5ad file of which such an output is a copy with more in it.
      element_names: of x, by which an .h5ad file has them in its own order; None where x is in that order.

    Raises:
      UserError: for a file that exists, another kind of file, a package that is not installed, a place that cannot be
        written, a disk that fills, an output of no rows, or ids that are called like an array.
    """
    make = _format(path)
    if path.exists() and not overwrite:
        raise UserError(f"--output={path} exists; --overwrite replaces it")
    if not path.parent.is_dir():
        raise UserError(f"--output={path}: there is no folder {path.parent}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    counted = None
    try:
        with _told(path):
            options = {"id_name": id_name or "id", "layer": layer, "overwrite": overwrite}
            written = make(partial, like=like, element_names=element_names, **options)
        counted = _Counted(path, written, id_name or "id")
        yield counted
        if not counted.number:
            raise UserError(f"--output={path} would have no rows: the input has none")
        with _told(path):
            written.finish()
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        if counted is not None:
            with contextlib.suppress(Exception):  # of a file whose disk is full, which closing writes to once more
                counted.written.close()
        for left in path.parent.glob(f"{_escaped(partial.name)}*"):
            left.unlink()


class _Counted:
    def __init__(self, path: Path, written: _Format, id_name: str) -> None:
        self.number, self.written, self._path, self._id_name = 0, written, path, id_name

    def write(self, ids: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> None:
        if ids is not None and self._id_name in fields:
            raise UserError(f"{self._id_name!r} names the rows and what is computed of them: name other ids by --id")
        with _told(self._path):
            self.written.write(ids, fields)
        self.number += len(next(iter(fields.values())))


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Names the output in what goes wrong with it."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # of pyarrow and h5py, each in its way
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise UserError(f"--output={path} cannot be written, and nothing of it is left: {reason}") from error


def _format(path: Path) -> Any:
    if path.suffix == ".npz":
        from .npz import Npz

        return Npz
    if path.suffix == ".csv":
        return _Csv
    try:
        if path.suffix == ".parquet":
            from .parquet import Parquet

            return Parquet
        if path.suffix == ".h5ad":
            from .annotated import Annotated

            return Annotated
    except ModuleNotFoundError as error:
        extra = {".parquet": "tables", ".h5ad": "anndata"}[path.suffix]
        raise UserError(f"--output={path} needs {error.name}: pip install 'vae_jax[{extra}]'") from error
    raise UserError(f"--output={path} must be of the kind {', '.join(FORMATS)}")


def columns(ids: np.ndarray | None, fields: Mapping[str, np.ndarray], id_name: str) -> dict[str, np.ndarray]:
    """Returns arrays [n] by name, the ids first; of one with more axes each element as `name_0`, `name_1`, …"""
    found = {} if ids is None else {id_name: ids}
    for name, values in fields.items():
        if values.ndim == 1:
            found[name] = values
        else:
            flat = values.reshape(len(values), -1)
            found |= {f"{name}_{place}": flat[:, place] for place in range(flat.shape[1])}
    return found


class _Csv:
    """Numbers as the shortest text that reads as the same number of their type; nothing for NaN."""

    def __init__(self, partial: Path, *, id_name: str, **_: Any) -> None:
        self._file, self._id_name = partial.open("w", encoding="utf-8", newline=""), id_name
        # csv quotes a text that has a letter of what ends its rows, and readers take "\r" for an end too.
        rows: Any = SimpleNamespace(write=lambda row: self._file.write(row.removesuffix("\r\n") + "\n"))
        self._writer, self._begun = csv.writer(rows, lineterminator="\r\n"), False

    def write(self, ids: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> None:
        found = columns(ids, fields, self._id_name)
        if not self._begun:
            self._writer.writerow(found)
        self._begun = True
        self._writer.writerows(zip(*map(_texts, found.values()), strict=True))

    def finish(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _texts(values: np.ndarray) -> list[Any]:
    """What csv writes by `str`: numbers of Python, the shortest decimal of each in its own type."""
    if values.dtype.kind != "f":
        return (values.astype(int) if values.dtype == bool else values).tolist()
    texts = values.astype("U32").tolist() if values.dtype != np.float64 else values.tolist()
    for row in np.flatnonzero(np.isnan(values)).tolist():
        texts[row] = ""
    return texts


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
