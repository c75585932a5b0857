"""Where a density is defined.

A support is a function of a value that is true, for each element, inside it. It states whether it `is_discrete`, that
is, whether the density on it is a probability.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ._pytree import floating

# Of a step between two levels: float32 holds k/255 to 10⁻⁵ of one.
_OFF_LEVEL = 1e-3


class Interval(NamedTuple):
    """The numbers from `low` to `high`, both included, in every element of an event; `low` is not where it is open."""

    low: float
    high: float
    is_open: bool = False
    is_discrete = False

    def __call__(self, value: jax.typing.ArrayLike) -> Bool[Array, "*event"]:
        """Whether each element lies inside."""
        value = floating(value)
        return ((value > self.low) if self.is_open else (value >= self.low)) & (value <= self.high)

    def __repr__(self) -> str:
        if self.high == math.inf:
            return f"numbers {'above' if self.is_open else 'from'} {self.low:g}{'' if self.is_open else ' on'}"
        return f"numbers {'above' if self.is_open else 'from'} {self.low:g} to {self.high:g}"


class Binary(NamedTuple):
    """0 and 1, in every element of an event. Grey numbers between them are not refused, but no density is of them."""

    is_discrete = True

    def __call__(self, value: jax.typing.ArrayLike) -> Bool[Array, "*event"]:
        """Whether each element lies from 0 to 1."""
        value = floating(value)
        return (value >= 0) & (value <= 1)

    def is_exact(self, value: jax.typing.ArrayLike) -> Bool[Array, "*event"]:
        """Whether each element is 0 or 1."""
        value = floating(value)
        return (value == 0) | (value == 1)

    def __repr__(self) -> str:
        return "numbers from 0 to 1"


class WholeNumbers(NamedTuple):
    """The whole numbers from `low` to `high`, both included, of any dtype, in every element of an event."""

    low: int
    high: float
    is_discrete = True

    def __call__(self, value: jax.typing.ArrayLike) -> Bool[Array, "*event"]:
        """Whether each element is one of them."""
        value = floating(value)
        return (value >= self.low) & (value <= self.high) & (value == jnp.round(value))

    def __repr__(self) -> str:
        return f"whole numbers from {self.low} {'on' if self.high == math.inf else f'to {self.high}'}"


class Levels(NamedTuple):
    """The points k/(L − 1), k = 0 … L − 1, of [0, 1], in every element of an event."""

    number: int
    is_discrete = True

    def __call__(self, value: jax.typing.ArrayLike) -> Bool[Array, "*event"]:
        """Whether each element is one of them, within a thousandth of the step between two."""
        steps = floating(value) * (self.number - 1)
        return (
            (steps > -_OFF_LEVEL)
            & (steps < self.number - 1 + _OFF_LEVEL)
            & (jnp.abs(steps - jnp.round(steps)) < _OFF_LEVEL)
        )

    def __repr__(self) -> str:
        return f"the {self.number} levels k/{self.number - 1} from 0 to 1"


Support = Binary | Interval | Levels | WholeNumbers
