"""What tells a data set from another: a fingerprint that a run stores, and compares when it goes on."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .dataset import Dataset, Split, Streamed

_SPLITS = ("train", "validation", "test")


def fingerprint(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Returns for each split the number of examples, the shape and type of one, and a SHA-256, as JSON can hold it.

    The SHA-256 is that of all examples and labels in their order; of streamed ones, which are not decoded for it, that
    of a hash of each row of an array, of the name and size of each picture, or of a TFDS data set's name and version.
    Where an example is several arrays, a table's columns for one, shape and type are lists.
    """
    return {name: _of(getattr(dataset, name)) for name in _SPLITS}


def fingerprint_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a line for each split in which two fingerprints differ."""
    lines = []
    for name in _SPLITS:
        first, second = (value if isinstance(value := of.get(name), dict) else {} for of in (then, now))
        if first == second:
            continue
        number, other = second.get("examples"), first.get("examples")
        kind, other_kind = (f"{of.get('shape')} {of.get('dtype')}" for of in (second, first))
        if number != other:
            lines.append(f"{name}: {number} examples now, {other} then")
        elif kind != other_kind:
            lines.append(f"{name}: examples of {kind} now, of {other_kind} then")
        else:
            lines.append(f"{name}: the same number of examples, {number}, with other content or order")
    return lines


def _of(split: Split) -> dict[str, Any]:
    leaves = jax.tree.leaves(split.examples)
    digest = hashlib.sha256()
    for leaf in leaves:
        digest.update(leaf.identity() if isinstance(leaf, Streamed) else np.ascontiguousarray(leaf).data)
    if split.labels is not None:
        digest.update(split.labels.astype("<i8").tobytes())
    shapes, dtypes = [list(leaf.shape[1:]) for leaf in leaves], [str(leaf.dtype) for leaf in leaves]
    about = {"shape": shapes[0], "dtype": dtypes[0]} if len(leaves) == 1 else {"shape": shapes, "dtype": dtypes}
    return {"examples": split.number, **about, "sha256": digest.hexdigest()}
