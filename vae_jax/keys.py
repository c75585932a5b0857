"""The randomness contract: noise is a function of (seed, step, the example's row in the data set) alone.

A key is either drawn from, or split, or folded with numbers: never two of these, since in JAX split(key, n)[i] is
fold_in(key, i).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from . import threefry

_BATCH_DEPENDENT = ("rbg", "unsafe_rbg")


def check_key(key: jax.Array) -> None:
    """Raises `TypeError` unless `key` is ONE typed key, `ValueError` for one of an implementation that is not used.

    A raw uint32 array would pass for a batch of numbers.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"key must be a typed PRNG key, jax.random.key(seed); got {dtype or type(key).__name__}. "
            "Wrap a raw key with jax.random.wrap_key_data"
        )
    if key.shape != ():
        raise TypeError(f"key must be one key, not an array of keys of shape {key.shape}; batch with jax.vmap")
    check_implementation(str(jax.random.key_impl(key)))


def check_implementation(name: str) -> None:
    """Raises `ValueError` for an implementation of keys whose draws depend on the batch, under `jax.vmap`."""
    if name in _BATCH_DEPENDENT:
        raise ValueError(
            f"keys of {name} draw other numbers in other batches, so that no result could be repeated; use those of "
            "threefry2x32: jax.random.key(seed, impl='threefry2x32'), or JAX_DEFAULT_PRNG_IMPL=threefry2x32, JAX's "
            "default"
        )


def example_keys(key: Key[Array, ""], step: Int[Array, ""] | int, index: Int[Array, " batch"]) -> Key[Array, " batch"]:
    """One key per example: fold_in(fold_in(key, step), index).

    It depends on neither the number of devices nor the batch layout, and no key is carried from step to step, so
    that a resumed run draws the noise it would have drawn.

    Args:
      key: the run's key.
      step: the training step.
      index: the examples' rows in the data set.
    """
    check_key(key)
    step_key = threefry.fold_in(key, step)
    return jax.vmap(lambda row: threefry.fold_in(step_key, row))(index)
