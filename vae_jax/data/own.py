"""One's own images: an array in a file, or a folder of pictures."""

import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .arrays import open_npy, read_npz
from .dataset import DataError, OwnSource
from .images import black_and_white, check_depth, check_shape, fit_all, to_bytes
from .order import spread_rows
from .splits import row_hashes

_LOOKED_AT = 1024
_MOST_FLOATS = 2**24
_IMAGE_NAMES, _LABEL_NAMES = ("x", "images", "data", "arr_0"), ("y", "labels", "label", "targets")


def own_sources(
    path: str | Path, *, size: tuple[int, int] | None, channels: int | None, memory_limit: int
) -> dict[str, OwnSource]:
    """Returns the splits of the images of an .npy or .npz file, or of a folder: "train" alone, or what it holds.

    An .npz holds one array, or one of the name "x", "images" or "data" beside labels "y", "labels", "label" or
    "targets": whole numbers, or text, whose classes are numbered in alphabetical order. For a folder see
    `folder_sources`.

    Raises:
      FileNotFoundError: for a path that does not exist.
      ValueError: naming the file, for anything in it that is no image or not like the others, and for an .npz of which
        an array takes more than `memory_limit` bytes.
    """
    path = Path(os.path.expanduser(path))  # which leaves a user's name that does not exist as it is
    if not path.exists():
        raise FileNotFoundError(
            f"data.path {path} does not exist; where the data of a run have moved, --data_path names their new place"
        )
    if path.is_dir():
        from .folders import folder_sources

        return folder_sources(path, size=size, channels=channels)
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"data.path {path} must be an .npy or .npz file or a folder of images")
    return {"train": _Arrays(path, size, channels, memory_limit)}


class _Arrays:
    def __init__(self, path: Path, size: tuple[int, int] | None, channels: int | None, memory_limit: int) -> None:
        self._path, self._size, self._channels = path, size, channels
        try:
            self._images, self._labels = _load(path, memory_limit)
        except Exception as error:  # a file may hold anything, and numpy may raise anything for it
            reason = str(error) or type(error).__name__
            raise DataError(f"data.path {path} cannot be read: {reason}") from error
        if not self._images.size or not self._images.ndim:
            raise DataError(f"data.path {path} holds no images: its array has the shape {list(self._images.shape)}")
        if self._labels is not None and self._labels.shape != (len(self._images),):
            raise DataError(
                f"data.path {path}: {len(self._images)} images need as many labels, got {list(self._labels.shape)}"
            )
        try:
            check_shape(self._images.shape)
            self._binary = self._look()
        except ValueError as error:
            raise DataError(f"data.path {path}: {error}") from error
        self.event_shape = self.read(np.arange(1))[0].shape[1:]
        self.hashes = functools.cache(functools.partial(row_hashes, self._images))  # read once, and only if need be

    def _look(self) -> bool:
        """Returns whether the images are of zeros and ones; not all are looked at of a file larger than memory.

        Raises:
          ValueError: for floats that lie too close together to be bytes.
        """
        if np.issubdtype(self._images.dtype, np.integer):
            return black_and_white(self._images[spread_rows(len(self._images), _LOOKED_AT)])
        if np.issubdtype(self._images.dtype, np.floating):
            most = max(1, min(_LOOKED_AT, _MOST_FLOATS // math.prod(self._images.shape[1:])))
            check_depth(self._images[spread_rows(len(self._images), most)])
        return False

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        try:
            images = to_bytes(np.asarray(self._images[rows]), binary=self._binary, numbers=rows.tolist())
        except ValueError as error:
            raise DataError(f"data.path {self._path}: {error}") from error
        labels = None if self._labels is None else self._labels[rows]
        return fit_all(images, size=self._size, channels=self._channels), labels

    def identity(self, rows: np.ndarray) -> bytes:
        return self.hashes()[rows].astype("<u8").tobytes()


def _load(path: Path, memory_limit: int) -> tuple[np.ndarray, np.ndarray | None]:
    if path.suffix == ".npy":
        return open_npy(path), None
    label: str | None = None

    def choose(names: Sequence[str]) -> list[str]:
        nonlocal label
        images = [name for name in _IMAGE_NAMES if name in names] or list(names) * (len(names) == 1)
        if not images:
            raise ValueError(f"one of its arrays must be called {' or '.join(_IMAGE_NAMES)}; it holds {list(names)}")
        label = next((name for name in _LABEL_NAMES if name in names), None)
        return images[:1] if label is None else [images[0], label]

    arrays = read_npz(path, choose, memory_limit=memory_limit)
    return next(iter(arrays.values())), None if label is None else _classes(arrays[label])


def _classes(labels: np.ndarray) -> np.ndarray:
    """Returns labels as int32, those of text numbered in alphabetical order.

    Raises:
      ValueError: for others than text and whole numbers from 0 to 2³¹ − 1.
    """
    if labels.dtype.kind in "US":
        return np.unique(labels, return_inverse=True)[1].astype(np.int32)
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"its labels must be whole numbers or text, got {labels.dtype}")
    illegal = ~((labels >= 0) & (labels < 2**31) & (labels == np.floor(labels)))  # true for NaN
    if illegal.any():
        (row, *_) = np.argwhere(illegal)[0].tolist()
        raise ValueError(f"its labels must be whole numbers from 0 to 2**31 - 1; label {row} is {labels[illegal][0]}")
    return labels.astype(np.int32)
