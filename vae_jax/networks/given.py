"""What a VAE is given beside x."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..parts import Sized
from .inputs import shape_of


class Conditions(NamedTuple):
    """What a VAE is given beside x: the shape of c, None for no c, and whether x's total."""

    shape: Any
    sized: bool

    def given(self) -> Callable[[Any], tuple[Any, Any]] | None:
        """Returns example -> (x, c) of the VAE; None where an example is x."""
        if self.sized:
            return lambda example: _sized(*(example if self.shape is not None else (example, None)))
        return None if self.shape is None else lambda example: (example[0], example[1])

    def covariates(self, c: Any) -> Any:
        """Returns what the networks see of c; raises `ValueError` for one of another shape."""
        seen = c.covariates if self.sized else c
        found = None if seen is None else shape_of(seen)
        if found != self.shape:
            raise ValueError(f"c must have the shape {self.shape}, not {found}: an example is a pair (x, c)")
        return seen


def _sized(x: Any, c: Any) -> tuple[Any, Sized]:
    if not isinstance(x, jax.Array | np.ndarray):
        raise ValueError("the total of counts needs an x that is one array with no missing entry")
    return x, Sized(c, jnp.sum(x))
