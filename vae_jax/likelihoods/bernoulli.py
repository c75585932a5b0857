"""Binary elements."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ..distributions import Bernoulli
from ..parts import Family, Shape, part


@part
def bernoulli() -> Family:
    """Returns p(x|z) = Π Bernoulli(σ(l(z))), l the log-odds that the network puts out; x is 0 or 1.

    Source: Kingma and Welling 2014, arXiv:1312.6114, appendix C.1.
    """
    return Family(outputs=lambda shape: shape, build=_build, bias=_log_odds)


def _build(own: Any, numbers: Array, shape: Shape, given: Any) -> Bernoulli:
    return Bernoulli(numbers)


def _log_odds(mean: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    inside = np.clip(mean, 1e-3, 1 - 1e-3)  # a pixel that is always black has log-odds −∞
    return np.asarray(np.log(inside) - np.log1p(-inside))
