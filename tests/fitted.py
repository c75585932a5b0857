"""What a model of pictures takes from data of which only the mean is known."""

from typing import Any

import numpy as np

from vae_jax import data
from vae_jax.fitted import Fitted


def of_pictures(shape: tuple[int, ...], mean: Any) -> Fitted:
    return Fitted(data.pictures(shape), data.Statistics({"": data.Moments(np.asarray(mean))}))


def bytes_view(shape: tuple[int, ...], binarization: str = "none") -> data.View:
    return data.view_of(data.pictures(shape), dtype=np.uint8, binarization=binarization)
