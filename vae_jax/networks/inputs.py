"""What a network is given: values, what is missing of them, and c, as one array."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..distributions import Masked, is_masked
from ..parts import Items
from ..precision import at_least_float32
from .preprocess import Preprocess

# The preprocessing of each leaf: of one array, or by name.
Preprocesses = Preprocess | Mapping[str, Preprocess | None] | None


@dataclasses.dataclass(frozen=True)
class Inputs:
    """(x, c) -> one array for a network.

    An x that is one array without a mask or a c goes in as it is. Otherwise, for a body that takes channels and an
    image, mask and c are further channels, c the same at each pixel; for others everything becomes one vector.

    Attributes:
      preprocess: of x.
      condition: of c; None for a network without c.
      masked: whether a mask goes in beside x, also where x has none and all of it is observed.
      channels: whether the body takes what goes in beside an image as channels of it.
    """

    preprocess: Any
    condition: Any
    masked: bool
    channels: bool

    def __call__(self, x: Any, c: Any) -> Float[Array, "..."]:
        values, masks = zip(*(_prepared(leaf, of) for leaf, of in _leaves(x, self.preprocess)), strict=True)
        beside = [] if c is None else [_prepared(leaf, of)[0] for leaf, of in _leaves(c, self.condition)]
        if len(values) == 1 and not self.masked and not beside:
            return values[0]
        masks = [mask.astype(jnp.float32) for mask in masks] if self.masked else []
        if self.channels and len(values) == 1 and values[0].ndim == 3:
            size = values[0].shape[:2]
            flat = [jnp.broadcast_to(leaf.reshape(-1), (*size, leaf.size)) for leaf in beside]
            return jnp.concatenate([values[0], *masks, *flat], axis=-1)
        return jnp.concatenate([leaf.reshape(-1) for leaf in (*values, *masks, *beside)])


def _leaves(tree: Any, preprocess: Any) -> list[tuple[Any, Preprocess | None]]:
    """The arrays of a pytree, each with its preprocessing, that of its name in a dict."""
    if isinstance(preprocess, Items):
        return [(tree[name], of) for name, of in preprocess]
    return [(leaf, preprocess) for leaf in jax.tree.leaves(tree, is_leaf=is_masked)]


def _prepared(leaf: Any, preprocess: Preprocess | None) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """A leaf's numbers, 0 where it is missing, and where it is not."""
    value = leaf.filled(1) if isinstance(leaf, Masked) else leaf  # 1 is a number of every kind
    observed = jnp.asarray(leaf.observed) if isinstance(leaf, Masked) else jnp.ones(jnp.shape(leaf), bool)
    numbers = _wide(value) if preprocess is None else preprocess(value)
    if isinstance(leaf, Masked):
        of_number = observed.reshape(observed.shape + (1,) * (numbers.ndim - observed.ndim))
        numbers = jnp.where(of_number, numbers, 0)
    return numbers, observed


def _wide(value: Any) -> Float[Array, "..."]:
    """A value as numbers: of its own type where that is a floating one."""
    (wide,) = at_least_float32(jnp.asarray(value))
    return jnp.asarray(value) if jnp.issubdtype(jnp.result_type(value), jnp.floating) else wide


def shape_of(x: Any) -> Any:
    """Returns the shape of an event, a dict of shapes where it is a dict of arrays."""
    if isinstance(x, Mapping):
        return {name: shape_of(value) for name, value in x.items()}
    return x.shape if isinstance(x, Masked) else jnp.shape(x)


def example_of(shape: Any) -> Any:
    """Returns an event of that shape, of zeros."""
    return {name: jnp.zeros(of) for name, of in shape.items()} if isinstance(shape, Mapping) else jnp.zeros(shape)
