"""What every figure of a set of examples asks of its arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

_MOST_NAMED = 10


def check_examples(keys: Key[Array, " n"], xs: Any, what: str, minimum: int = 1) -> int:
    """n; raises `ValueError` unless `xs` passes `check_rows` and has as many examples as there are keys."""
    number = check_rows(xs, "xs", minimum)
    if np.shape(keys)[:1] != (number,):
        raise ValueError(
            f"{what} needs one key for each example: got keys of shape {np.shape(keys)} for {number} examples"
        )
    return number


def check_rows(rows: Any, name: str, minimum: int = 1) -> int:
    """How many rows the arrays of `rows` have; raises `ValueError` unless it is one number >= `minimum`, and all of
    them, if they are concrete, are finite."""
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(rows)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(f"{name} must have one leading axis, the examples; got lengths {sorted(lengths)}")
    ((number,),) = lengths
    if number < minimum:
        raise ValueError(f"{name} must have at least {minimum} rows, got {number}")
    for leaf in jax.tree.leaves(rows):
        if isinstance(leaf, Tracer) or not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            continue
        (bad,) = np.nonzero(~np.isfinite(np.asarray(leaf)).reshape(number, -1).all(axis=1))
        if bad.size:
            named = ", ".join(map(str, bad[:_MOST_NAMED])) + (", …" if bad.size > _MOST_NAMED else "")
            raise ValueError(f"{name} must be finite; {bad.size} of {number} rows are not: {named}")
    return number
