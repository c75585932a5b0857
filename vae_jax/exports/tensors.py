"""Arrays by name as safetensors, those of bfloat16 among them, which its own reader for NumPy does not know."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors import numpy as of_numpy

_TYPES = {
    "BOOL": np.bool_,
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "BF16": jnp.bfloat16,
    "C64": np.dtype("<c8"),
}


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns a file of the arrays.

    Raises:
      ValueError: for an array of a type that the format does not have.
    """
    try:
        return of_numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    except safetensors.SafetensorError as error:
        raise ValueError(f"safetensors cannot hold the arrays: {error}") from error


def from_bytes(stored: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a file.

    Raises:
      ValueError: for what is no such file, or has an array of another type.
    """
    try:
        views = dict(safetensors.deserialize(stored))
        return {
            name: np.frombuffer(view["data"], _TYPES[view["dtype"]]).reshape(view["shape"]).copy()
            for name, view in views.items()
        }
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    except KeyError as error:
        raise ValueError(f"an array has the type {error.args[0]}, not one of {', '.join(_TYPES)}") from error
