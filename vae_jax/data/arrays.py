"""Arrays of .npy and .npz files, whose headers are checked before they are read. Nothing is ever unpickled."""

import contextlib
import math
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_npy(file: Path) -> np.ndarray:
    """Returns the array of an .npy file, on disk: it may be larger than memory.

    Raises:
      OSError: for a file that cannot be opened.
      ValueError: for one that is damaged, or that holds Python objects.
    """
    with file.open("rb") as opened:
        _check_header(opened, os.fstat(opened.fileno()).st_size)
    return np.load(file, mmap_mode="r")


def read_npz(file: Path, choose: Callable[[list[str]], Iterable[str]], *, memory_limit: int) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file that `choose` picks from their names.

    Raises:
      OSError: for a file that cannot be opened.
      ValueError: for one that is damaged, holds two arrays of one name, or of which a chosen array holds Python objects
        or takes more than `memory_limit` bytes when it is unpacked.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
            return {name: _read(archive, members[name], memory_limit) for name in choose(list(members))}
    except (OSError, ValueError):
        raise
    except Exception as error:  # zlib.error, NotImplementedError, RuntimeError, struct.error, MemoryError …
        raise ValueError(f"it is no whole .npz file ({error or type(error).__name__})") from error


class Header(NamedTuple):
    """What an .npy file says of its array."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype


class Stream:
    """An array [n, ...] in a file, of which the next rows are read at a time; one that is stored column by column, in
    Fortran's order, as a whole."""

    def __init__(self, opened: Any, size: int) -> None:
        """Of an .npy file of `size` bytes, opened at its beginning; raises `ValueError` as `open_npy`."""
        self.shape, is_fortran, self.dtype = _check_header(opened, size)
        self._opened, self._start, self._whole = opened, 0, None
        if is_fortran:
            opened.seek(0)
            self._whole = np.lib.format.read_array(opened, allow_pickle=False)

    def read(self, number: int) -> np.ndarray:
        """Returns the next rows, fewer at the end; raises `ValueError` where the file ends before."""
        number = min(number, self.shape[0] - self._start)
        shape = (number, *self.shape[1:])
        if self._whole is not None:
            rows = np.ascontiguousarray(self._whole[self._start : self._start + number])
        else:
            content = self._opened.read(math.prod(shape) * self.dtype.itemsize)
            rows = np.frombuffer(content, self.dtype).reshape(shape)
        self._start += number
        return rows


def headers(file: Path) -> dict[str, Header | ValueError]:
    """Returns what an .npz file says of its arrays by name, an .npy file of its by "".

    In the place of what is no array, or one of Python objects, stands the error that says so.

    Raises:
      ValueError: naming the file, for one that cannot be opened, is damaged, or holds two arrays of one name.
    """
    with reading(file):
        if file.suffix == ".npy":
            with file.open("rb") as opened:
                return {"": _header(opened)}
        found: dict[str, Header | ValueError] = {}
        with zipfile.ZipFile(file) as archive:
            for name, member in _members(archive).items():
                with archive.open(member) as opened:
                    try:
                        found[name] = _header(opened)
                    except ValueError as error:
                        found[name] = error
        return found


@contextlib.contextmanager
def streams(file: Path, names: Iterable[str]) -> Iterator[dict[str, Stream]]:
    """Yields arrays of a file as `headers` names them, to be read row by row; raises as `headers`, also from within."""
    with contextlib.ExitStack() as stack, reading(file):
        if file.suffix == ".npy":
            yield {"": Stream(stack.enter_context(file.open("rb")), file.stat().st_size)}
            return
        archive = stack.enter_context(zipfile.ZipFile(file))
        members = _members(archive)
        opened = {name: stack.enter_context(archive.open(members[name])) for name in names}
        yield {name: Stream(of, members[name].file_size) for name, of in opened.items()}


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raises `ValueError` that names the file for whatever is raised within."""
    try:
        yield
    except Exception as error:  # OSError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError …
        raise ValueError(f"{file} cannot be read: {str(error) or type(error).__name__}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members = [(of.filename.removesuffix(".npy"), of) for of in archive.infolist() if not of.is_dir()]
    if twice := [name for name, count in Counter(name for name, _ in members).items() if count > 1]:
        raise ValueError(f"it holds {twice[0]!r} twice")
    return dict(members)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, memory_limit: int) -> np.ndarray:
    try:
        with archive.open(member) as opened:
            header = _check_header(opened, member.file_size)
            size = math.prod(header.shape) * header.dtype.itemsize
        if size > memory_limit:
            raise ValueError(
                f"unpacked it takes {size / 2**30:.3g} GiB, more than may be held in memory "
                f"({memory_limit / 2**30:.3g} GiB, data.memory_gb): save that array as an .npy file, which is read as "
                "needed, or raise data.memory_gb"
            )
        with archive.open(member) as opened:
            return np.lib.format.read_array(opened, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{member.filename} in it: {error}") from error


def _check_header(file: Any, size: int) -> Header:
    """Returns the header of an .npy file of `size` bytes.

    Raises `ValueError` unless the file is its header and the numbers that this describes.

    Only an array that ends where its member of a zip file does has its checksum compared; and a header alone may ask
    for any amount of memory.
    """
    header = _header(file)
    described, there = math.prod(header.shape) * header.dtype.itemsize, size - file.tell()
    if min(header.shape, default=0) < 0 or described != there:
        raise ValueError(
            f"its header describes {list(header.shape)} numbers of {header.dtype}, which take {described} bytes; it "
            f"has {there}"
        )
    return header


def _header(file: Any) -> Header:
    if file.read(6) != np.lib.format.MAGIC_PREFIX:
        raise ValueError("it does not begin as an array of numpy")
    file.seek(0)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format, version {version[0]}.{version[1]}, is unknown or that of a table")
    try:
        header = Header(*_HEADERS[version](file))
    except Exception as error:  # of what is parsed as Python, tokenize.TokenError for one
        reason, *_ = str(error).split("\n")
        raise ValueError(f"its header cannot be read: {reason}") from error
    if header.dtype.hasobject:
        raise ValueError(
            "it holds Python objects, which are never unpickled; save plain numbers, or text by astype(str)"
        )
    return header
