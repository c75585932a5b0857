"""Elements with exponential tails."""

from ..distributions import Laplace
from ..parts import Family, part
from .location_scale import location_scale


@part
def laplace(scale: int | float = 1.0, learn: str = "fixed") -> Family:
    """Returns p(x|z) = Π Laplace(μ(z), b) over real x, a `Laplace`: log p(x|z) = Σ −|x − μ|/b − log 2b, in nats.

    Args:
      scale: b, or where a learned one starts.
      learn: "fixed"; "shared" for one learned b; "each" for a b(z) of each element, as in `normal`.

    Raises:
      ValueError: as `normal`.

    Source: Johnson, Kotz and Balakrishnan 1995, Continuous Univariate Distributions 2, chapter 24.
    """
    return location_scale(Laplace, scale, learn)
