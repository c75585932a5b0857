"""Outputs of the kind Parquet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from .outputs import columns

_ROWS_OF_A_GROUP = 2**17


class Parquet:
    """A row group for each 131,072 rows."""

    def __init__(self, partial: Path, *, id_name: str, **_: Any) -> None:
        self._partial, self._id_name = partial, id_name
        self._writer: Any = None
        self._waiting: list[pa.Table] = []

    def write(self, ids: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> None:
        found = {name: _arrow(values) for name, values in columns(ids, fields, self._id_name).items()}
        table = pa.table(found)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._partial, table.schema)
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= _ROWS_OF_A_GROUP:
            self._write()

    def finish(self) -> None:
        if self._waiting:
            self._write()
        self._writer.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=_ROWS_OF_A_GROUP)
        self._waiting = []


def _arrow(values: np.ndarray) -> pa.Array:
    is_text = values.dtype.kind in "OU"
    return pa.array(list(map(str, values.tolist())), pa.string()) if is_text else pa.array(np.ascontiguousarray(values))
