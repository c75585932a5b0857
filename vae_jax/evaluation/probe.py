"""How well simple classifiers read labels off the latents."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..checks import check_count, check_rows
from ..extras import needed_for


class Probe(NamedTuple):
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
) -> Probe:
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
    with needed_for("linear_probe"):
        from sklearn.linear_model import LogisticRegression  # takes 1.6 s to import

    return _probe(LogisticRegression(max_iter=1000), train_latents, train_labels, test_latents, test_labels)


def nearest_neighbour_probe(
    train_latents: ArrayLike,
    train_labels: ArrayLike | None,
    test_latents: ArrayLike,
    test_labels: ArrayLike | None,
    *,
    num_neighbours: int = 10,
) -> Probe:
    """Returns the test accuracy of the majority among the k nearest training latents, in Euclidean distance.

    Args:
      train_latents: [n, d].
      train_labels: as for `linear_probe`.
      test_latents: [m, d].
      test_labels: likewise.
      num_neighbours: k; all of the training examples where there are fewer.

    Raises:
      ValueError: as `linear_probe`, and for a k below 1.
    """
    with needed_for("nearest_neighbour_probe"):
        from sklearn.neighbors import KNeighborsClassifier

    count = min(check_count(num_neighbours, "num_neighbours"), check_rows(train_latents, "train_latents"))
    classifier = KNeighborsClassifier(n_neighbors=count)
    return _probe(classifier, train_latents, train_labels, test_latents, test_labels)


def _probe(classifier: Any, train_latents: Any, train_labels: Any, test_latents: Any, test_labels: Any) -> Probe:
    train, train_y = _checked(train_latents, train_labels, "train")
    test, test_y = _checked(test_latents, test_labels, "test")
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"train_latents have {train.shape[1]} dimensions, test_latents {test.shape[1]}")
    classes = np.unique(train_y)
    if len(classes) < 2:
        raise ValueError(f"train_labels must have at least two classes, got only {classes[0]}")
    right = classifier.fit(train, train_y).predict(test) == test_y
    accuracy = float(np.mean(right))
    return Probe(accuracy, math.sqrt(accuracy * (1 - accuracy) / len(right)), len(right))


def _checked(latents: ArrayLike, labels: ArrayLike | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    num = check_rows(latents, f"{name}_latents")
    if np.ndim(latents) != 2:
        raise ValueError(f"{name}_latents must be a matrix [n, d], got shape {np.shape(latents)}")
    if labels is None:
        raise ValueError(f"{name}_labels are missing: a probe needs a label for each example")
    labels = np.asarray(labels)
    if labels.shape != (num,):
        raise ValueError(f"{name}_labels must be {num}, one for each example; got shape {labels.shape}")
    if labels.dtype.kind not in "iubUS":
        raise ValueError(f"{name}_labels must be whole numbers or strings, got {labels.dtype}")
    return np.asarray(latents, np.float64), labels
