"""Arrays in .npy and .npz files, some rows at a time."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from .arrays import Header, headers, streams
from .dataset import DataError
from .entries import Entries, of_numbers, of_texts
from .own import choose_array
from .schema import Column

_READ_AT_ONCE = 2**12


class ArrayRows:
    """The array of examples in a file, and its arrays of one number or text for each row as columns."""

    id_name: str | None = None

    def __init__(self, path: Path) -> None:
        self._path, found = path, headers(path)
        self._array, label = choose_array(list(found))
        arrays = {name: of for name, of in found.items() if isinstance(of, Header)}
        if self._array is not None and self._array not in arrays:
            raise DataError(f"{path}, the array {self._array!r}: {found[self._array]}")
        vectors = [of for of in arrays.values() if len(of.shape) == 1]
        first = arrays[self._array] if self._array is not None else next(iter(vectors), None)
        if first is None or not first.shape or not first.shape[0]:
            raise DataError(f"{path} holds no rows")
        self.number: int | None = first.shape[0]
        self.array_shape, self._dtype = None if self._array is None else first.shape[1:], first.dtype
        columns = {n: n for n, of in arrays.items() if of.shape == first.shape[:1] and of.dtype.kind in "biufUS"}
        self._columns = {"label": label, **columns} if label in columns else columns
        self.names = list(self._columns)

    def white(self) -> int:
        """Returns what stands for white in pictures, by all of their numbers; raises `DataError` for illegal ones."""
        if self._dtype.kind not in "iu":
            return 1
        ranges = [(v.min(), v.max()) for v, _ in self.blocks(_READ_AT_ONCE, {}) if v is not None]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        if low < 0 or high > (65535 if self._dtype == np.uint16 else 255):
            raise DataError(
                f"{self._path}: pictures must be whole numbers from 0 to 255, 16-bit numbers without a sign, or floats "
                f"from 0 to 1, got {self._dtype} from {low} to {high}"
            )
        return 65535 if high > 255 else 1 if high == 1 else 255

    def blocks(
        self, size: int, columns: Mapping[str, Column]
    ) -> Iterator[tuple[np.ndarray | None, dict[str, Entries]]]:
        """Yields the array and the entries of these columns for each `size` rows."""
        assert self.number is not None
        array = [] if self._array is None else [self._array]
        with streams(self._path, {*array, *(self._columns[name] for name in columns)}) as opened:
            for start in range(0, self.number, size):
                parts = {name: stream.read(size) for name, stream in opened.items()}
                where = lambda row, start=start: f"{self._path}, row {start + row}"
                yield (
                    parts[array[0]] if array else None,
                    {n: _entries(self._path, n, parts[self._columns[n]], where, c) for n, c in columns.items()},
                )


def _entries(path: Path, name: str, values: np.ndarray, where: Callable[[int], str], column: Column) -> Entries:
    if values.dtype.kind in "US":
        texts = np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values
        return of_texts(path, name, texts.tolist(), where, column.levels)
    return of_numbers(path, name, values, where)
