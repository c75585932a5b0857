"""Where a density is defined."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Bool

from ._pytree import floating


class Interval(NamedTuple):
    """The numbers from `low` to `high`, both included, in every element of an event."""

    low: float
    high: float

    def __call__(self, value: jax.typing.ArrayLike) -> Bool[Array, "*event"]:
        """Whether each element lies inside."""
        value = floating(value)
        return (value >= self.low) & (value <= self.high)

    def __repr__(self) -> str:
        return f"numbers from {self.low:g} to {self.high:g}"
