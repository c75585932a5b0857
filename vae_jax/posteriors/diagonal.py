"""Independent Gaussians."""

from typing import Any

from jaxtyping import Array

from ..distributions import DiagonalNormal
from ..parts import Family, Shape, part, scale_of


@part
def diagonal() -> Family:
    """Returns q(z|x) = N(μ(x), diag(σ(x)²)), a `DiagonalNormal` over z of any shape.

    The network puts out "mean", μ, and "log_variance", log σ².

    Source: Kingma and Welling 2014, arXiv:1312.6114, section 3.
    """
    return Family(outputs=lambda shape: {"mean": shape, "log_variance": shape}, build=_build)


def _build(own: Any, numbers: dict[str, Array], shape: Shape, given: Any) -> DiagonalNormal:
    return DiagonalNormal(numbers["mean"], scale_of(numbers["log_variance"]))
