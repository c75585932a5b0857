"""What every figure of a set of examples asks of its arrays."""

from typing import Any

import numpy as np
from jaxtyping import Array, Key

from ..checks import check_rows


def check_examples(keys: Key[Array, " n"], xs: Any, what: str, minimum: int = 1) -> int:
    """n; raises `ValueError` unless `xs` passes `check_rows` and has as many examples as there are keys."""
    number = check_rows(xs, "xs", minimum)
    if np.shape(keys)[:1] != (number,):
        raise ValueError(
            f"{what} needs one key for each example: got keys of shape {np.shape(keys)} for {number} examples"
        )
    return number
