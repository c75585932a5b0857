"""Independent variables by name."""

from collections.abc import Iterator, Mapping
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
        return {name: log_prob for names, of in self._by_group(value) for name, log_prob in zip(names, of, strict=True)}

    def log_prob(self, value: Mapping[str, Any]) -> Float[Array, ""]:
        return sum((jnp.sum(of) for _, of in self._by_group(value)), start=jnp.zeros(()))

    def _by_group(self, value: Mapping[str, Any]) -> Iterator[tuple[list[str], Float[Array, " n"]]]:
        """The log-densities of variables that are alike, computed together: fifty columns take a third of the time to
        compile."""
        if set(value) != set(self.parts):
            raise ValueError(f"Joint.log_prob takes a dict of {sorted(self.parts)}, got one of {sorted(value)}")
        groups: dict[Any, list[str]] = {}
        for name, part in self.parts.items():
            groups.setdefault(_kind(part, value[name]) or name, []).append(name)
        for names in groups.values():
            pairs = [(self.parts[name], value[name]) for name in names]
            if len(names) == 1:
                (part, x), *_ = pairs
                yield names, part.log_prob(x)[None]
            else:
                stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)
                yield names, jax.vmap(lambda pair: pair[0].log_prob(pair[1]))(stacked)


def _kind(part: Any, x: Any) -> Any:
    """What two variables must have in common to be computed together; None for a distribution that is no pytree."""
    if jax.tree_util.all_leaves([part]):
        return None
    leaves, structure = jax.tree.flatten((part, x))
    return structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
