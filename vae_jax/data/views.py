"""What stored values mean."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..distributions import Masked
from ..names import check_name
from .binarization import draw, numbers
from .contents import Contents
from .dataset import Dataset


class View(NamedTuple):
    """What one stored example means.

    Attributes:
      observe: (key, stored example) -> an example: x, or (x, c).
      picture: x -> [height, width, channels] in [0, 1] to be drawn; None where x is no picture.
      log_volume: log of the volume that one unit of what is stored has in x: −D log 255 for D bytes that become
        numbers in [0, 1]. log p(x) + log_volume is the log-density of what is stored, in its own units.
      is_random: whether `observe` draws, afresh with each key; else its key has no effect.
    """

    observe: Callable[[Key[Array, ""], Any], Any]
    picture: Callable[[Any], Float[Array, "height width channels"]] | None = None
    log_volume: float = 0.0
    is_random: bool = False


def view(dataset: Dataset, *, binarization: str = "none") -> View:
    """Returns the view of the examples of a data set.

    Pictures become numbers in [0, 1], or zeros and ones that are drawn with these as probabilities; all other numbers
    are what they are.

    Args:
      dataset: whose contents and types decide.
      binarization: "dynamic" draws pictures; "none" does not, nor need it for those that `binarize_split` has drawn.

    Raises:
      ValueError: for another binarization, or "dynamic" for anything but pictures.
    """
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(dataset.test.examples)]
    return view_of(dataset.contents, dtype=dtypes[0], binarization=binarization)


def view_of(contents: Contents, *, dtype: Any, binarization: str) -> View:
    """Returns the view of examples with these contents, whose first array is stored with a dtype."""
    check_name(binarization, "binarization", ("none", "dynamic"))
    if not contents.is_picture:
        if binarization != "none":
            raise ValueError(f"data.binarization={binarization!r} is for pictures; these data are no pictures")
        return View(lambda key, stored: stored)
    is_drawn = binarization == "dynamic"

    def of_x(key: Key[Array, ""], stored: Any) -> Any:
        if isinstance(stored, Masked):
            return Masked(of_x(key, stored.filled(0)), stored.observed)
        return draw(key, stored) if is_drawn else numbers(stored)

    def observe(key: Key[Array, ""], stored: Any) -> Any:
        return (of_x(key, stored[0]), stored[1]) if contents.is_conditional else of_x(key, stored)

    whole = np.issubdtype(dtype, np.integer) and not is_drawn
    unit = -math.log(np.iinfo(dtype).max) if whole else 0.0
    return View(observe, _picture, contents.num_elements * unit, is_drawn)


def _picture(x: Any) -> Float[Array, "height width channels"]:
    """Returns a picture with what is missing of it in grey, and what is outside [0, 1] at its edge."""
    values = x.filled(0.5) if isinstance(x, Masked) else jnp.asarray(x)
    values = jnp.clip(values, 0, 1)
    return values[..., None] if values.ndim == 2 else values
