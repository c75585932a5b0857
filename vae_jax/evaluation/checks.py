"""Checks that estimates over many examples share."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def check_examples(keys: jax.Array, xs: Any, name: str) -> None:
    """Raises `ValueError` unless there are examples, as many as keys, and no NaN in them, if they are concrete."""
    leaves = jax.tree.leaves(xs)
    num_examples = {np.shape(leaf)[0] for leaf in leaves}
    if num_examples == {0}:
        raise ValueError(f"{name} needs at least one example, got none")
    if num_examples != {np.shape(keys)[0] if np.ndim(keys) else None}:
        raise ValueError(
            f"{name} needs one key for each example: got keys of shape {np.shape(keys)} for "
            f"{sorted(num_examples)} examples"
        )
    for leaf in leaves:
        if isinstance(leaf, Tracer) or not np.issubdtype(leaf.dtype, np.floating):
            continue
        is_nan = np.isnan(np.asarray(leaf)).reshape(len(leaf), -1).any(axis=1)
        if is_nan.any():
            raise ValueError(f"{name} got NaN in the examples of rows {np.flatnonzero(is_nan)[:10].tolist()}")
