"""Independent elements."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from .masked import Masked
from .protocol import check_event


class Elementwise(abc.ABC):
    """An event whose elements are independent, and of which some may be missing (`Masked`).

    Attributes:
      inside: a number in the support, which stands in for what is missing.
    """

    reparameterized: ClassVar[bool] = False
    inside: ClassVar[float] = 1

    @property
    @abc.abstractmethod
    def event_shape(self) -> tuple[int, ...]: ...

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""]) -> Shaped[Array, "*event"]: ...

    @abc.abstractmethod
    def log_prob_per_element(self, value: Any) -> Float[Array, "*event"]:
        """The log-density of each element of one value, in nats, in float32 at least."""

    def log_prob(self, value: Shaped[Array, "*event"] | Masked) -> Float[Array, ""]:
        """The sum of `log_prob_per_element` over the observed elements, in nats."""
        check_event(value, self.event_shape, type(self).__name__)
        if isinstance(value, Masked):
            # Both the number and, through its argument, its gradient are kept from what is stored under the mask.
            per_element = self.log_prob_per_element(value.filled(self.inside))
            return jnp.sum(jnp.where(value.observed, per_element, 0))
        # Flattened, which undoes the reshape of those that compute on the flattened event.
        return jnp.sum(jnp.ravel(self.log_prob_per_element(value)))
