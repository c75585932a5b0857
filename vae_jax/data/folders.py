"""Folders of pictures: their files, classes and splits."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt64
from PIL import Image

from .conditions import LABEL
from .contents import Variable, pictures
from .dataset import DataError, OwnSource
from .entries import Entries, of_texts
from .images import FORMATS, read_picture
from .schema import Column
from .splits import name_hashes

_SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}


class _Picture(NamedTuple):
    file: Path
    split: str
    class_name: str | None  # of the sub-folder that it is in


def folder_sources(path: Path, *, size: tuple[int, int] | None, channels: int | None) -> dict[str, OwnSource]:
    """Returns the splits of a folder of pictures: "train" alone, unless its sub-folders are called train, val and test.

    The sub-folders of a split, where every picture of it is in one, are its classes, numbered in alphabetical order
    over all splits. What begins with a dot is left out. Links are followed, and a file counts once.

    Raises:
      ValueError: naming what cannot be read, is no picture, is reached in two ways, or lies beside splits.
    """
    found = _files(path)
    roots = _split_folders(path, [file for file, _ in found])
    pictures: dict[tuple[int, int], _Picture] = {}
    for file, identity in found:
        split, root = next((split, root) for split, root in roots.items() if file.is_relative_to(root))
        folders = file.relative_to(root).parts[:-1]
        picture = _Picture(file, split, folders[0] if folders else None)
        first = pictures.setdefault(identity, picture)
        if first[1:] != picture[1:]:
            raise DataError(
                f"data.path {path}: {file} and {first.file} are one file by a link, and a picture is of one class in "
                "one split; remove one of them"
            )
    names = tuple(sorted({picture.class_name for picture in pictures.values() if picture.class_name is not None}))
    sources: dict[str, _Pictures] = {}
    for split in sorted(roots, key="train".__ne__):  # training images first: the others must be like them
        own = [picture for picture in pictures.values() if picture.split == split]
        if not own:
            raise DataError(f"data.path {path}: {roots[split]} holds no image files ({', '.join(_readable())})")
        labels = [names.index(picture.class_name) for picture in own if picture.class_name is not None]
        sources[split] = _Pictures(
            roots[split],
            [picture.file for picture in own],
            np.array(labels, np.int32) if len(labels) == len(own) else None,
            names,
            size=size,
            channels=channels,
            like=sources.get("train"),
        )
    return dict(sources)


class _Pictures:
    def __init__(
        self,
        root: Path,
        files: Sequence[Path],
        labels: np.ndarray | None,
        classes: tuple[str, ...],
        *,
        size: tuple[int, int] | None,
        channels: int | None,
        like: "_Pictures | None",
    ) -> None:
        self._files, self._labels, self._size, self._channels = files, labels, size, channels
        self._names = [file.relative_to(root).as_posix() for file in files]
        self.covariates = {} if labels is None else {LABEL: (Variable("category", (), classes), labels)}
        self._first = files[0] if like is None else like._first
        self.contents = pictures(_picture(self._first, size, channels).shape) if like is None else like.contents

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        images = np.stack([self._alike(self._files[row]) for row in rows])
        return images, None if self._labels is None else self._labels[rows]

    def hashes(self) -> UInt64[np.ndarray, " n"]:
        return name_hashes(self._names)

    def identity(self, rows: np.ndarray) -> bytes:
        lines = [f"{self._names[row]}/{self._files[row].stat().st_size}\n" for row in rows]
        return "".join(lines).encode(errors="surrogateescape")

    def _alike(self, file: Path) -> np.ndarray:
        array = _picture(file, self._size, self._channels)
        _check_alike(file, array.shape, self._first, self.contents.event_shape)
        return array


class PictureRows:
    """A picture, or the pictures in a folder and its sub-folders, in the order of their names."""

    names, id_name = ("file", "label"), "file"

    def __init__(self, path: Path, *, size: tuple[int, int] | None, channels: int | None) -> None:
        self._root = path if path.is_dir() else path.parent
        self._files = [file for file, _ in _files(path)] if path.is_dir() else [path]
        if not self._files:
            raise DataError(f"{path} holds no image files ({', '.join(_readable())})")
        self._size, self._channels = size, channels
        self.number: int | None = len(self._files)
        self.array_shape: tuple[int, ...] | None = _picture(self._files[0], size, channels).shape

    def white(self) -> int:
        return 255

    def blocks(self, size: int, columns: Mapping[str, Column]) -> Iterator[tuple[np.ndarray, dict[str, Entries]]]:
        """Yields the pictures, and as columns the files below the folder and the sub-folders that they are in."""
        for start in range(0, len(self._files), size):
            files = self._files[start : start + size]
            pictures = [_picture(file, self._size, self._channels) for file in files]
            for file, picture in zip(files, pictures, strict=True):
                _check_alike(file, picture.shape, self._files[0], self.array_shape)
            below = [file.relative_to(self._root) for file in files]
            texts = {"file": [path.as_posix() for path in below], "label": [path.parts[0] for path in below]}
            where = lambda row, files=files: str(files[row])
            yield (
                np.stack(pictures),
                {n: of_texts(self._root, n, texts[n], where, column.levels) for n, column in columns.items()},
            )


def _picture(file: Path, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    try:
        return read_picture(file, size=size, channels=channels)
    except Exception as error:  # a decoder may raise anything
        raise DataError(f"{file} cannot be read as an image: {str(error) or type(error).__name__}") from error


def _check_alike(file: Path, shape: Any, first: Path, expected: Any) -> None:
    if shape != expected:
        raise DataError(
            f"{file} is {_described(shape)}, but {first} is {_described(expected)}; data.image_size and data.channels "
            "make them alike"
        )


def _files(path: Path) -> list[tuple[Path, tuple[int, int]]]:
    """Returns the pictures in a folder and its sub-folders, in order, each with what it is on the disk."""
    kinds, readable = Image.registered_extensions(), _readable()
    visited: dict[tuple[int, int], Path] = {}
    files: list[tuple[Path, tuple[int, int]]] = []
    pending = [path]
    try:
        while pending:
            folder = pending.pop()
            first = visited.setdefault(_identity(folder.stat()), folder)
            if first is not folder:  # among others, a link to a folder that it lies in
                raise DataError(f"data.path {path}: {folder} and {first} are one folder by a link; remove one of them")
            for entry in list(os.scandir(folder)):
                child = folder / entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append(child)
                elif child.suffix.lower() in readable:
                    status = child.stat()
                    if not stat.S_ISREG(status.st_mode):
                        raise DataError(f"{child} cannot be read as an image: it is no file")
                    files.append((child, _identity(status)))
                elif child.suffix.lower() in kinds:
                    raise DataError(
                        f"{child} is of a kind that is not read ({', '.join(readable)} are): convert it, or move it "
                        "away"
                    )
    except OSError as error:
        raise DataError(f"data.path {path}: {error.filename} cannot be read: {error.strerror}") from error
    return sorted(files)


def _split_folders(path: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Returns the folder of each split; "train" is the whole folder where no sub-folder is called as a split is."""
    named = sorted(child for child in path.iterdir() if child.name.lower() in _SPLITS and child.is_dir())
    roots: dict[str, Path] = {}
    for folder in named:
        other = roots.setdefault(_SPLITS[folder.name.lower()], folder)
        if other is not folder:
            raise DataError(f"data.path {path}: {other.name} and {folder.name} are one split; keep one of them")
    if not roots:
        return {"train": path}
    beside = sorted({file.relative_to(path).parts[0] for file in files} - {folder.name for folder in named})
    if beside or "train" not in roots:
        raise DataError(
            f"data.path {path} has the sub-folders {', '.join(folder.name for folder in named)}, which are read as "
            + (f"splits, but {beside[0]} lies beside them" if beside else "splits, but none of them is called train")
            + "; keep train, validation and test alone in it, or rename what is a class"
        )
    return roots


def _readable() -> list[str]:
    return sorted(extension for extension, kind in Image.registered_extensions().items() if kind in FORMATS)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _described(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height}×{width} {'grey' if channels == 1 else 'colour'}"
