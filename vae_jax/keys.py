"""The randomness contract: noise is a function of (seed, step, the example's row in the data set) alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


def check_key(key: jax.Array) -> None:
    """Raises `TypeError` unless `key` is ONE typed key: a raw uint32 array would pass for a batch of numbers."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"key must be a typed PRNG key, jax.random.key(seed); got {dtype or type(key).__name__}. "
            "Wrap a raw key with jax.random.wrap_key_data"
        )
    if key.shape != ():
        raise TypeError(f"key must be one key, not an array of keys of shape {key.shape}; batch with jax.vmap")


def example_keys(key: Key[Array, ""], step: Int[Array, ""] | int, index: Int[Array, " batch"]) -> Key[Array, " batch"]:
    """One key per example: fold_in(fold_in(key, step), index).

    It depends on neither the number of devices nor the batch layout, and no key is carried from step to step, so
    that a resumed run draws the noise it would have drawn.

    Args:
      key: the run's key.
      step: the training step.
      index: the examples' rows in the data set.
    """
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda row: jax.random.fold_in(step_key, row))(index)
