"""`jax.random`'s Threefry-2x32, to the bit, as straight-line code.

On CPUs JAX hashes in a loop of five rounds, whose kernels pass every word through memory five times and cost more than
their work where there are few words: a tenth of a training step. Straight-line code is one kernel, fused with what the
bits are for, and it compiles sooner. Other devices have it already.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl
from jaxtyping import Array, Float, Int, Key, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def split(key: Key[Array, ""], num: int | tuple[int, ...]) -> Key[Array, "..."]:
    """Returns `jax.random.split(key, num)`."""
    return _as(key, jax.random.split(_unrolled(key), num))


def fold_in(key: Key[Array, ""], number: Int[Array, ""] | int) -> Key[Array, ""]:
    """Returns `jax.random.fold_in(key, number)`."""
    return _as(key, jax.random.fold_in(_unrolled(key), number))


def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Returns `jax.random.bits(key, shape)`, words of 32 random bits."""
    return jax.random.bits(_unrolled(key), shape, jnp.uint32)


def normal(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Returns `jax.random.normal(key, shape, dtype)`."""
    return jax.random.normal(_unrolled(key), shape, dtype)


def _hash(
    key: UInt32[Array, "2"], high: UInt32[Array, "..."], low: UInt32[Array, "..."]
) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    """Returns the two words that the counter (high, low) is mapped to, by twenty rounds.

    Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3, section 4.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    x, y = high + schedule[0], low + schedule[1]
    for number in range(1, 6):
        for rotation in _ROTATIONS[(number - 1) % 2]:
            x = x + y
            y = (y << jnp.uint32(rotation) | y >> jnp.uint32(32 - rotation)) ^ x
        x, y = x + schedule[number % 3], y + schedule[(number + 1) % 3] + jnp.uint32(number)
    return x, y


def _counters(shape: tuple[int, ...]) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    low = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return jnp.zeros_like(low), low


def _split(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "... 2"]:
    return jnp.stack(_hash(key, *_counters(shape)), axis=-1)


def _fold_in(key: UInt32[Array, "2"], number: Any) -> UInt32[Array, "2"]:
    return jnp.stack(_hash(key, jnp.uint32(0), number))


def _random_bits(key: UInt32[Array, "2"], bit_width: int, shape: tuple[int, ...]) -> Array:
    high, low = _hash(key, *_counters(shape))
    if bit_width == 64:
        return high.astype(jnp.uint64) << 32 | low.astype(jnp.uint64)
    return (high ^ low).astype(f"uint{bit_width}")


def _seed(seed: Int[Array, ""]) -> UInt32[Array, "2"]:
    return jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))


_UNROLLED = define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name="threefry2x32_unrolled"
)


def _unrolled(key: Key[Array, "..."]) -> Key[Array, "..."]:
    """Returns the key as one of the same numbers, hashed by `_hash`; a key of another kind as it is."""
    partitionable = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    if str(jax.random.key_impl(key)) != "threefry2x32" or not partitionable:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_UNROLLED)


def _as(key: Key[Array, ""], drawn: Key[Array, "..."]) -> Key[Array, "..."]:
    """Returns keys as ones of the kind of `key`."""
    return jax.random.wrap_key_data(jax.random.key_data(drawn), impl=jax.random.key_impl(key))
