"""Side information: what is given to a model beside x."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..names import nearest
from .contents import Variable
from .dataset import DataError, Dataset, Split

LABEL, SIZE = "label", "size"
_SPLITS = ("train", "validation", "test")


def with_condition(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Returns a data set whose examples are pairs (x, c), c a dict of what is given beside x.

    Args:
      dataset: whose examples are x, or pairs already.
      names: covariates of the data set; "label", the class of each example; "size", for counts, their total, which is
        no part of the stored c.

    Raises:
      ValueError: for another name, labels that there are none of, a category that no training example has, numbers that
        are missing, or a total of other data than counts.
    """
    contents = dataset.contents
    if SIZE in names:
        if not isinstance(contents.x, Variable) or contents.x.kind != "count" or contents.masked:
            raise ValueError(
                "data.condition='size' is the total of each example's counts, and needs an array of counts, whole "
                f"numbers from 0 on, of which none is missing; {dataset.name} holds none"
            )
        dataset = dataset._replace(contents=contents._replace(sized=True))
    for name in names:
        if name != SIZE:
            dataset = _with(dataset, name)
    return dataset


def _with(dataset: Dataset, name: str) -> Dataset:
    splits = {split: getattr(dataset, split) for split in _SPLITS}
    if name == LABEL and name not in dataset.covariates:
        values = _labels(dataset)
        number = 1 + max(int(of.max()) for of in values.values())
        variable = Variable("category", (), tuple(map(str, range(number))))
    elif name in dataset.covariates:
        covariate = dataset.covariates[name]
        values, variable = {split: getattr(covariate, split) for split in _SPLITS}, covariate.variable
    else:
        legal = (*dataset.covariates, LABEL, SIZE)
        message = f"data.condition={name!r}: {dataset.name} has nothing of that name beside x.{nearest(name, legal)}"
        why = [note for note in dataset.notes if repr(name) in note]  # where the array was left out
        raise ValueError(". ".join([f"{message} There are: {', '.join(legal)}", *why]))
    for split, of in values.items():
        _check(f"{dataset.name}: row {{row}} of the {split} split", name, variable, of, values["train"])
    contents = dataset.contents._replace(condition={**dataset.contents.condition, name: variable})
    pairs = {split: _paired(of, name, values[split], bool(dataset.contents.condition)) for split, of in splits.items()}
    return dataset._replace(contents=contents, **pairs)


def _labels(dataset: Dataset) -> dict[str, np.ndarray]:
    found = {split: getattr(dataset, split).labels for split in _SPLITS}
    if any(of is None for of in found.values()):
        why = ", or they are streamed: raise data.memory_gb" if dataset.train.is_streamed else ""
        raise ValueError(f"data.condition='label': the examples of {dataset.name} have no labels{why}")
    return found


def _check(where: str, name: str, variable: Variable, values: np.ndarray, train: np.ndarray) -> None:
    if variable.kind == "category":
        seen = np.bincount(train, minlength=len(variable.levels)) > 0
        for row in np.flatnonzero(~seen[values])[:1].tolist():
            level = variable.levels[values[row]]
            floats = ", or save numbers that are no classes as floats" if name != LABEL and level.isdigit() else ""
            raise DataError(
                f"{where.format(row=row)} has the {name} {level!r}, which no training example has: nothing can be "
                f"learned of it. Leave such rows out{floats}"
            )
    for row in np.flatnonzero(~np.isfinite(values))[:1].tolist():
        raise DataError(f"{where.format(row=row)} has a {name} of {values[row]}: what is given must be known")


def _paired(split: Split, name: str, values: np.ndarray, is_pair: bool) -> Split:
    x, c = split.examples if is_pair else (split.examples, {})
    pair: Any = (x, {**c, name: values})
    return split._replace(examples=pair)
