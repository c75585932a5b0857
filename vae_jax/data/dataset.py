"""A data set in memory."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8


class Split(NamedTuple):
    """Images as bytes, [n, height, width, channels], and their labels (None where there are none)."""

    images: UInt8[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"] | None


class Dataset(NamedTuple):
    """The three splits of a named data set."""

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.train.images.shape[1:]
