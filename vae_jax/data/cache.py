"""Data sets kept as arrays, since decoding 70,000 pictures takes seconds and reading an array does not."""

import contextlib
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import Dataset, Split
from .raw import open_npz

_FORMAT = 1
_SPLITS = ("train", "validation", "test")


def cache_file(data_dir: Path, name: str, options: object) -> Path:
    """Where the arrays of a data set, made with `options`, are kept."""
    digest = hashlib.sha256(repr((_FORMAT, name, options)).encode()).hexdigest()[:12]
    return data_dir / "vae_jax" / f"{name.replace('/', '-')}-{digest}.npz"


def read_cache(file: Path, *, memory_limit: int) -> Dataset | None:
    """The data set; None where it is not there, damaged, larger than the limit, or made from a folder since changed."""
    try:
        with open_npz(file) as arrays:
            about = json.loads(str(arrays["about"]))
            folder = file.parent.parent / about["folder"]
            if about["fingerprint"] != fingerprint(folder) or about["train_bytes"] > memory_limit:
                return None
            splits = [Split(arrays[f"{s}_images"], arrays.get(f"{s}_labels")) for s in _SPLITS]
    except (OSError, ValueError, KeyError):
        return None
    return Dataset(about["name"], *splits)


def write_cache(file: Path, dataset: Dataset, folder: Path) -> None:
    """Keeps the arrays of a data set in memory, whole or not at all; a disk that is full or read-only is no error."""
    about = {
        "name": dataset.name,
        "folder": os.path.relpath(folder, file.parent.parent),  # whose parent may be moved, or copied
        "fingerprint": fingerprint(folder),
        "train_bytes": math.prod(dataset.train.images.shape),
    }
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
    for name in _SPLITS:
        split = getattr(dataset, name)
        arrays[f"{name}_images"] = split.images
        if split.labels is not None:
            arrays[f"{name}_labels"] = split.labels
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as opened:
            np.savez(opened, **arrays)
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()


def fingerprint(folder: Path) -> list[list[str | int]]:
    """Name, size and time of change of every file."""
    return sorted([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in folder.iterdir())
