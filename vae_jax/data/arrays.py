"""Arrays of .npy and .npz files, whose headers are checked before they are read. Nothing is ever unpickled."""

import math
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            counts = Counter(member.filename.removesuffix(".npy") for member in archive.infolist())
            if twice := [name for name, count in counts.items() if count > 1]:
                raise ValueError(f"it holds {twice[0]!r} twice")
            return {name: _read(archive, members[name], memory_limit) for name in choose(list(members))}
    except (OSError, ValueError):
        raise
    except Exception as error:  # zlib.error, NotImplementedError, RuntimeError, struct.error, MemoryError …
        raise ValueError(f"it is no whole .npz file ({error or type(error).__name__})") from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, memory_limit: int) -> np.ndarray:
    try:
        with archive.open(member) as opened:
            size = _check_header(opened, member.file_size)
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


def _check_header(file: Any, size: int) -> int:
    """Returns the bytes of the numbers in an .npy file of `size` bytes.

    Raises `ValueError` unless the file is its header and the numbers that this describes.

    Only an array that ends where its member of a zip file does has its checksum compared; and a header alone may ask
    for any amount of memory.
    """
    if file.read(6) != np.lib.format.MAGIC_PREFIX:
        raise ValueError("it does not begin as an array of numpy")
    file.seek(0)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format, version {version[0]}.{version[1]}, is unknown or that of a table")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError(
            "it holds Python objects, which are never unpickled; save plain numbers, or text by astype(str)"
        )
    described, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or described != there:
        raise ValueError(
            f"its header describes {list(shape)} numbers of {dtype}, which take {described} bytes; it has {there}"
        )
    return described
