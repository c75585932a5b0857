"""CSV files: UTF-8, fields separated by commas, the columns' names in the first line."""

import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from .dataset import DataError
from .entries import Entries, numbers_of_texts, of_texts
from .schema import NUMBERS, Column
from .splits import name_hashes


class WholeCsv:
    """A CSV file in memory."""

    def __init__(self, path: str | Path) -> None:
        records = _records(path)
        self.names, _ = next(records)
        rows, self._lines = zip(*records, strict=True)
        self._columns = dict(zip(self.names, zip(*rows, strict=True), strict=True))
        self._path = path

    def __len__(self) -> int:
        return len(self._lines)

    def where(self, row: int) -> str:
        return f"{self._path}, row {row} (line {self._lines[row]})"

    def column(self, name: str, levels: Sequence[str]) -> Entries:
        return of_texts(self._path, name, self._columns[name], self.where, levels)

    def hashes(self, columns: Sequence[Entries]) -> UInt64[np.ndarray, " n"]:
        texts = [np.where(column.seen, column.different, "")[column.codes] for column in columns]
        return name_hashes(list(map("\x1f".join, zip(*texts, strict=True))))


class CsvRows:
    """A CSV file of which some rows are in memory at a time."""

    array_shape: tuple[int, ...] | None = None
    number: int | None = None  # which only reading it would tell
    id_name: str | None = None

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self.names, _ = next(_records(path))

    def white(self) -> int:
        return 1

    def blocks(self, size: int, columns: Mapping[str, Column]) -> Iterator[tuple[None, dict[str, Entries]]]:
        """Yields the entries of these columns for each `size` rows; numbers as such where the kind has them."""
        records = itertools.islice(_records(self._path), 1, None)
        start, places = 0, {name: self.names.index(name) for name in columns}
        while block := list(itertools.islice(records, size)):
            rows, lines = zip(*block, strict=True)
            texts = list(zip(*rows, strict=True))
            where = lambda row, start=start, lines=lines: f"{self._path}, row {start + row} (line {lines[row]})"
            found = {}
            for name, column in columns.items():
                if column.kind in NUMBERS:
                    found[name] = numbers_of_texts(self._path, name, texts[places[name]], where)
                else:
                    found[name] = of_texts(self._path, name, texts[places[name]], where, column.levels)
            yield None, found
            start += len(block)


def _records(path: str | Path) -> Iterator[tuple[list[str], int]]:
    """Yields the fields of each row, the columns' names first, and the line of the file in which the row ends."""
    names: list[str] = []
    num_rows = 0
    # Not pandas, which fills short lines without a word, and counts records where a user counts lines.
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in filter(None, reader):
                row = [text.strip() for text in fields]
                if not names:
                    names = row
                    _check_names(path, names, reader.line_num)
                elif len(row) != len(names):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} fields, but the first line names {len(names)} "
                        "columns"
                    )
                yield row, reader.line_num
                num_rows += 1
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: it is no CSV: {error}") from error
    if num_rows < 2:
        what = "only the columns' names" if names else "nothing"
        raise DataError(f"{path} holds {what}; it must hold a line of columns' names and a line for each row")


def _check_names(path: str | Path, names: Sequence[str], line: int) -> None:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(f"{path}, line {line}: commas must separate the columns' names, got {names[0]!r}")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}, line {line}: two columns are called {repeated[0]!r}; rename one of them")
