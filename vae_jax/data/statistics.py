"""Means and scales of training data, by which they are standardised."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float

from ..distributions import Masked
from .contents import Variable
from .dataset import DataError, Dataset, Streamed
from .order import spread_rows

_MOST_BYTES = 2**28
# What a network sees of a variable of these kinds is standardised: x, log x or log(1 + x).
TRANSFORMS = {"real": "x", "positive": "log", "count": "log1p"}
_LOGARITHMS = {"log": np.log, "log1p": np.log1p}


class Moments(NamedTuple):
    """Of one variable, of its shape, over what was observed.

    Attributes:
      mean: of x; of a picture as numbers in [0, 1].
      scale: the standard deviation of x. None for what is not standardised.
      input_mean: of t(x), what a network sees: x, log x of positive numbers, log(1 + x) of counts.
      input_scale: the standard deviation of t(x).
    """

    mean: Float[np.ndarray, "*event"]
    scale: Float[np.ndarray, "*event"] | None = None
    input_mean: Float[np.ndarray, "*event"] | None = None
    input_scale: Float[np.ndarray, "*event"] | None = None


class Statistics(NamedTuple):
    """The moments of the variables of x, and of what is given beside it, by name; those of one array x by ""."""

    x: Mapping[str, Moments]
    condition: Mapping[str, Moments] = {}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns arrays by name, as a checkpoint keeps them."""
        found = {}
        for role, variables in self._asdict().items():
            for name, moments in variables.items():
                for field, array in moments._asdict().items():
                    if array is not None:
                        found[_KEY.format(role=role, name=name, field=field)] = array
        return {_OLD_KEY if name == _MEAN_KEY else name: array for name, array in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Statistics":
        """Returns what `to_arrays` was made of; other arrays are left out."""
        roles: dict[str, dict[str, dict[str, Any]]] = {role: {} for role in cls._fields}
        for key, array in arrays.items():
            role, _, rest = (_MEAN_KEY if key == _OLD_KEY else key).partition(":")
            name, _, field = rest.rpartition(":")
            if role in roles and field in Moments._fields:
                roles[role].setdefault(name, {})[field] = array
        return cls(**{role: {name: Moments(**of) for name, of in found.items()} for role, found in roles.items()})


_KEY, _MEAN_KEY, _OLD_KEY = "{role}:{name}:{field}", "x::mean", "data_mean"


def statistics(dataset: Dataset) -> Statistics:
    """Returns the moments of the training examples; those of some of them where they are streamed.

    Raises:
      ValueError: for an element of numbers that no training example has, or a column of one array that is constant.
    """
    contents = dataset.contents
    x, given = dataset.train.examples if contents.is_conditional else (dataset.train.examples, {})
    columns = x if contents.is_table else {"": x}
    of_x = {name: _moments(columns[name], of.kind) for name, of in contents.variables().items()}
    for name, moments in of_x.items():
        _check(dataset.name, name, contents.variables()[name], moments)
    return Statistics(of_x, {name: _moments(given[name], of.kind) for name, of in contents.condition.items()})


def _check(dataset: str, name: str, variable: Variable, moments: Moments) -> None:
    for place in np.argwhere(np.isnan(moments.mean))[:1].tolist():
        raise DataError(
            f"{dataset}: {_where(name, place)} has no entry in the training split: nothing can be learned of it; "
            "leave it out"
        )
    if variable.kind in ("real", "positive") and len(variable.shape) < 2 and moments.scale is not None:
        for place in np.argwhere(moments.scale == 0)[:1].tolist():
            raise DataError(
                f"{dataset}: {_where(name, place)} is constant in the training split, {moments.mean[tuple(place)]:g}: "
                "its density has no maximum; leave it out"
            )


def _where(name: str, place: list[int]) -> str:
    if name or len(place) == 1:
        return f"column {name or place[0]!r}"
    return f"the element {place}" if place else "the array"


def _moments(values: Any, kind: str) -> Moments:
    value, observed = values, None
    if isinstance(values, Masked):
        value, observed = values.value, cast(Any, values.observed)
    if isinstance(value, Streamed):
        rows = spread_rows(len(value), max(1, _MOST_BYTES // max(1, value.nbytes // len(value))))
        value, observed = value[rows], None if observed is None else observed[rows]
    value = np.asarray(value)
    if kind == "picture":
        greatest = np.iinfo(value.dtype).max if np.issubdtype(value.dtype, np.integer) else 1
        return Moments(_mean(value, observed) / greatest)
    if kind not in TRANSFORMS:
        return Moments(_mean(value, observed))
    mean = _mean(value, observed)
    scale = _scale(value, observed, mean)
    if TRANSFORMS[kind] == "x":
        return Moments(mean, scale, mean, scale)
    with np.errstate(divide="ignore", invalid="ignore"):  # of what is missing
        inputs = _LOGARITHMS[TRANSFORMS[kind]](value, dtype=np.float32)
    input_mean = _mean(inputs, observed)
    return Moments(mean, scale, input_mean, _scale(inputs, observed, input_mean))


def _mean(value: np.ndarray, observed: Any) -> np.ndarray:
    if observed is None:
        return np.asarray(value.mean(0, dtype=np.float64))
    with np.errstate(invalid="ignore"):  # of an element that is never observed
        return np.asarray(value.sum(0, dtype=np.float64, where=observed) / np.sum(observed, 0))


def _scale(value: np.ndarray, observed: Any, mean: np.ndarray) -> np.ndarray:
    total, number = np.zeros(value.shape[1:]), np.zeros(value.shape[1:])
    step = max(1, 2**18 // max(1, value[0].size))  # what a processor's cache holds
    for start in range(0, len(value), step):
        used = True if observed is None else observed[start : start + step]
        apart = value[start : start + step] - mean
        total += np.square(apart).sum(0, where=used)
        number += np.broadcast_to(used, apart.shape).sum(0)
    return np.asarray(np.sqrt(total / np.maximum(number, 1)))
