"""Grey images made into binary ones."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, Shaped, UInt8

from .. import threefry
from ..distributions import Masked
from ..keys import check_key, example_keys
from .dataset import Split

BINARIZATIONS = ("none", "fixed", "dynamic")
_AT_ONCE = 10_000


def unit_interval(image: ArrayLike) -> Float[Array, "..."]:
    """Returns bytes 0…255, or 16-bit numbers 0…65,535, as floats in [0, 1].

    Raises:
      ValueError: for another type.
    """
    values = jnp.asarray(image)
    if values.dtype != jnp.uint16:
        values = _bytes(values)
    greatest = jnp.iinfo(values.dtype).max
    # A GPU divides to two units in the last place: white would be no probability.
    return jnp.where(values == greatest, 1.0, values.astype(jnp.float32) / greatest)


def binarize(key: Key[Array, ""], image: ArrayLike) -> Float[Array, "..."]:
    """One Bernoulli draw per pixel of ONE image, with its value / 255 as the probability (to 2⁻¹⁶); zeros and ones.

    Drawn afresh at every step this is dynamic (stochastic) binarisation.

    Source: Salakhutdinov and Murray 2008, On the quantitative analysis of deep belief networks.
    """
    check_key(key)
    values = _bytes(image)
    # Sixteen bits a pixel, two pixels a word: half the random numbers of a uniform draw, a tenth of a training step of
    # 784-500-20. A number below 65,536 is below 257 v with probability v/255 (1 − 2⁻¹⁶), and white is always white.
    words = threefry.bits(key, (-(-values.size // 2),))
    numbers = jnp.concatenate([words >> 16, words & 0xFFFF])[: values.size].reshape(values.shape)
    return ((numbers < 257 * values.astype(jnp.uint32)) | (values == 255)).astype(jnp.float32)


def numbers(stored: Shaped[ArrayLike, "*event"]) -> Float[Array, "*event"]:
    """Returns stored pictures as numbers in [0, 1]: `unit_interval` of whole numbers, floats as they are."""
    values = jnp.asarray(stored)
    return values if jnp.issubdtype(values.dtype, jnp.floating) else unit_interval(values)


def draw(key: Key[Array, ""], stored: Shaped[ArrayLike, "*event"]) -> Float[Array, "*event"]:
    """Returns zeros and ones, with the numbers of ONE stored picture as their probabilities; `binarize` of bytes."""
    if jnp.result_type(stored) == jnp.uint8:
        return binarize(key, stored)
    check_key(key)
    return jax.random.bernoulli(key, numbers(stored)).astype(jnp.float32)


def binarize_once(key: Key[Array, ""], images: Shaped[np.ndarray, "n ..."]) -> UInt8[np.ndarray, "n ..."]:
    """Fixed binarisation of a data set: one draw for each image, by its row, as bytes 0 and 255."""
    one = jax.jit(jax.vmap(lambda key, image: (255 * draw(key, image)).astype(jnp.uint8)))
    pieces = range(0, len(images), _AT_ONCE)
    rows = [np.arange(start, min(start + _AT_ONCE, len(images))) for start in pieces]
    return np.concatenate([one(example_keys(key, 0, jnp.asarray(r)), jnp.asarray(images[r])) for r in rows])


def binarize_split(key: Key[Array, ""], split: Split) -> Split:
    """Returns a split of pictures, beside which c may be given, with `binarize_once` of them."""
    pictures, *given = split.examples if isinstance(split.examples, tuple) else (split.examples,)
    if isinstance(pictures, Masked):
        drawn = Masked(binarize_once(key, np.where(pictures.observed, pictures.value, 0)), pictures.observed)
    else:
        drawn = binarize_once(key, pictures)
    return split._replace(examples=(drawn, *given) if given else drawn)


def _bytes(image: ArrayLike) -> UInt8[Array, "..."]:
    """Raises `ValueError` for anything but bytes: floats in [0, 1] would all become black."""
    array = jnp.asarray(image)
    if array.dtype != jnp.uint8:
        raise ValueError(f"images must be bytes (uint8, 0 to 255), got {array.dtype}")
    return array
