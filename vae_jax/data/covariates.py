"""Labels, and what else is known of every example beside x."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped

from .conditions import LABEL
from .contents import Variable

Known = tuple[Variable, Shaped[np.ndarray, "..."]]


def covariate(values: Shaped[np.ndarray, "..."]) -> Known:
    """Returns text, booleans and whole numbers from 0 on as the codes of categories, other numbers as float32."""
    if values.dtype.kind == "f" or (values.dtype.kind == "i" and values.min() < 0):
        with np.errstate(over="ignore"):  # infinite numbers are refused where they are asked for
            return Variable("real"), values.astype(np.float32)
    text = np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values
    levels, codes = np.unique(text, return_inverse=True)
    return Variable("category", (), tuple(map(str, levels.tolist()))), codes.astype(np.int32)


def category(codes: Int[np.ndarray, " n"], levels: Sequence[str]) -> Known:
    """Returns a category of those of its levels that occur, in their order."""
    used, of_used = np.unique(codes, return_inverse=True)
    return Variable("category", (), tuple(levels[int(code)] for code in used)), of_used.astype(np.int32)


def classes(labels: Shaped[np.ndarray, "*shape"]) -> tuple[Int[np.ndarray, "*shape"], dict[str, Known]]:
    """Returns labels as int32, those of text numbered in alphabetical order, and these as the covariate "label".

    Raises:
      ValueError: for others than text and whole numbers from 0 to 2³¹ − 1.
    """
    if labels.dtype.kind in "US":
        variable, codes = covariate(labels)
        return codes, {LABEL: (variable, codes)}
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"its labels must be whole numbers or text, got {labels.dtype}")
    illegal = ~((labels >= 0) & (labels < 2**31) & (labels == np.floor(labels)))  # true for NaN
    if illegal.any():
        (row, *_) = np.argwhere(illegal)[0].tolist()
        raise ValueError(f"its labels must be whole numbers from 0 to 2**31 - 1; label {row} is {labels[illegal][0]}")
    return labels.astype(np.int32), {}
