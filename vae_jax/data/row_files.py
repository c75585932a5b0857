"""Files whose rows are read some at a time, in order."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from .contents import Contents
from .dataset import DataError
from .entries import Entries
from .matrix_sources import is_sparse
from .schema import Column

KINDS = "give an .npy, .npz, .csv, .parquet or .h5ad file"


@runtime_checkable
class RowFile(Protocol):
    """A file whose rows are read some at a time, in order.

    Attributes:
      names: of its columns.
      array_shape: of one example's array; None where there are columns alone.
      number: of its rows; None where only reading all of it would tell.
      id_name: the column that names the rows; None where the file does not say.
    """

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def array_shape(self) -> tuple[int, ...] | None: ...
    @property
    def number(self) -> int | None: ...
    @property
    def id_name(self) -> str | None: ...

    def white(self) -> int:
        """Returns what stands for white in pictures: 1, 255 or 65535."""
        ...

    def blocks(self, size: int, columns: Mapping[str, Column]) -> Iterator[tuple[Any, dict[str, Entries]]]:
        """Yields the array and the entries of these columns for each `size` rows; the last ones may be fewer."""
        ...


def open_file(
    path: Path,
    contents: Contents,
    layer: str | None,
    size: tuple[int, int] | None,
    channels: int | None,
    element_names: Sequence[str] | None,
) -> RowFile:
    """Returns a file by its suffix, or a picture or a folder of them; arguments as in `rows.open_rows`.

    Raises:
      DataError: naming the file, for one that is damaged, or of another kind than the model's examples.
    """
    if path.suffix == ".h5ad":
        from .matrix_rows import AnnotatedRows

        return AnnotatedRows(path, layer, element_names)
    if path.suffix == ".npz" and is_sparse(path):
        from .matrix_rows import SparseRows

        return SparseRows(path)
    if path.suffix in (".npy", ".npz"):
        from .array_rows import ArrayRows

        return ArrayRows(path)
    if path.suffix == ".csv":
        from .csv_files import CsvRows

        return CsvRows(path)
    if path.suffix == ".parquet":
        from .parquet_files import ParquetRows

        return ParquetRows(path)
    from .folders import PictureRows

    if not contents.is_picture:
        what = "a folder" if path.is_dir() else f"of the kind {path.suffix or 'of no suffix'}"
        raise DataError(f"{path} is {what}, and the model's examples are no pictures; {KINDS}")
    return PictureRows(path, size=size, channels=contents.event_shape[-1])
