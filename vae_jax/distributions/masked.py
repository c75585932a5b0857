"""Values of which some entries are missing."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Shaped

from ._pytree import pytree_dataclass


@pytree_dataclass
class Masked:
    """A value of which some entries are missing.

    The log-density of it under a factorised distribution is that of its observed entries, which integrates the missing
    ones out. What is stored under the mask reaches no number and no gradient, NaN included. A pytree: batch with
    `jax.vmap`.

    Attributes:
      value: the entries, of any shape.
      observed: of the same shape, true where an entry was observed.

    Raises:
      ValueError: at construction, where the shapes differ or the mask is not of booleans.

    Source: Nazábal et al. 2020, arXiv:1807.03653, section 2.1; Mattei and Frellsen 2019, arXiv:1812.02633, equation 4.
    """

    value: Shaped[ArrayLike, "..."]
    observed: Shaped[ArrayLike, "..."]

    def __post_init__(self) -> None:
        if np.shape(self.value) != np.shape(self.observed):
            raise ValueError(
                f"Masked: the mask must have the value's shape {np.shape(self.value)}, got {np.shape(self.observed)}"
            )
        if not jnp.issubdtype(jnp.result_type(self.observed), jnp.bool_):
            raise ValueError(f"Masked: the mask must be of booleans, got {jnp.result_type(self.observed)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The event's shape."""
        return np.shape(self.value)

    def filled(self, fill: ArrayLike) -> Shaped[Array, "*event"]:
        """Returns the value with `fill` where nothing was observed, in the value's type."""
        value = jnp.asarray(self.value)
        return jnp.where(self.observed, value, jnp.asarray(fill).astype(value.dtype))


def masked(array: ArrayLike) -> Masked:
    """Returns an array as a `Masked` value, in which NaN stands for a missing entry and 0 is stored there.

    Raises:
      ValueError: for infinite entries.
    """
    array = jnp.asarray(array)
    observed = ~jnp.isnan(array)
    if bool(jnp.any(jnp.isinf(array))):
        raise ValueError("masked takes numbers, and NaN for what is missing; the array holds infinite ones")
    return Masked(jnp.where(observed, array, jnp.zeros_like(array)), observed)


def masked_like(value: Any, x: Any) -> Any:
    """Returns another value of the variable that x is of, in which is missing what is missing of x; pytrees of one
    structure."""
    mask = lambda of_x, leaf: Masked(leaf, of_x.observed) if is_masked(of_x) else leaf
    return jax.tree.map(mask, x, value, is_leaf=is_masked)


def is_masked(value: Any) -> bool:
    """Returns whether a value is `Masked`; for `is_leaf` of JAX's functions of pytrees."""
    return isinstance(value, Masked)
