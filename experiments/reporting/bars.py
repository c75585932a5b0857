"""The numbers of an x that is no picture, for the explorer to show as bars."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vae_jax import data
from vae_jax.distributions import Masked
from vae_jax.evaluation.expectations import expected

from . import means

_MOST = 50


class Place(NamedTuple):
    """Where a number is in x: its column ("" of an array), and its element there; of a class the class's number."""

    column: str
    element: int


class Bar(NamedTuple):
    """A number of x: what it is called, its class ("" for none), and the range that is shown."""

    column: str
    level: str
    low: float
    high: float


class Numbers(NamedTuple):
    """Some numbers of x; called with p(x|z), it returns their means, and of classes their probabilities."""

    places: tuple[Place, ...]

    def __call__(self, p: Any, key: jax.Array) -> Float[Array, " numbers"]:
        parts, found = getattr(p, "parts", {"": p}), {}
        for name in dict.fromkeys(place.column for place in self.places):
            value = expected(parts[name]) if name else None
            found[name] = jnp.ravel(means.mean(parts[name], key) if value is None else value)
        return jnp.stack([found[column][element] for column, element in self.places])


def chosen(contents: data.Contents) -> tuple[Numbers, int]:
    """Returns at most 50 numbers of x, evenly spread, and how many there are.

    Raises:
      ValueError: where x is an array of classes, whose mean is no number.
    """
    sizes = {}
    for name, variable in contents.variables().items():
        is_class = variable.kind in ("category", "ordinal")
        if is_class and not name:
            raise ValueError("x is an array of classes")
        sizes[name] = len(variable.levels) if is_class else int(np.prod(variable.shape))
    names, ends = list(sizes), np.cumsum(list(sizes.values()))
    rows = data.spread_rows(int(ends[-1]), _MOST)
    columns = np.searchsorted(ends, rows, side="right")
    before = ends - list(sizes.values())
    places = [Place(names[c], int(row - before[c])) for row, c in zip(rows, columns, strict=True)]
    return Numbers(tuple(places)), int(ends[-1])


def bars_of(
    shown: Numbers, decoded: Float[np.ndarray, "points numbers"], xs: Any, contents: data.Contents, elements: Any
) -> tuple[Bar, ...]:
    """Returns the bars of the numbers: their names, and the range of what is decoded and of test examples.

    `elements` are the names of an array's, None where it has none.
    """
    variables, made = contents.variables(), []
    for number, (column, element) in enumerate(shown.places):
        variable = variables[column]
        if variable.kind in ("category", "ordinal"):
            made.append(Bar(column, variable.levels[element], 0.0, 1.0))
            continue
        name = column
        if not column:
            place = ", ".join(map(str, np.unravel_index(element, variable.shape)))
            name = f"x[{place}]" if elements is None else elements[element]
        low, high = _range(decoded[:, number], xs[column] if column else xs, element)
        made.append(Bar(name, "", low, high))
    return tuple(made)


def _range(decoded: np.ndarray, x: Any, element: int) -> tuple[float, float]:
    """Returns the range of what is decoded and of all but the outermost hundredths of the data."""
    value, observed = (x.value, x.observed) if isinstance(x, Masked) else (x, np.ones(np.shape(x), bool))
    at = lambda array: np.asarray(array).reshape(len(array), -1)[:, element]
    seen = at(value)[at(observed)].astype(np.float64)
    ends = np.quantile(seen, [0.01, 0.99]) if seen.size else decoded
    return float(min(ends.min(), decoded.min())), float(max(ends.max(), decoded.max()))
