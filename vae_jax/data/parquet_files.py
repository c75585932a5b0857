"""Parquet files, a column or some rows at a time."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from .dataset import DataError
from .entries import Entries, of_numbers, of_texts
from .schema import Column
from .splits import combined_hashes, name_hashes

# Of each column; without it, and with pre-buffering, the columns of a whole row group are held.
_BUFFER = 2**16


class WholeParquet:
    """A Parquet file of which a column is in memory at a time."""

    def __init__(self, path: str | Path) -> None:
        self._path, self._file = path, _opened(path)
        self.names: list[str] = self._file.schema_arrow.names

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def where(self, row: int) -> str:
        return f"{self._path}, row {row}"

    def column(self, name: str, levels: Sequence[str]) -> Entries:
        with _reading(self._path):
            # By its name: what is called "a.b" is read beside the part b of a column a.
            values = self._file.read(columns=[name]).column(name)
            if len(values) != len(self):
                raise DataError(f"{self._path} is damaged: column {name!r} has {len(values)} of its {len(self)} rows")
            return _entries(self._path, name, values, self.where, levels)

    def hashes(self, columns: Sequence[Entries]) -> UInt64[np.ndarray, " n"]:
        """Returns a hash of each row's numbers in float64 and texts, in the order of the columns."""
        return combined_hashes(map(_hashes, columns), len(self))


class ParquetRows:
    """A Parquet file of which some rows are in memory at a time."""

    array_shape: tuple[int, ...] | None = None
    id_name: str | None = None

    def __init__(self, path: str | Path) -> None:
        self._path, self._file = path, _opened(path)
        self.names: list[str] = self._file.schema_arrow.names
        self.number: int | None = self._file.metadata.num_rows

    def white(self) -> int:
        return 1

    def blocks(self, size: int, columns: Mapping[str, Column]) -> Iterator[tuple[None, dict[str, Entries]]]:
        """Yields the entries of these columns for each `size` rows; what is of no kind as the file has it."""
        import pyarrow as pa

        exact = [name for name, column in columns.items() if column.kind == "ignore"]
        whole = [name for name in exact if _is_whole(self._file.schema_arrow.field(name).type)]
        with _reading(self._path):
            # All blocks have a column in one type; the metadata of a damaged file would end the process.
            batches = self._file.iter_batches(batch_size=size, columns=whole)
            with_nulls = {name for batch in batches for name in whole if batch.column(name).null_count}
        start, waiting = 0, None
        batches = self._file.iter_batches(batch_size=size, columns=list(columns))
        while True:
            with _reading(self._path):
                batch = next(batches, None)
                parts = [] if batch is None else [pa.Table.from_batches([batch])]
                waiting = pa.concat_tables([*([] if waiting is None else [waiting]), *parts])
            # A batch of a file may be smaller, and ends where a row group does in some versions of pyarrow.
            while len(waiting) >= size or (batch is None and len(waiting)):
                block, waiting = waiting.slice(0, size), waiting.slice(size)
                where = lambda row, start=start: f"{self._path}, row {start + row}"
                found = {}
                with _reading(self._path):
                    for name, column in columns.items():
                        values = block.column(name)
                        values = _exact(values, name in with_nulls) if name in exact else values
                        found[name] = _entries(self._path, name, values, where, column.levels)
                yield None, found
                start += len(block)
            if batch is None:
                return


def _opened(path: str | Path) -> Any:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise DataError(f"{path} needs pyarrow: pip install 'vae_jax[tables]'") from error
    with _reading(path):
        file = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    names = file.schema_arrow.names
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: two columns are called {twice[0]!r}; rename one of them")
    if not file.metadata.num_rows:
        raise DataError(f"{path} holds no rows")
    return file


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Names the file in what pyarrow raises for one that is damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read as a Parquet file: {str(error).splitlines()[0]}") from error


def _is_whole(kind: Any) -> bool:
    """Returns whether numbers of this type have no NaN for a null."""
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _exact(values: Any, has_nulls: bool) -> Any:
    """Returns as texts what numbers do not hold exactly, and dates and times; as they are the values without a text."""
    import pyarrow as pa

    if _is_whole(values.type):
        texts = (None if value is None else str(value) for value in values.to_pylist())
        return pa.array(texts, pa.string()) if has_nulls else values
    if pa.types.is_floating(values.type):
        return values
    try:
        return values.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return values


def _entries(path: Any, name: str, values: Any, where: Any, levels: Sequence[str]) -> Entries:
    """Returns the entries of an array of arrow, which are unreadable where they are neither numbers nor texts."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        values = values.cast(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return of_texts(path, name, ["" if text is None else text for text in values.to_pylist()], where, levels)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        float_type = kind if pa.types.is_floating(kind) else pa.float64()
        return of_numbers(path, name, values.cast(float_type).to_numpy(), where)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        is_whole = pa.types.is_integer(kind)
        if values.null_count:
            return of_numbers(path, name, values.cast(pa.float64(), safe=False).to_numpy(), where, is_whole=is_whole)
        return of_numbers(path, name, values.to_numpy(), where)
    return of_numbers(path, name, np.full(len(values), np.nan), where, unreadable=f"its type is {kind}")


def _hashes(entries: Entries) -> UInt64[np.ndarray, " n"]:
    if entries.different.dtype == object:
        return name_hashes(np.where(entries.seen, entries.different, "").tolist())[entries.codes]
    return (np.where(entries.seen, entries.numbers, np.nan) + 0.0).view(np.uint64)  # 0 for −0
