"""Entries that are hidden, to see how well they are imputed."""

from typing import Any

import numpy as np

from ..distributions import Masked
from .contents import Variable
from .dataset import DataError, Dataset, Split


def with_holes(dataset: Dataset, fraction: float) -> Dataset:
    """Returns the data set with entries of x hidden completely at random: the same ones at every call.

    Where all entries of an example would be, its first one stays.

    Args:
      dataset: in memory.
      fraction: the probability of each entry to be hidden, below 1.

    Raises:
      ValueError: for another fraction, or streamed examples.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"data.missing must be from 0 to below 1, got {fraction}")
    if dataset.train.is_streamed:
        raise DataError("data.missing hides entries in memory, and these data are streamed; raise data.memory_gb")
    rng = np.random.RandomState(0)  # its streams are frozen; those of numpy's newer generators are not
    is_pair = bool(dataset.contents.condition)

    def hidden(split: Split) -> Split:
        x, *given = split.examples if is_pair else (split.examples,)
        columns = {"": x} if isinstance(dataset.contents.x, Variable) else x
        kept = {name: rng.random_sample(_value(of).shape) >= fraction for name, of in sorted(columns.items())}
        empty = ~np.any([of.reshape(len(of), -1).any(axis=1) for of in kept.values()], axis=0)
        first = next(iter(kept.values()))
        first.reshape(len(first), -1)[empty, 0] = True
        masked = {name: _hidden(columns[name], of) for name, of in kept.items()}
        holes = masked[""] if isinstance(dataset.contents.x, Variable) else masked
        return split._replace(examples=(holes, *given) if is_pair else holes)

    splits = [hidden(split) for split in (dataset.train, dataset.validation, dataset.test)]
    train, validation, test = splits
    contents = dataset.contents._replace(masked=True)
    return dataset._replace(train=train, validation=validation, test=test, contents=contents)


def _value(x: Any) -> np.ndarray:
    return np.asarray(x.value if isinstance(x, Masked) else x)


def _hidden(x: Any, kept: np.ndarray) -> Masked:
    observed = kept & x.observed if isinstance(x, Masked) else kept
    return Masked(np.where(observed, _value(x), np.zeros_like(_value(x))), observed)
