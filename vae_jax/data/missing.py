"""Entries that are hidden, to see how well they are imputed."""

from typing import Any

import numpy as np

from ..distributions import Masked
from .contents import Variable
from .dataset import DataError, Dataset, Split


def with_holes(dataset: Dataset, fraction: float) -> Dataset:
    """Returns the data set with entries of x hidden completely at random: the same ones at every call.

    Where all that was observed of an example would be, the first of it stays.

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
        parts = {name: _parts(of) for name, of in sorted(columns.items())}
        kept = {name: seen & (rng.random_sample(seen.shape) >= fraction) for name, (_, seen) in parts.items()}
        empty = ~np.any([of.reshape(len(of), -1).any(axis=1) for of in kept.values()], axis=0)
        for name, of in kept.items():
            seen = parts[name][1].reshape(len(of), -1)
            stays = empty & seen.any(axis=1)
            of.reshape(len(of), -1)[stays, seen.argmax(axis=1)[stays]] = True
            empty &= ~stays
        masked = {name: Masked(np.where(of, parts[name][0], 0), of) for name, of in kept.items()}
        holes = masked[""] if isinstance(dataset.contents.x, Variable) else masked
        return split._replace(examples=(holes, *given) if is_pair else holes)

    splits = [hidden(split) for split in (dataset.train, dataset.validation, dataset.test)]
    train, validation, test = splits
    contents = dataset.contents._replace(masked=True)
    return dataset._replace(train=train, validation=validation, test=test, contents=contents)


def _parts(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values and where they were observed."""
    if isinstance(x, Masked):
        return np.asarray(x.value), np.asarray(x.observed)
    return np.asarray(x), np.ones(np.shape(x), bool)
