"""How well a linear classifier reads labels off the latents."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..checks import check_rows


class LinearProbe(NamedTuple):
    """Of a classifier on m test examples.

    Attributes:
      accuracy: the share a of test examples that are labelled rightly.
      standard_error: √(a(1 − a)/m), binomial; 0 where all or none are right.
      num_examples: m.
    """

    accuracy: float
    standard_error: float
    num_examples: int


def linear_probe(
    train_latents: ArrayLike, train_labels: ArrayLike | None, test_latents: ArrayLike, test_labels: ArrayLike | None
) -> LinearProbe:
    """The test accuracy of a multinomial logistic regression on latents, posterior means say.

    It is fitted with scikit-learn's default penalty ½‖w‖², on the latents as they are: to scale them to one variance
    would blow up the noise of collapsed dimensions.

    Args:
      train_latents: [n, d].
      train_labels: n whole numbers or strings, of at least two classes.
      test_latents: [m, d].
      test_labels: m labels; one that training did not show counts as an error.

    Raises:
      ValueError: for missing labels, another number of them than of latents, training labels of one class, latents that
        are not finite (naming the rows), that are no matrices or of different width, or no examples.
    """
    train, train_y = _checked(train_latents, train_labels, "train")
    test, test_y = _checked(test_latents, test_labels, "test")
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"train_latents have {train.shape[1]} dimensions, test_latents {test.shape[1]}")
    classes = np.unique(train_y)
    if len(classes) < 2:
        raise ValueError(f"train_labels must have at least two classes, got only {classes[0]}")
    from sklearn.linear_model import LogisticRegression  # takes 1.6 s to import

    right = LogisticRegression(max_iter=1000).fit(train, train_y).predict(test) == test_y
    accuracy = float(np.mean(right))
    return LinearProbe(accuracy, math.sqrt(accuracy * (1 - accuracy) / len(right)), len(right))


def _checked(latents: ArrayLike, labels: ArrayLike | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    num = check_rows(latents, f"{name}_latents")
    if np.ndim(latents) != 2:
        raise ValueError(f"{name}_latents must be a matrix [n, d], got shape {np.shape(latents)}")
    if labels is None:
        raise ValueError(f"{name}_labels are missing: a linear probe needs a label for each example")
    labels = np.asarray(labels)
    if labels.shape != (num,):
        raise ValueError(f"{name}_labels must be {num}, one for each example; got shape {labels.shape}")
    if labels.dtype.kind not in "iubUS":
        raise ValueError(f"{name}_labels must be whole numbers or strings, got {labels.dtype}")
    return np.asarray(latents, np.float64), labels
