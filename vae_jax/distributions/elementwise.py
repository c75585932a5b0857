"""Independent elements."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from .protocol import check_event


class Elementwise(abc.ABC):
    """An event whose elements are independent."""

    reparameterized: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def event_shape(self) -> tuple[int, ...]: ...

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""]) -> Shaped[Array, "*event"]: ...

    @abc.abstractmethod
    def log_prob_per_element(self, value: Any) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats, in float32 at least."""

    def log_prob(self, value: Shaped[Array, "*event"]) -> Float[Array, ""]:
        """The sum of `log_prob_per_element`, in nats."""
        check_event(value, self.event_shape, type(self).__name__)
        return jnp.sum(self.log_prob_per_element(value))
