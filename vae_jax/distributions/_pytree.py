"""Frozen dataclasses that JAX sees as containers of arrays."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp

_Class = TypeVar("_Class", bound=type)


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
def pytree_dataclass(cls: _Class) -> _Class:
    """Makes `cls` a frozen dataclass whose fields are the children of a pytree node, save those made by `static`.

    Unflattening bypasses `__init__`: JAX puts placeholders and batched tracers into the fields, which are no
    values to be checked.
    """
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(cls)
    names = tuple(field.name for field in fields if not field.metadata.get("static"))
    static_names = tuple(field.name for field in fields if field.metadata.get("static"))

    def static_values(node: Any) -> tuple[Any, ...]:
        return tuple(getattr(node, name) for name in static_names)

    def flatten_with_keys(node: Any) -> tuple[tuple[tuple[Any, Any], ...], tuple[Any, ...]]:
        return tuple((jax.tree_util.GetAttrKey(name), getattr(node, name)) for name in names), static_values(node)

    def flatten(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(node, name) for name in names), static_values(node)

    def unflatten(static_values: tuple[Any, ...], children: Any) -> Any:
        node = object.__new__(cls)
        for name, value in (*zip(names, children, strict=True), *zip(static_names, static_values, strict=True)):
            object.__setattr__(node, name, value)
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def static() -> Any:
    """A field that is no array: a number of levels, say. It is hashable, and part of what a compiled function is of."""
    return dataclasses.field(metadata={"static": True})


def floating(value: jax.typing.ArrayLike) -> jax.Array:
    """`value` as an array of its own floating type, or of the default one where it is an integer."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
