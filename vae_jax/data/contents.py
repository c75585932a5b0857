"""What the examples of a data set are: the kinds and shapes of their arrays."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ..distributions import Masked

KINDS = ("picture", "real", "positive", "count", "binary", "category", "ordinal")


class Variable(NamedTuple):
    """One array of an example.

    Attributes:
      kind: one of `KINDS`.
      shape: of one example.
      levels: what the classes 0, 1, … of a category or an ordinal are called.
    """

    kind: str
    shape: tuple[int, ...] = ()
    levels: tuple[str, ...] = ()


class Contents(NamedTuple):
    """What one example is.

    Attributes:
      x: the array that is modelled, or the columns of a table by name.
      condition: what is given beside x, by name.
      masked: whether entries of x may be missing.
      sized: whether x are counts whose total is given.
    """

    x: Variable | Mapping[str, Variable]
    condition: Mapping[str, Variable] = {}
    masked: bool = False
    sized: bool = False

    @property
    def is_table(self) -> bool:
        return not isinstance(self.x, Variable)

    @property
    def is_picture(self) -> bool:
        return isinstance(self.x, Variable) and self.x.kind == "picture"

    @property
    def is_conditional(self) -> bool:
        return bool(self.condition)

    @property
    def event_shape(self) -> Any:
        """The shape of x, a dict of shapes for a table."""
        return self.x.shape if isinstance(self.x, Variable) else {name: of.shape for name, of in self.x.items()}

    @property
    def num_elements(self) -> int:
        """How many numbers x has."""
        return sum(math.prod(of.shape) for of in self.variables().values())

    def variables(self) -> dict[str, Variable]:
        """Returns the variables of x by name; one array's by ""."""
        return {"": self.x} if isinstance(self.x, Variable) else dict(self.x)

    def structure(self) -> Any:
        """Returns the structure of one stored example, a pytree."""
        one = Masked(np.zeros(()), np.ones((), bool)) if self.masked else 0
        x = one if isinstance(self.x, Variable) else dict.fromkeys(self.x, one)
        return jax.tree.structure((x, dict.fromkeys(self.condition, 0)) if self.condition else x)

    def to_json(self) -> dict[str, Any]:
        """Returns what JSON can hold of it."""
        of_one = lambda of: of._asdict()
        x = of_one(self.x) if isinstance(self.x, Variable) else {"columns": {n: of_one(v) for n, v in self.x.items()}}
        return {**self._asdict(), "x": x, "condition": {name: of_one(of) for name, of in self.condition.items()}}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Contents":
        """Returns what `to_json` was made of; raises `ValueError` for anything else."""
        try:
            columns = stored["x"].get("columns")
            x = _variable(stored["x"]) if columns is None else {n: _variable(of) for n, of in columns.items()}
            condition = {name: _variable(of) for name, of in stored["condition"].items()}
            return cls(x, condition, bool(stored["masked"]), bool(stored["sized"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"its contents are no description of examples ({error!r})") from error


def pictures(shape: tuple[int, ...]) -> Contents:
    """Returns what pictures of a shape [height, width, channels] are."""
    return Contents(Variable("picture", tuple(shape)))


def _variable(stored: Mapping[str, Any]) -> Variable:
    if stored["kind"] not in KINDS:
        raise ValueError(f"its contents have the kind {stored['kind']!r}, not one of {', '.join(KINDS)}")
    return Variable(stored["kind"], tuple(stored["shape"]), tuple(stored["levels"]))
