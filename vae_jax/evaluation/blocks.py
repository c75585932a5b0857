"""Functions of one example, computed for blocks of as many."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def in_blocks(function: Callable[[Any], Any], examples: Any, size: int) -> Any:
    """Returns the function of each example along the leading axis, to the bit the same whatever examples stand beside.

    Matrix products of another number of rows round otherwise: each block is of `size` examples, and the last one is
    filled up with its last example.
    """
    number = jax.tree.leaves(examples)[0].shape[0]
    rows = jnp.minimum(jnp.arange(-(-number // size) * size), number - 1).reshape(-1, size)
    found = jax.lax.map(jax.vmap(function), jax.tree.map(lambda leaf: leaf[rows], examples))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:number], found)
