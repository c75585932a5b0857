"""Values of x as an output has them."""

from typing import Any

import numpy as np

from vae_jax import data
from vae_jax.data import Entries, Variable


def named(x: Any, contents: data.Contents, *, suffix: str = "") -> dict[str, np.ndarray]:
    """Returns the array x as "x", or the columns of a table with classes by their names; `suffix` ends each name."""
    values = {"x": x} if isinstance(contents.x, Variable) else x
    return {f"{name}{suffix}": _of_kind(np.asarray(values[name]), of) for name, of in _variables(contents).items()}


def intervals(draws: Any, contents: data.Contents, level: float) -> dict[str, np.ndarray]:
    """Returns the ends, `_low` and `_high`, of central intervals with this share of the draws; none of classes without
    an order.

    Args:
      draws: like x, with an axis of draws behind that of the examples.
      contents: what an example is.
      level: the share, between 0 and 1.
    """
    values, found = {"x": draws} if isinstance(contents.x, Variable) else draws, {}
    for name, of in _variables(contents).items():
        if of.kind not in ("binary", "category"):
            low, high = np.quantile(
                np.asarray(values[name]), [(1 - level) / 2, (1 + level) / 2], axis=1, method="inverted_cdf"
            )
            found |= {f"{name}_low": _of_kind(low, of), f"{name}_high": _of_kind(high, of)}
    return found


def filled(entries: Entries, values: Any, variable: Variable) -> np.ndarray:
    """Returns the entries of a column as they are, and where they are missing these values: counts as whole numbers,
    zeros and ones and classes as the most probable."""
    seen, array = entries.seen[entries.codes], np.asarray(values)
    if variable.levels:
        own = entries.as_texts(variable.levels).of_rows
        return np.where(seen, own, _of_kind(array, variable))
    own = entries.numbers[entries.codes]
    if variable.kind in ("count", "binary"):
        return np.where(seen, own, np.rint(array)).astype(np.int64)
    # The shortest decimal that float32 reads as its number, as the entries beside it are.
    return np.where(seen, own, array.astype(str).astype(np.float64))


def _variables(contents: data.Contents) -> dict[str, Variable]:
    return {"x": contents.x} if isinstance(contents.x, Variable) else dict(contents.x)


def _of_kind(array: np.ndarray, variable: Variable) -> np.ndarray:
    if variable.levels:
        return np.array(variable.levels, object)[np.rint(array).astype(int)]
    return array
