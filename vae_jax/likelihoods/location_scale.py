"""Families with a location that the network puts out, and a scale that is fixed or learned."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..distributions import Distribution
from ..names import check_name
from ..parts import Family, Shape

# A learned scale has no lower bound of its own, and the density of data that is reproduced exactly has no upper one.
SMALLEST_SCALE = 1e-3


def location_scale(
    make: Callable[[Array, Array], Distribution],
    scale: int | float,
    learn: str,
    *,
    bias: Callable[[Any], Any] = lambda mean: mean,
    unit: Callable[[Any, Any], tuple[Any, Any]] = lambda mean, scale: (mean, scale),
) -> Family:
    """Returns the family of `make(location, scale)`.

    Where the scale is learned it is 10⁻³ + exp(·). In the units of data the distribution is
    `make(m + s · location, s · scale)`, where m and s are the data's location and scale.

    Args:
      make: (location of the event's shape, scale of that shape or a scalar) -> the distribution.
      scale: the scale, or where a learned one starts.
      learn: "fixed"; "shared" for one learned scale; "each" for one of each element, which the network puts out.
      bias: mean of the data -> the location of a distribution with that mean.
      unit: mean and standard deviation of the data -> their location and scale.

    Raises:
      ValueError: for an unknown `learn`, or a scale that is not finite, positive and, where learned, above 10⁻³.
    """
    check_name(learn, "learn", ("fixed", "shared", "each"))
    smallest = 0.0 if learn == "fixed" else SMALLEST_SCALE
    if not isinstance(scale, int | float) or not smallest < scale < math.inf:
        raise ValueError(f"scale must be a finite number above {smallest}, got {scale}")

    def in_units(mean: Any, deviation: Any) -> Family:
        location, size = (np.asarray(number, np.float32) for number in unit(mean, deviation))
        scaled = lambda at, by: make(location.astype(at.dtype) + size.astype(at.dtype) * at, size.astype(at.dtype) * by)
        return _family(scaled, scale, learn, bias=lambda mean: (bias(mean) - location) / size)

    return dataclasses.replace(_family(make, scale, learn, bias), in_units=in_units)


def _family(
    make: Callable[[Array, Array], Distribution], scale: int | float, learn: str, bias: Callable[[Any], Any]
) -> Family:
    if learn == "fixed":
        return Family(
            outputs=lambda shape: shape,
            build=lambda own, location, shape, given: make(location, jnp.asarray(scale, location.dtype)),
            bias=bias,
        )
    start = math.log(scale - SMALLEST_SCALE)
    if learn == "shared":
        return Family(
            outputs=lambda shape: shape,
            build=lambda own, location, shape, given: make(location, SMALLEST_SCALE + jnp.exp(own["log_scale"])),
            init=lambda key, shape: {"log_scale": jnp.asarray(start, float)},
            bias=bias,
        )

    def each(own: Any, numbers: Float[Array, "*event 2"], shape: Shape, given: Any) -> Distribution:
        return make(numbers[..., 0], SMALLEST_SCALE + jnp.exp(start + numbers[..., 1]))

    def with_scale(mean: Any) -> Float[np.ndarray, "*event 2"]:
        return np.stack([bias(mean), np.zeros_like(mean)], axis=-1)

    return Family(outputs=lambda shape: (*shape, 2), build=each, bias=with_scale)
