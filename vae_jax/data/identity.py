"""What tells a data set from another: a fingerprint that a run stores, and compares when it goes on."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .dataset import Dataset, Split, StreamedImages

_SPLITS = ("train", "validation", "test")


def fingerprint(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Returns for each split the number of examples, the shape and type of one, and a SHA-256, as JSON can hold it.

    The SHA-256 is that of all images and labels in their order; of streamed images, which are not decoded for it, that
    of a hash of each row of an array, of the name and size of each picture, or of a TFDS data set's name and version.
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
    images, labels = split
    digest = hashlib.sha256()
    digest.update(images.identity() if isinstance(images, StreamedImages) else np.ascontiguousarray(images).data)
    if labels is not None:
        digest.update(labels.astype("<i8").tobytes())
    about = {"examples": len(images), "shape": list(images.shape[1:]), "dtype": str(images.dtype)}
    return {**about, "sha256": digest.hexdigest()}
