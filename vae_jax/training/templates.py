"""Whether arrays that were stored are those that a model has."""

from collections.abc import Mapping
from typing import Any

import jax


def names_of(tree: Any) -> list[str]:
    """Returns the names of the leaves of a pytree in their order: "encoder.Dense_0.kernel"."""
    paths = (path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0])
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]


def type_and_shape(leaf: Any) -> str:
    """Returns type and shape of an array: "float32[784, 200]"."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def check_fits(where: str, part: str, stored: Mapping[str, str], template: Any) -> None:
    """Raises `ValueError` unless arrays that were stored are those of a template, naming the first that is not.

    Args:
      where: what stores them, for the message.
      part: of the state, "params" for one.
      stored: each array as `type_and_shape` has it, by name.
      template: a pytree of arrays or their shapes.
    """
    wanted = dict(zip(names_of(template), map(type_and_shape, jax.tree.leaves(template)), strict=True))
    for name in {**wanted, **stored}:
        there, here = stored.get(name, "absent"), wanted.get(name, "absent")
        if there != here:
            raise ValueError(f"{where} does not fit this model: {part}.{name} is {there} there and {here} here")
