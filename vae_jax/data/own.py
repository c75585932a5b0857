"""One's own images: an array in a file, or a folder of pictures."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .dataset import DataError, Source
from .images import black_and_white, fit, fit_all, to_bytes
from .order import spread_rows
from .raw import open_npz

_LOOKED_AT = 1024
_IMAGE_NAMES, _LABEL_NAMES = ("x", "images", "data", "arr_0"), ("y", "labels", "label")


def own_images(path: str | Path, *, size: tuple[int, int] | None, channels: int | None) -> Source:
    """The images of an .npy or .npz file, or of a folder and its sub-folders.

    An .npz holds one array, or one of the name "x", "images" or "data" beside labels "y" or "labels". The sub-folders
    of a folder, where every picture is in one, are its classes, in alphabetical order.

    Raises:
      FileNotFoundError: for a path that does not exist.
      ValueError: naming the file, for anything in it that is no image, or not like the others.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"data.path {path} does not exist")
    if path.is_dir():
        return _Folder(path, size, channels)
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"data.path {path} must be an .npy or .npz file or a folder of images")
    return _Arrays(path, size, channels)


class _Arrays:
    def __init__(self, path: Path, size: tuple[int, int] | None, channels: int | None) -> None:
        self._path, self._size, self._channels = path, size, channels
        try:
            self._images, self._labels = _load(path)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"data.path {path} cannot be read as a whole {path.suffix} file: {error}") from error
        if not self._images.size or not self._images.ndim:
            raise DataError(f"data.path {path} holds no images: its array has the shape {list(self._images.shape)}")
        if self._labels is not None and self._labels.shape != (len(self._images),):
            raise DataError(
                f"data.path {path}: {len(self._images)} images need as many labels, got {list(self._labels.shape)}"
            )
        looked_at = self._images[spread_rows(len(self._images), _LOOKED_AT)]  # not at all of a file larger than memory
        self._binary = np.issubdtype(looked_at.dtype, np.integer) and black_and_white(looked_at)
        self.event_shape = self.read(np.arange(1))[0].shape[1:]

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        try:
            images = to_bytes(np.asarray(self._images[rows]), binary=self._binary, numbers=rows.tolist())
        except ValueError as error:
            raise DataError(f"data.path {self._path}: {error}") from error
        labels = None if self._labels is None else self._labels[rows]
        return fit_all(images, size=self._size, channels=self._channels), labels


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != (b"\x93NUM" if path.suffix == ".npy" else b"PK\x03\x04"):
        raise ValueError("it begins as another kind of file")  # numpy would speak of pickles
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r"), None  # it may be larger than memory
    with open_npz(path) as arrays:
        names = [name for name in _IMAGE_NAMES if name in arrays] or list(arrays) * (len(arrays) == 1)
        if not names:
            raise ValueError(f"one of its arrays must be called {' or '.join(_IMAGE_NAMES)}; it holds {list(arrays)}")
        label = next((name for name in _LABEL_NAMES if name in arrays), None)
        return arrays[names[0]], None if label is None else _classes(arrays[label])


def _classes(labels: np.ndarray) -> np.ndarray:
    """Labels as int32; raises `ValueError` for those that are no such integers."""
    with np.errstate(invalid="ignore"):
        classes = labels.astype(np.int32)
    if not np.array_equal(classes, labels):
        raise ValueError(f"its labels must be integers, got {labels.dtype}")
    return classes


class _Folder:
    def __init__(self, path: Path, size: tuple[int, int] | None, channels: int | None) -> None:
        extensions = Image.registered_extensions()
        self._files = sorted(f for f in path.rglob("*") if f.suffix.lower() in extensions and f.is_file())
        if not self._files:
            raise DataError(f"data.path {path} holds no image files")
        self._size, self._channels = size, channels
        self.event_shape = self._image(self._files[0]).shape
        parents = [file.relative_to(path).parts[0] for file in self._files if file.parent != path]
        classes = {name: number for number, name in enumerate(sorted(set(parents)))}
        self._labels = np.array([classes[p] for p in parents], np.int32) if len(parents) == len(self._files) else None

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        images = np.stack([self._image(self._files[row]) for row in rows])
        return images, None if self._labels is None else self._labels[rows]

    def _image(self, file: Path) -> np.ndarray:
        try:
            with Image.open(file) as image:
                array = fit(ImageOps.exif_transpose(image), size=self._size, channels=self._channels)
        except Exception as error:  # a decoder may raise anything
            raise DataError(f"{file} cannot be read as an image: {error}") from error
        if array.shape != getattr(self, "event_shape", array.shape):
            raise DataError(
                f"{file} is {_described(array.shape)}, but {self._files[0]} is {_described(self.event_shape)}; "
                "data.image_size and data.channels make them alike"
            )
        return array


def _described(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height}×{width} {'grey' if channels == 1 else 'colour'}"
