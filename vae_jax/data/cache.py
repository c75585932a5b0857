"""Data sets kept as arrays, since decoding 70,000 pictures takes seconds and reading an array does not."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .arrays import read_npz
from .contents import pictures
from .dataset import Dataset, Split

_FORMAT = 1
_MOST_ABOUT = 2**24
_SPLITS = ("train", "validation", "test")


def cache_file(data_dir: Path, name: str, options: object) -> Path:
    """Where the arrays of a data set, made with `options`, are kept."""
    digest = hashlib.sha256(repr((_FORMAT, name, options)).encode()).hexdigest()[:12]
    return data_dir / "vae_jax" / f"{name.replace('/', '-')}-{digest}.npz"


def read_cache(file: Path, *, memory_limit: int) -> Dataset | None:
    """Returns the data set that `write_cache` kept.

    None where it is not there, larger than the limit, made from a folder since changed, or not what was written.
    """
    try:
        (text,) = read_npz(file, lambda names: ["about"], memory_limit=_MOST_ABOUT).values()
        about = json.loads(str(text))
        folder = file.parent.parent / about["folder"]
        if about["fingerprint"] != fingerprint(folder) or about["train_bytes"] > memory_limit:
            return None
        arrays = read_npz(file, lambda names: [name for name in names if name != "about"], memory_limit=memory_limit)
        if about["sha256"] != _digest(arrays):
            return None
        train, *held_out = (Split(arrays[f"{s}_images"], arrays.get(f"{s}_labels")) for s in _SPLITS)
        if not all(_is_whole(split, train) for split in (train, *held_out)):
            return None
        return Dataset(about["name"], train, *held_out, contents=pictures(train.examples.shape[1:]))
    except Exception:  # the file may hold anything
        return None


def write_cache(file: Path, dataset: Dataset, folder: Path) -> None:
    """Keeps the arrays of a data set in memory, whole or not at all; a disk that is full or read-only is no error."""
    arrays: dict[str, np.ndarray] = {}
    for name in _SPLITS:
        split = getattr(dataset, name)
        arrays[f"{name}_images"] = split.examples
        if split.labels is not None:
            arrays[f"{name}_labels"] = split.labels
    about = {
        "name": dataset.name,
        "folder": os.path.relpath(folder, file.parent.parent),  # whose parent may be moved, or copied
        "fingerprint": fingerprint(folder),
        "train_bytes": math.prod(dataset.train.examples.shape),
        "sha256": _digest(arrays),
    }
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as opened:
            np.savez(opened, **{"about": np.array(json.dumps(about)), **arrays})  # pyright: ignore[reportArgumentType]
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _is_whole(split: Split, like: Split) -> bool:
    images, labels = split.examples, split.labels
    if images.dtype != np.uint8 or len(images.shape) != 4 or images.shape[1:] != like.examples.shape[1:]:
        return False
    if labels is None or like.labels is None:
        return labels is like.labels
    return labels.dtype == np.int32 and labels.shape == (len(images),) and bool(np.all(labels >= 0))


def fingerprint(folder: Path) -> list[list[str | int]]:
    """Name, size and time of change of every file."""
    return sorted([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in folder.iterdir())
