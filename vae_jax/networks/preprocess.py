"""What the values of x and c become before a network sees them; the density of x is that of x as it is."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..checks import check_count
from ..names import check_name
from ..precision import at_least_float32

# One array as numbers, of the array's shape or with one axis more.
Preprocess = Callable[[Any], Array]


class Constant:
    """A pytree of arrays that is compared and hashed by its bytes."""

    def __init__(self, tree: Any) -> None:
        self.tree = jax.tree.map(np.asarray, tree)
        leaves, structure = jax.tree.flatten(self.tree)
        arrays = [(leaf.shape, str(leaf.dtype), hashlib.sha256(leaf.tobytes()).digest()) for leaf in leaves]
        self._identity = (structure, *arrays)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Constant) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def standardize(mean: ArrayLike, scale: ArrayLike = 1.0, *, of: str = "x") -> Preprocess:
    """Returns x ↦ (t(x) − mean) / scale, elementwise, with t(x) = x, log x or log(1 + x) for `of` "x", "log", "log1p".

    Args:
      mean: of t(x), of x's shape.
      scale: of t(x), of x's shape or a scalar.
      of: t. "log" is for positive numbers, "log1p" for counts.

    Raises:
      ValueError: for another t, with the nearest.
    """
    check_name(of, "of", _TRANSFORMS)
    return _Standardize(_TRANSFORMS[of], Constant(mean), Constant(scale))


def one_hot(num_classes: int) -> Preprocess:
    """Returns x ↦ a vector for each class, which the first layer's weights embed: 1 at the class, 0 elsewhere.

    Raises:
      ValueError: for no classes.
    """
    return _OneHot(check_count(num_classes, "num_classes"))


_TRANSFORMS: dict[str, Callable[[Array], Array]] = {"x": lambda x: x, "log": jnp.log, "log1p": jnp.log1p}


@dataclasses.dataclass(frozen=True)
class _Standardize:
    transform: Callable[[Array], Array]
    mean: Constant
    scale: Constant

    def __call__(self, x: Shaped[ArrayLike, "*event"]) -> Float[Array, "*event"]:
        # In float32 first: in the type of whole numbers a mean is 0.
        (wide,) = at_least_float32(jnp.asarray(x))
        mean, scale = (jnp.asarray(constant.tree, wide.dtype) for constant in (self.mean, self.scale))
        return (self.transform(wide) - mean) / scale


@dataclasses.dataclass(frozen=True)
class _OneHot:
    num_classes: int

    def __call__(self, x: Shaped[ArrayLike, "*event"]) -> Float[Array, "*event C"]:
        codes = jnp.asarray(x)
        return (codes[..., None] == jnp.arange(self.num_classes, dtype=codes.dtype)).astype(jnp.float32)
