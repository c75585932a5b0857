"""Inverse autoregressive flows."""

import math
from typing import Any

from jaxtyping import Array, Key

from ..checks import check_count, check_sizes
from ..distributions import InverseAutoregressiveFlow, autoregressive_layers
from ..parts import Family, Shape, part, scale_of


@part
def iaf(num_layers: int = 2, hidden: int | tuple[int, ...] = (64,)) -> Family:
    """Returns the family of `InverseAutoregressiveFlow`, which z ~ q(z|x) is drawn from in one pass.

    z₀ = μ(x) + σ(x) e, and each step z' = g ⊙ z + (1 − g) ⊙ m, with a gate g in (0, 1) and a shift m whose elements i
    depend on z_{<i} and on x. The network puts out "mean", μ, "log_variance", log σ², and "context", which is added to
    the first hidden layer of each step. The steps' weights are parameters of their own. log q(z|x) comes from the
    noise e; at a z that was not drawn it takes as many passes as z has elements.

    Args:
      num_layers: steps, at least 1.
      hidden: widths of the hidden layers of a step's masked network.

    Raises:
      ValueError: for a number or a width below 1.

    Source: Kingma et al. 2016, arXiv:1606.04934, algorithm 1; masks: Germain et al. 2015, arXiv:1502.03509.
    """
    num_layers, widths = check_count(num_layers, "num_layers"), check_sizes(hidden, "hidden", fewest=1)

    def outputs(shape: Shape) -> dict[str, Shape]:
        return {"mean": shape, "log_variance": shape, "context": (num_layers, widths[0])}

    def init(key: Key[Array, ""], shape: Shape) -> Any:
        return autoregressive_layers(key, math.prod(shape), num_layers=num_layers, hidden=widths)

    def build(own: Any, numbers: dict[str, Array], shape: Shape, given: Any) -> InverseAutoregressiveFlow:
        scale = scale_of(numbers["log_variance"])
        return InverseAutoregressiveFlow(numbers["mean"], scale, numbers["context"], own)

    return Family(outputs, build, init)
