"""Elements of as many levels as a picture's bytes."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..checks import check_count
from ..distributions import DiscretizedLogistic
from ..parts import Family, Shape, part
from .bounded_exp import bounded_exp

_LOG_SCALES = (-7.0, 7.0)
_LOG_START = -1.3


@part
def discretized_logistic(levels: int = 256, num_mixtures: int = 1) -> Family:
    """Returns p(x|z) = Π Σ_j w_j [F((x + ½δ − μ_j)/s_j) − F((x − ½δ − μ_j)/s_j)], a `DiscretizedLogistic`.

    x are the L levels k/(L − 1) of [0, 1], and F is the sigmoid. For each element the network puts out K locations, K
    log scales, and with K > 1 the logits of the weights w. A log scale is log 2s, that of s in units of half the range
    of x, as in the source; it is held between −7 and 7. It begins around ½, with 2s = e^−1.3.
    The mixture is of each element, not of the three colours of a pixel in their order: bits per dimension are not
    comparable with those of PixelCNN++.

    Args:
      levels: L, at least 2; 256 for bytes.
      num_mixtures: K, at least 1.

    Raises:
      ValueError: for a number below that.

    Source: Salimans et al. 2017, arXiv:1701.05517, section 2.1.
    """
    levels, number = check_count(levels, "levels"), check_count(num_mixtures, "num_mixtures")
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")
    size = 2 if number == 1 else 3 * number

    def build(own: Any, numbers: Float[Array, "*event n"], shape: Shape, given: Any) -> DiscretizedLogistic:
        locations, log_scales, *logits = jnp.split(numbers, size // number, axis=-1)
        centres = jnp.broadcast_to((np.arange(number, dtype=np.float32) + 0.5) / number, locations.shape)
        scales = 0.5 * bounded_exp(_LOG_START + log_scales, *_LOG_SCALES)
        weights = logits[0] if logits else jnp.zeros_like(locations)
        return DiscretizedLogistic(centres.astype(locations.dtype) + locations, scales, weights, levels)

    def bias(mean: Any) -> Float[np.ndarray, "*event n"]:
        shift = np.broadcast_to(np.asarray(mean)[..., None] - 0.5, (*np.shape(mean), number))
        return np.concatenate([shift, np.zeros((*np.shape(mean), size - number))], axis=-1)

    return Family(lambda shape: (*shape, size), build, bias=bias)
