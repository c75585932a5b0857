"""Elements of several classes in an order."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..checks import check_count
from ..distributions import Ordinal
from ..parts import Family, Shape, part

# A share of the first step. Closer thresholds are equal in float32, and the class between them has log p = −∞.
_SMALLEST_STEP = 1e-3


@part
def ordinal(num_classes: int) -> Family:
    """Returns p(x|z) with P(x ≤ k) = F(c_k − η(z)), an `Ordinal`; x are ordered classes 0 … C − 1 of an integer type.

    F is the sigmoid. The thresholds c are learned, and shared by all elements; they begin where all classes are equally
    probable at η = 0, and stay in order, at least a thousandth of their first steps apart.

    Args:
      num_classes: C, at least 2.

    Raises:
      ValueError: for a C below 2; from the distribution, for an x of a type that has fractions.

    Source: McCullagh 1980, Journal of the Royal Statistical Society B 42(2); in VAEs, Nazábal et al. 2020,
    arXiv:1807.03653, section 2.2.
    """
    count = check_count(num_classes, "num_classes")
    if count < 2:
        raise ValueError(f"num_classes must be at least 2, got {count}")
    shares = np.arange(1, count) / count
    start = np.log(shares) - np.log1p(-shares)
    steps = np.diff(start)

    def init(key: Key[Array, ""], shape: Shape) -> dict[str, Array]:
        free = (1 - _SMALLEST_STEP) * steps
        return {"lowest": jnp.asarray(start[0], float), "steps": jnp.asarray(free + np.log(-np.expm1(-free)), float)}

    def build(own: dict[str, Array], numbers: Float[Array, "*event"], shape: Shape, given: Any) -> Ordinal:
        learned = jax.nn.softplus(own["steps"])
        upwards = jnp.cumsum(learned + jnp.asarray(_SMALLEST_STEP * steps, learned.dtype))
        return Ordinal(numbers, own["lowest"] + jnp.pad(upwards, (1, 0)))

    return Family(lambda shape: shape, build, init)
