"""The equations of a traced function, those of its loops and inner functions too."""

from collections.abc import Iterator
from typing import Any

import jax


def equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Yields every equation, and how often it is computed; that of a `while` loop, whose number is unknown, as once."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation, times
        again = times * equation.params.get("length", 1) if equation.primitive.name == "scan" else times
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
        ):
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                yield from equations(value, again)


def products(function: Any, *args: Any) -> list[tuple[Any, int]]:
    """Returns the matrix products among them, each with its number."""
    traced = jax.make_jaxpr(function)(*args)
    return [(equation, times) for equation, times in equations(traced) if equation.primitive.name == "dot_general"]
