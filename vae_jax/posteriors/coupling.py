"""Affine coupling flows."""

import math
from typing import Any

from jaxtyping import Array, Key

from ..checks import check_count, check_sizes
from ..distributions import CouplingFlow, coupling_layers
from ..parts import Family, Shape, part, scale_of


@part
def coupling(num_layers: int = 4, hidden: int | tuple[int, ...] = (64,)) -> Family:
    """Returns the family of `CouplingFlow`, q(z|x) with samples and densities in one pass each.

    z₀ = μ(x) + σ(x) e, and each step moves one half of z to b ⊙ exp(s) + t, where s and t depend on the other half and
    on x. The network puts out "mean", μ, "log_variance", log σ², and "context", which is added to the first hidden
    layer of each step. The steps' weights are parameters of their own; it begins as N(μ, diag(σ²)).

    Args:
      num_layers: steps, at least 1; with one, half of the elements are Gaussian.
      hidden: widths of the hidden layers of a step's network.

    Raises:
      ValueError: for a number or a width below 1; where the model is built, for a z of one element.

    Source: Dinh et al. 2017, arXiv:1605.08803, equations 4–8; the context: Kingma et al. 2016, arXiv:1606.04934.
    """
    num_layers, widths = check_count(num_layers, "num_layers"), check_sizes(hidden, "hidden", fewest=1)

    def outputs(shape: Shape) -> dict[str, Shape]:
        return {"mean": shape, "log_variance": shape, "context": (num_layers, widths[0])}

    def init(key: Key[Array, ""], shape: Shape) -> Any:
        return coupling_layers(key, math.prod(shape), num_layers=num_layers, hidden=widths)

    def build(own: Any, numbers: dict[str, Array], shape: Shape, given: Any) -> CouplingFlow:
        return CouplingFlow(numbers["mean"], scale_of(numbers["log_variance"]), numbers["context"], own)

    return Family(outputs, build, init)
