"""Columns of a table, each of its own kind."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import distributions
from ..parts import Family, Shape, part


@part
def joint(families: Mapping[str, Any] | None = None) -> Family:
    """Returns p(x|z) = Π_j p_j(x_j|z) over a dict of columns x_j, a `Joint`, each column with a family of its own.

    A column may be `Masked`. The network puts out the numbers of all columns as one vector, in the order of the names.

    Args:
      families: the family of each column, by name; None, as "joint" in a config, where the schema of the data names
        them.

    Raises, where the model is built:
      ValueError: without families, for other columns than the event's, or a family with several arrays of numbers.

    Source: Nazábal et al. 2020, arXiv:1807.03653, equation 2.
    """
    by_name = dict(sorted((families or {}).items()))

    def shapes_of(event_shape: Any) -> dict[str, Shape]:
        if families is None:
            raise ValueError("joint has a family for each column of a table: give it {column: family}")
        if not isinstance(event_shape, Mapping) or set(event_shape) != set(by_name):
            raise ValueError(f"joint is over a dict of {list(by_name)}, and the event shape is {event_shape}")
        shapes = {}
        for name, family in by_name.items():
            asked = family.outputs(event_shape[name])
            if isinstance(asked, Mapping):
                raise ValueError(f"joint: the family of {name} asks for several arrays of numbers, {sorted(asked)}")
            shapes[name] = asked
        return shapes

    def outputs(event_shape: Any) -> Shape:
        return (sum(math.prod(shape) for shape in shapes_of(event_shape).values()),)

    def init(key: Key[Array, ""], event_shape: Any) -> dict[str, Any]:
        keys = jax.random.split(key, len(by_name))
        own = {name: by_name[name].init(key, event_shape[name]) for name, key in zip(by_name, keys, strict=True)}
        return {name: value for name, value in own.items() if jax.tree.leaves(value)}

    def build(own: Any, numbers: Float[Array, " n"], event_shape: Any, given: Any) -> distributions.Joint:
        shapes = shapes_of(event_shape)
        ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
        pieces = dict(zip(shapes, jnp.split(numbers, ends[:-1]), strict=True))
        parts = {
            name: family.build(own.get(name, {}), pieces[name].reshape(shapes[name]), event_shape[name], given)
            for name, family in by_name.items()
        }
        return distributions.Joint(parts)

    def bias(mean: Mapping[str, Any]) -> Float[np.ndarray, " n"]:
        shapes = shapes_of({name: np.shape(value) for name, value in mean.items()})
        start = {
            name: family.bias(mean[name]) if family.bias else np.zeros(shapes[name]) for name, family in by_name.items()
        }
        return np.concatenate([np.ravel(start[name]) for name in by_name])

    def in_units(mean: Mapping[str, Any], scale: Mapping[str, Any]) -> Family:
        return joint(
            {
                name: family if family.in_units is None else family.in_units(mean[name], scale[name])
                for name, family in by_name.items()
            }
        )

    return Family(outputs, build, init, bias, in_units=in_units)
