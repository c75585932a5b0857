"""Data sets: arrays as they are stored, in memory or read when asked for."""

import hashlib
import math
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int, Shaped, UInt64

from .contents import Contents, Variable
from .splits import HELD_OUT, by_hash, by_position

_READ_AT_ONCE = 1024
_MOST_THREADS = 16


class DataError(ValueError):
    """Files that are damaged, or that hold no examples that are alike."""


@runtime_checkable
class Source(Protocol):
    """One split of a data set, on disk or in memory.

    `read` returns the examples of `rows`, a pytree of arrays, and their labels where there are any; it is called from
    many threads. A source may have more:

    - `identity(rows) -> bytes`: without decoding them, what tells their contents from others, names and sizes of files,
      say;
    - `labels_of(rows)`: the labels without the examples;
    - `covariates`: by name, what is known beside x of every example, a `Variable` and an array [n]; the data set has
      those that all of its sources have;
    - `is_decoded`: whether it picks rows of arrays, which threads would not make faster;
    - `notes`: lines about how the file was read, `schema`, what each column of a table is, and `element_names`, what
      the elements of an array are called;
    - `check_split(train rows, held-out rows)`, which raises where the one cannot be learned from the other.
    """

    contents: Contents

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray | None]: ...


@runtime_checkable
class OwnSource(Source, Protocol):
    """One split of one's own data; `hashes`, of each example, decide what is held out of it."""

    def hashes(self) -> UInt64[np.ndarray, " n"]: ...


