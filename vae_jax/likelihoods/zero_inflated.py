"""Counts with an excess of zeros."""

import math
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .. import distributions
from ..distributions import Elementwise, WholeNumbers
from ..parts import Family, Shape, part


@part
def zero_inflated(component: Family) -> Family:
    """Returns p(x|z) = Π [π(z) 1[x = 0] + (1 − π(z)) p_component(x|z)], a `ZeroInflated`.

    Beside the component's numbers the network puts out the log-odds of π, the last of each element's.

    Args:
      component: `poisson` or `negative_binomial`, or counts of one's own.

    Raises, where the model is built:
      ValueError: for a component that is no distribution of independent counts.

    Source: Lambert 1992, Technometrics 34(1); in VAEs, Lopez et al. 2018, Nature Methods 15(12).
    """

    def outputs(shape: Shape) -> Shape:
        return (*shape, 1 + _number(component, shape))

    def build(own: Any, numbers: Float[Array, "*event n"], shape: Shape, given: Any) -> distributions.ZeroInflated:
        of_component = numbers[..., :-1].reshape(component.outputs(shape))
        counts = component.build(own, of_component, shape, given)
        support = getattr(counts, "support", None)
        if not isinstance(counts, Elementwise) or support != WholeNumbers(0, math.inf):
            raise ValueError(
                "zero_inflated is made of independent counts, as poisson and negative_binomial are, not of a "
                f"{type(counts).__name__}"
            )
        return distributions.ZeroInflated(counts, numbers[..., -1])

    def bias(mean: Any) -> Float[np.ndarray, "*event n"]:
        assert component.bias is not None
        # Half of them are zeros, at log-odds of 0.
        of_component = np.reshape(component.bias(np.asarray(2 * mean)), (*np.shape(mean), -1))
        return np.concatenate([of_component, np.zeros((*np.shape(mean), 1))], axis=-1)

    return Family(outputs, build, component.init, None if component.bias is None else bias)


def _number(component: Family, shape: Shape) -> int:
    """How many numbers the component has for each element."""
    asked = component.outputs(shape)
    if asked == shape:
        return 1
    if not isinstance(asked, tuple) or asked[:-1] != shape:
        raise ValueError(f"zero_inflated needs a component with numbers [*event, n], and it asks for {asked}")
    return asked[-1]
