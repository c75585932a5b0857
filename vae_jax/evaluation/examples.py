"""Checks of what estimates take: one key for each example, and examples that are numbers."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

_ROWS_NAMED = 10


def check_keys(keys: Key[Array, " n"], xs: Any, what: str) -> None:
    """Raises `ValueError` unless `keys` and every leaf of `xs` have one leading axis n >= 1."""
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(xs)}
    if lengths != {np.shape(keys)[:1]} or lengths & {(), (0,)}:
        numbers = sorted(length[0] if length else 1 for length in lengths)
        raise ValueError(
            f"{what} needs one key for each example: got keys of shape {np.shape(keys)} for {numbers} examples"
        )


def check_finite(xs: Any, what: str) -> None:
    """Raises `ValueError` that names the rows of `xs` with NaN or infinity in them; traced arrays pass."""
    for leaf in jax.tree.leaves(xs):
        if isinstance(leaf, Tracer) or not np.issubdtype(np.asarray(leaf).dtype, np.inexact):
            continue
        values = np.asarray(leaf)
        (rows,) = np.nonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if rows.size:
            shown = ", ".join(map(str, rows[:_ROWS_NAMED])) + (", …" if rows.size > _ROWS_NAMED else "")
            raise ValueError(f"{what} got values that are not finite in {rows.size} of {len(values)} rows: {shown}")
