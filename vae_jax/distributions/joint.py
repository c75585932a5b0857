"""Independent variables by name."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ._pytree import pytree_dataclass


@pytree_dataclass
class Joint:
    """Independent variables, each with a distribution of its own: an event is a dict of theirs, a row of a table, say.

    log p(x) = Σ_j log p_j(x_j), in nats, where x_j may be `Masked`.

    Attributes:
      parts: the distributions, by name.
    """

    # Any `Distribution`s; typed so that what particular ones have beyond the protocol can be used.
    parts: Mapping[str, Any]

    @property
    def reparameterized(self) -> bool:
        return all(getattr(part, "reparameterized", False) for part in self.parts.values())

    @property
    def event_shape(self) -> dict[str, Any]:
        return {name: part.event_shape for name, part in self.parts.items()}

    @property
    def mean(self) -> dict[str, Any]:
        """The means, by name; an `AttributeError` where one of the variables has none, classes for one."""
        return {name: part.mean for name, part in self.parts.items()}

    def sample(self, key: Key[Array, ""]) -> dict[str, Any]:
        keys = jax.random.split(key, len(self.parts))
        return {name: self.parts[name].sample(key) for name, key in zip(sorted(self.parts), keys, strict=True)}

    def log_probs(self, value: Mapping[str, Any]) -> dict[str, Float[Array, ""]]:
        """Returns the log-density of each variable, in nats, by name.

        Raises:
          ValueError: where the names are not the variables'.
        """
        if set(value) != set(self.parts):
            raise ValueError(f"Joint.log_prob takes a dict of {sorted(self.parts)}, got one of {sorted(value)}")
        return {name: part.log_prob(value[name]) for name, part in self.parts.items()}

    def log_prob(self, value: Mapping[str, Any]) -> Float[Array, ""]:
        return sum(self.log_probs(value).values(), start=jnp.zeros(()))
