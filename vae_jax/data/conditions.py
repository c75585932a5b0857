"""Side information: what is given to a model beside x."""

from collections.abc import Sequence

import numpy as np

from ..names import nearest
from .contents import Variable
from .dataset import DataError, Dataset, Split

LABEL, SIZE = "label", "size"


def with_condition(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Returns a data set whose examples are pairs (x, c), c a dict of what is given beside x.

    Args:
      dataset: whose examples are x alone, one array.
      names: "label", the class of each example; "size", for counts, their total, which is no part of the stored c.

    Raises:
      ValueError: for another name, labels that there are none of, or a total of other data than counts.
    """
    for name in names:
        if name not in (LABEL, SIZE):
            raise ValueError(
                f"data.condition={name!r}: the examples of {dataset.name} have no column of that name; label and size "
                f"can be given{nearest(name, (LABEL, SIZE))}"
            )
    contents = dataset.contents
    if SIZE in names:
        if not isinstance(contents.x, Variable) or contents.x.kind != "count" or contents.masked:
            raise ValueError(
                "data.condition='size' is the total of each example's counts, and needs an array of counts, whole "
                f"numbers from 0 on, of which none is missing; {dataset.name} holds none"
            )
        dataset = dataset._replace(contents=contents._replace(sized=True))
    return _with_label(dataset) if LABEL in names else dataset


def _with_label(dataset: Dataset) -> Dataset:
    splits = (dataset.train, dataset.validation, dataset.test)
    labels = [split.labels for split in splits if split.labels is not None]
    if len(labels) < len(splits):
        why = ", or they are streamed: raise data.memory_gb" if dataset.train.is_streamed else ""
        raise ValueError(f"data.condition='label': the examples of {dataset.name} have no labels{why}")
    number = 1 + max(int(of.max()) for of in labels)
    seen = np.bincount(labels[0], minlength=number) > 0
    for name, of in zip(("validation", "test"), labels[1:], strict=True):
        for row, label in enumerate(of):
            if not seen[label]:
                raise DataError(
                    f"{dataset.name}: row {row} of the {name} split has the label {label}, which no training example "
                    "has: nothing can be learned of it. Leave such rows out, or data.condition"
                )
    condition = {LABEL: Variable("category", (), tuple(map(str, range(number))))}
    train, validation, test = (Split((split.examples, {LABEL: split.labels}), split.labels) for split in splits)
    return Dataset(dataset.name, train, validation, test, dataset.contents._replace(condition=condition))