class Streamed:
    """An array that is read when it is asked for; indexed by a slice, or by rows in an array of any shape.

    It stands where an array [n, ...] does, for sets larger than memory: one leaf of the examples of a source.
    """

    def __init__(
        self, source: "Source | _Kept", rows: Int[np.ndarray, " n"], *, leaf: int = 0, one: Any = None
    ) -> None:
        """Of the leaf of this number; `one` is an example that has been read, with its leading axis."""
        self._source, self._rows, self._leaf = source, rows, leaf
        example = self._leaf_of(source.read(rows[:1])[0] if one is None else one)
        self.shape, self.dtype = (len(rows), *example.shape[1:]), example.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | np.ndarray) -> Shaped[np.ndarray, "..."]:
        rows = self._rows[index]
        source = self._source
        examples = source.examples(rows.ravel()) if isinstance(source, _Kept) else _read(source, rows.ravel())[0]
        return self._leaf_of(examples).reshape(*rows.shape, *self.shape[1:])

    @property
    def nbytes(self) -> int:
        """The bytes that it would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def identity(self) -> bytes:
        """Returns what tells the contents from others, as `Source` says, or else a hash of them all."""
        if (identity := getattr(self._source, "identity", None)) is not None:
            return identity(self._rows)
        digest = hashlib.sha256()
        for start in range(0, len(self), _READ_AT_ONCE):
            digest.update(self[start : start + _READ_AT_ONCE].tobytes())
        return digest.digest()

    def _leaf_of(self, examples: Any) -> np.ndarray:
        return jax.tree.leaves(examples)[self._leaf]


class _Kept:
    """A source of which the examples that were read last are kept: one leaf of them is asked for after another."""

    def __init__(self, source: Source) -> None:
        self._source, self._lock = source, threading.Lock()
        self._last: tuple[np.ndarray, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def examples(self, rows: np.ndarray) -> Any:
        with self._lock:
            if self._last is None or not np.array_equal(self._last[0], rows):
                self._last = rows, _read(self._source, rows)[0]
            return self._last[1]


class Split(NamedTuple):
    """Examples as stored, and their labels (None where there are none, or streamed).

    Attributes:
      examples: x [n, ...], bytes [n, height, width, channels] of pictures, numbers of any shape, a dict of columns; or
        a pair (x, c) of a conditional data set. Any array may be `Streamed`, and any but c `distributions.Masked`.
      labels: classes, int32.
    """

    examples: Any
    labels: Int[np.ndarray, " n"] | None

    @property
    def number(self) -> int:
        """How many examples there are."""
        return len(jax.tree.leaves(self.examples)[0])

    @property
    def is_streamed(self) -> bool:
        return any(isinstance(leaf, Streamed) for leaf in jax.tree.leaves(self.examples))

    def rows(self, rows: Int[np.ndarray, " rows"]) -> Any:
        """Returns the examples of some rows."""
        return jax.tree.map(lambda leaf: leaf[rows], self.examples)


class Covariate(NamedTuple):
    """What is known of every example beside x and its label, and may be given to a model: an array for each split."""

    variable: Variable
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Dataset(NamedTuple):
    """The three splits of a named data set, and what their examples are.

    Attributes:
      name: of the data set, or the path of one's own.
      train, validation, test: the splits.
      contents: what one example is.
      covariates: what may be given to a model, by name.
      notes: lines about how the data were read, for whoever asked for them.
      schema: of a table, what each column of its file is, as `data.load` takes it.
      element_names: of an AnnData file, what the elements of x are called.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    contents: Contents
    covariates: Mapping[str, Covariate] = {}
    notes: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    element_names: Sequence[str] | None = None

    @property
    def event_shape(self) -> Any:
        """The shape of x."""
        return self.contents.event_shape


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
    shuffle where there are none. Training examples of more than `memory_limit` bytes are streamed; everything else is
    read here, once.

    Raises:
      ValueError: for too few examples, or held-out ones that do not fit into memory.
    """
    train = sources["train"]
    missing = [split for split in HELD_OUT if split not in sources]
    rows = {split: (source, np.arange(len(source))) for split, source in sources.items()}
    if missing:
        divided = by_position(len(train), held_out, missing) if hashes is None else by_hash(hashes, held_out, missing)
        if divided is None:
            number = len(train) if hashes is None else len(np.unique(hashes))
            needed = f"at least {len(missing) + 1} are needed" if number <= len(missing) else "hold out less"
            raise ValueError(
                f"{name} has {number} different training examples: too few to hold out a fraction of {held_out} for "
                f"{' and for '.join(missing)} (data.held_out); {needed}"
            )
        rows |= {split: (train, chosen) for split, chosen in divided.items()}

    if (check_split := getattr(train, "check_split", None)) is not None:
        check_split(rows["train"][1], np.concatenate([rows[split][1] for split in HELD_OUT]))
    one, _ = train.read(np.arange(1))
    nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(one))
    for split in ("validation", "test"):
        if (size := len(rows[split][1]) * nbytes) > memory_limit:
            raise ValueError(
                f"the {split} examples of {name} take {size / 2**30:.1f} GiB, more than may be held in memory "
                f"({memory_limit / 2**30:.1f} GiB, data.memory_gb)"
            )
    if len(rows["train"][1]) * nbytes > memory_limit:
        source, of_train = rows["train"]
        structure = jax.tree.structure(one)
        kept = _Kept(source) if structure.num_leaves > 1 else source
        leaves = [Streamed(kept, of_train, leaf=leaf, one=one) for leaf in range(structure.num_leaves)]
        labels = getattr(source, "labels_of", lambda rows: None)(of_train)
        first = Split(jax.tree.unflatten(structure, leaves), labels)
    else:
        first = Split(*_read(*rows["train"]))
    return Dataset(
        name,
        first,
        Split(*_read(*rows["validation"])),
        Split(*_read(*rows["test"])),
        train.contents,
        _covariates(rows),
        tuple(getattr(train, "notes", ())),
        getattr(train, "schema", None),
        getattr(train, "element_names", None),
    )


def _covariates(rows: Mapping[str, tuple[Source, np.ndarray]]) -> dict[str, Covariate]:
    """Returns those that the source of every split has, the variables as the training source has them."""
    known: dict[str, Mapping[str, tuple[Variable, np.ndarray]]]
    known = {split: getattr(source, "covariates", {}) for split, (source, _) in rows.items()}
    of = lambda name: {split: known[split][name][1][chosen] for split, (_, chosen) in rows.items()}
    shared = [name for name in known["train"] if all(name in beside for beside in known.values())]
    return {name: Covariate(known["train"][name][0], **of(name)) for name in shared}


def _read(source: Source, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """The examples and labels of `rows`, in order; those of files that are to be decoded are read in threads."""
    if not len(rows):
        examples, _ = source.read(np.arange(1))
        return jax.tree.map(lambda leaf: leaf[:0], examples), None
    pieces = np.array_split(rows, -(-len(rows) // _READ_AT_ONCE))
    is_quick = len(pieces) == 1 or getattr(source, "is_decoded", False)
    examples, labels = zip(*(map(source.read, pieces) if is_quick else _in_threads(source, pieces)), strict=True)
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *examples)
    return joined, None if labels[0] is None else np.concatenate(labels)


def _in_threads(source: Source, pieces: list[np.ndarray]) -> Any:
    import grain  # takes 0.2 s, which arrays need not spend

    # More threads than cores read slower: pictures of 28×28 are decoded at a third of the speed by 16 threads on 2.
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return grain.MapDataset.source(pieces).map(source.read).to_iter_dataset(options)
