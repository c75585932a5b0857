"""What an encoder or a decoder is made of, whatever it is written with."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import ArrayLike, Float

from ...parts import Numbers, Shape, Shapes


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """The numbers that are asked of a network.

    Attributes:
      shapes: their shape, or their shapes by name.
      zeros: names of those that start as 0 for every input.
      mean: of the data, of the event's shape or a dict, at which the network should start; None for anywhere.
      bias: mean -> numbers at which the mean of p(x|z) is that.
    """

    shapes: Shapes
    zeros: tuple[str, ...] = ()
    mean: Float[ArrayLike, "*event"] | Mapping[str, Any] | None = None
    bias: Callable[[Any], Any] | None = None

    def by_name(self) -> Mapping[str, Shape]:
        """Returns the shapes by name; one that has none by ""."""
        return self.shapes if isinstance(self.shapes, Mapping) else {"": self.shapes}

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(math.prod(shape) for shape in self.by_name().values())

    def start(self, axes: tuple[int, ...] = ()) -> Any:
        """Returns the numbers to start with, one for each element of the event, or where the data's mean is averaged
        over some axes, of length 1 there; None where any do."""
        if self.mean is None or self.bias is None:
            return None
        if isinstance(self.mean, Mapping):
            return self.bias(self.mean)
        mean = np.asarray(self.mean, float)
        return self.bias(mean.mean(axes, keepdims=True) if axes else mean)

    def split(self, flat: Any) -> Numbers:
        """Returns an array of `size` numbers in their shapes."""
        numbers, first = {}, 0
        for name, shape in self.by_name().items():
            numbers[name] = flat[first : first + math.prod(shape)].reshape(shape)
            first += math.prod(shape)
        return numbers if isinstance(self.shapes, Mapping) else numbers[""]


class Network(NamedTuple):
    """A network between arrays of two shapes.

    Attributes:
      init: key -> params.
      apply: (params, one input) -> the numbers in their shapes, or one vector of them all.
    """

    init: Callable[[Any], Any]
    apply: Callable[[Any, Any], Numbers]


@runtime_checkable
class Body(Protocol):
    """A network whose two shapes are still open: a frozen dataclass, so that equal ones are the same to JAX.

    One with `takes_channels = True` is given what stands beside an image, a mask and c, as further channels of it.
    """

    def __call__(self, in_shape: Shape, outputs: Outputs, /) -> Network:
        """Returns the network from one array of a shape to the numbers of `outputs`."""
        ...

    def mirror(self) -> "Body":
        """Returns the body of the decoder that belongs to an encoder of this one."""
        ...
