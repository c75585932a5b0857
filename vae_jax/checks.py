"""What is asked of arguments: whole numbers; arrays of one length, and finite."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify

from .distributions import Masked, is_masked

_MOST_NAMED = 10


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """`value` as an int; raises `ValueError` unless it is a whole number of at least `minimum`."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool) or count < minimum:
        raise ValueError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    return count


def check_sizes(value: Any, name: str, *, fewest: int = 0) -> tuple[int, ...]:
    """Returns a whole number n as (n,), and several as a tuple.

    Raises:
      ValueError: where one is below 1, or there are fewer than `fewest`.
    """
    try:
        sizes = tuple(operator.index(size) for size in (value if isinstance(value, Iterable) else (value,)))
    except TypeError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise ValueError(f"{name} must be of whole numbers of at least 1, got {value!r}")
    if len(sizes) < fewest:
        raise ValueError(f"{name} must hold at least {fewest} number, got {value!r}")
    return sizes


def count_rows(rows: Any, name: str) -> int:
    """Returns the length that the leading axes of all arrays of `rows` have in common.

    Raises:
      ValueError: where they differ, or there is none: XLA would read a row beyond an array's end as its last; and for a
        list, which JAX takes for a pytree whose leaves are the examples.
    """
    if isinstance(rows, list):
        raise ValueError(
            f"{name} is a list of {len(rows)}: make one array of a list of examples, numpy.stack({name}), and a tuple "
            "of several arrays"
        )
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(rows)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(f"{name} must have one leading axis, the examples; got lengths {sorted(lengths)}")
    ((number,),) = lengths
    return number


def check_rows(rows: Any, name: str, minimum: int = 1) -> int:
    """Returns `count_rows`; raises `ValueError` too where it is below `minimum`, or a concrete array is not finite."""
    number = count_rows(rows, name)
    if number < minimum:
        raise ValueError(f"{name} must have at least {minimum} rows, got {number}")
    for leaf in map(_observed, jax.tree.leaves(rows, is_leaf=is_masked)):
        if isinstance(leaf, Tracer) or not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            continue
        (bad,) = np.nonzero(~np.isfinite(np.asarray(leaf)).reshape(number, -1).all(axis=1))
        if bad.size:
            named = ", ".join(map(str, bad[:_MOST_NAMED])) + (", …" if bad.size > _MOST_NAMED else "")
            hint = ". Where NaN stands for a missing entry, distributions.masked(xs) says so" if name == "xs" else ""
            raise ValueError(f"{name} must be finite; {bad.size} of {number} rows are not: {named}{hint}")
    return number


def _observed(leaf: Any) -> Any:
    """Returns an array with 0 for what is not observed of it."""
    if not isinstance(leaf, Masked):
        return leaf
    traced = any(isinstance(part, Tracer) for part in (leaf.value, leaf.observed))
    return leaf.filled(0) if traced else np.where(leaf.observed, leaf.value, 0)


def failed_check(function: Callable[..., Any]) -> Callable[..., checkify.Error]:
    """Returns `function` with the first of its `checkify.debug_check`s that fails as its result.

    Under `jit` nothing is computed but what the checks need.
    """
    return lambda *args: checkify.checkify(function)(*args)[0]


def check_passes(error: checkify.Error) -> None:
    """Raises `ValueError` with the message of a check that failed."""
    message = error.get()
    if message is not None:
        raise ValueError(message.removesuffix(" (`check` failed)"))
