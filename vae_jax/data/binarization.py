"""Grey images made into binary ones."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, UInt8

from ..keys import example_keys

BINARIZATIONS = ("none", "fixed", "dynamic")


def unit_interval(image: UInt8[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Bytes 0…255 as floats in [0, 1]."""
    return jnp.asarray(image, jnp.float32) / 255


def binarize(key: Key[Array, ""], image: UInt8[ArrayLike, "..."]) -> Float[Array, "..."]:
    """One Bernoulli draw per pixel of ONE image, with the pixel's grey value as its probability; zeros and ones.

    Drawn afresh at every step this is dynamic (stochastic) binarisation.

    Source: Salakhutdinov and Murray 2008, On the quantitative analysis of deep belief networks.
    """
    return jax.random.bernoulli(key, unit_interval(image)).astype(jnp.float32)


def binarize_once(key: Key[Array, ""], images: UInt8[np.ndarray, "n ..."]) -> UInt8[np.ndarray, "n ..."]:
    """Fixed binarisation of a data set: one draw for each image, by its row, as bytes 0 and 255."""
    keys = example_keys(key, 0, jnp.arange(len(images)))
    return np.asarray(255 * jax.jit(jax.vmap(binarize))(keys, jnp.asarray(images))).astype(np.uint8)
