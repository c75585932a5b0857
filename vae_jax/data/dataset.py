"""Data sets: images as bytes, in memory or read when asked for."""

import hashlib
import math
import os
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8, UInt64

from .splits import HELD_OUT, by_hash, by_position

_READ_AT_ONCE = 1024
_MOST_THREADS = 16


class DataError(ValueError):
    """Files that are damaged, or that hold no images that are alike."""


@runtime_checkable
class Source(Protocol):
    """One split of a set of images, on disk.

    `read` gives the images of `rows` as bytes, and their labels where there are any; it is called from many threads.
    A source may have `identity(rows) -> bytes` too: without decoding them, what tells their contents from others, names
    and sizes of files, say.
    """

    event_shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> tuple[UInt8[np.ndarray, "n height width channels"], np.ndarray | None]: ...


@runtime_checkable
class OwnSource(Source, Protocol):
    """One split of one's own images; `hashes`, of each example, decide what is held out of it."""

    def hashes(self) -> UInt64[np.ndarray, " n"]: ...


class StreamedImages:
    """Images that are read when they are asked for; indexed by a slice, or by rows in an array of any shape.

    It stands where an array of bytes [n, height, width, channels] does, for sets larger than memory.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, source: Source, rows: Int[np.ndarray, " n"]) -> None:
        self._source, self._rows = source, rows
        self.shape = (len(rows), *source.event_shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | np.ndarray) -> UInt8[np.ndarray, "..."]:
        rows = self._rows[index]
        images, _ = _read(self._source, rows.ravel())
        return images.reshape(*rows.shape, *self.shape[1:])

    def identity(self) -> bytes:
        """Returns what tells the images' contents from others, as `Source` says, or else a hash of them all."""
        if (identity := getattr(self._source, "identity", None)) is not None:
            return identity(self._rows)
        digest = hashlib.sha256()
        for start in range(0, len(self), _READ_AT_ONCE):
            digest.update(self[start : start + _READ_AT_ONCE].tobytes())
        return digest.digest()


class Split(NamedTuple):
    """Images as bytes [n, height, width, channels], and their labels (None where there are none, or streamed)."""

    images: UInt8[np.ndarray, "n height width channels"] | StreamedImages
    labels: Int[np.ndarray, " n"] | None


class Dataset(NamedTuple):
    """The three splits of a named data set."""

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.train.images.shape[1:]


def assemble(
    name: str,
    sources: Mapping[str, Source],
    *,
    held_out: float,
    memory_limit: int,
    hashes: UInt64[np.ndarray, " n"] | None = None,
) -> Dataset:
    """The data set of the sources "train" and, where they exist, "validation" and "test".

    A split without a source takes the fraction `held_out` of "train", by the `hashes` of its examples, or by a fixed
    shuffle where there are none. Training images of more than `memory_limit` bytes are streamed; everything else is
    read here, once.

    Raises:
      ValueError: for too few images, or held-out images that do not fit into memory.
    """
    train = sources["train"]
    missing = [split for split in HELD_OUT if split not in sources]
    rows = {split: (source, np.arange(len(source))) for split, source in sources.items()}
    if missing:
        if hashes is None:
            number, divided = len(train), by_position(len(train), held_out, missing)
        else:
            number, divided = len(np.unique(hashes)), by_hash(hashes, held_out, missing)
        if divided is None:
            needed = f"at least {len(missing) + 1} are needed" if number <= len(missing) else "hold out less"
            raise ValueError(
                f"{name} has {number} different training images: too few to hold out a fraction of {held_out} for "
                f"{' and for '.join(missing)} (data.held_out); {needed}"
            )
        rows |= {split: (train, chosen) for split, chosen in divided.items()}

    def bytes_of(split: str) -> int:
        return len(rows[split][1]) * math.prod(train.event_shape)

    for split in ("validation", "test"):
        if bytes_of(split) > memory_limit:
            raise ValueError(
                f"the {split} images of {name} take {bytes_of(split) / 2**30:.1f} GiB, more than may be held in memory "
                f"({memory_limit / 2**30:.1f} GiB, data.memory_gb)"
            )
    if bytes_of("train") > memory_limit:
        first = Split(StreamedImages(*rows["train"]), None)
    else:
        first = Split(*_read(*rows["train"]))
    return Dataset(name, first, Split(*_read(*rows["validation"])), Split(*_read(*rows["test"])))


def _read(source: Source, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The images and labels of `rows`, in order, decoded in threads."""
    if not len(rows):
        return np.zeros((0, *source.event_shape), np.uint8), None
    import grain  # takes 0.2 s, which sets that are in memory already need not spend

    pieces = np.array_split(rows, max(1, -(-len(rows) // _READ_AT_ONCE)))
    # More threads than cores read slower: pictures of 28×28 are decoded at a third of the speed by 16 threads on 2.
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    read = list(grain.MapDataset.source(pieces).map(source.read).to_iter_dataset(options))
    images, labels = zip(*read, strict=True)
    return np.concatenate(images), None if labels[0] is None else np.concatenate(labels)
