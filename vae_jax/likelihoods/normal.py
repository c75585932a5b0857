"""Gaussian elements."""

from ..distributions import DiagonalNormal
from ..parts import Family, part
from .location_scale import location_scale


@part
def normal(scale: int | float = 1.0, learn: str = "fixed") -> Family:
    """Returns p(x|z) = N(μ(z), σ²) over real x (E5), a `DiagonalNormal`.

    The weight of the squared error is 1/(2σ²). A shared σ reaches, by gradient, the maximum-likelihood one that σ-VAE
    computes from each batch. Where σ is learned it is 10⁻³ + exp(·).

    Args:
      scale: σ, or where a learned one starts.
      learn: "fixed"; "shared" for one learned σ; "each" for a σ(z) of each element, which the network puts out.

    Raises:
      ValueError: for an unknown `learn`, or a scale that is not finite, positive and, where learned, above 10⁻³.

    Source: Kingma and Welling 2014, arXiv:1312.6114, appendix C.2; shared: Rybkin et al. 2021, arXiv:2006.13202.
    """
    return location_scale(DiagonalNormal, scale, learn)
