"""Raw files of published data sets: found or downloaded, and checked against their published hashes."""

import gzip
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import DataError


def read_raw(
    urls: Mapping[str, Any],
    *,
    manual_dir: Path | None,
    download: Callable[[str], Any],
    alternative: Callable[[Path, str], bytes | None] = lambda folder, filename: None,
) -> dict[str, bytes]:
    """The contents of the files at `urls`, by file name.

    Args:
      urls: TFDS's table {url: (size, checksum, filename)}.
      manual_dir: a folder that holds them; None downloads.
      download: url -> path of the downloaded file.
      alternative: (manual_dir, file name) -> the content where the folder holds it in another, checked form.

    Raises:
      FileNotFoundError: naming every file that the folder lacks and where it is published.
      ValueError: naming the file whose hash is not the published one.
    """
    if manual_dir is None:
        contents = {}
        for url, info in urls.items():
            file = Path(download(url))
            contents[info.filename] = file.read_bytes()
            # TFDS knows the hashes of its oldest data sets alone where the builder is ours: not binarized_mnist's.
            check_hash(file, contents[info.filename], "sha256", info.checksum, url)
        return contents
    if not manual_dir.is_dir():
        raise FileNotFoundError(f"data.manual_dir {manual_dir} is no folder")
    contents, missing = {}, []
    for url, info in urls.items():
        file = manual_dir / info.filename
        if file.exists():
            contents[info.filename] = file.read_bytes()
            check_hash(file, contents[info.filename], "sha256", info.checksum, url)
        elif (content := alternative(manual_dir, info.filename)) is not None:
            contents[info.filename] = content
        else:
            missing.append(f"{info.filename}: {url}")
    if missing:
        raise FileNotFoundError(f"data.manual_dir {manual_dir} lacks\n  " + "\n  ".join(missing))
    return contents


def check_hash(file: Path, content: bytes, algorithm: str, published: str, source: str) -> None:
    """Raises `ValueError` unless `content` is what was published."""
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != published:
        raise DataError(
            f"{file} ({len(content)} bytes) is damaged or another file: its {algorithm} is {found}, that of the "
            f"published file is {published}; get it again from {source}"
        )


def parse_idx(content: bytes) -> np.ndarray:
    """The array of bytes in an IDX file, or in a .gz of one."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
