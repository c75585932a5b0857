"""Elements of several classes."""

from typing import Any

from jaxtyping import Array, Float

from ..checks import check_count
from ..distributions import Categorical
from ..parts import Family, Shape, part


@part
def categorical(num_classes: int) -> Family:
    """Returns p(x|z) = Π softmax(logits(z))_x, a `Categorical`; x are classes 0 … C − 1 of an integer type.

    Args:
      num_classes: C, at least 2.

    Raises:
      ValueError: for a C below 2; from the distribution, for an x of a type that has fractions.

    Source: Nazábal et al. 2020, arXiv:1807.03653, section 2.2.
    """
    count = check_count(num_classes, "num_classes")
    if count < 2:
        raise ValueError(f"num_classes must be at least 2, got {count}")

    def build(own: Any, numbers: Float[Array, "*event C"], shape: Shape, given: Any) -> Categorical:
        return Categorical(numbers)

    return Family(lambda shape: (*shape, count), build)
