"""Multilayer perceptrons."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...checks import check_sizes
from ...names import check_name
from ...parts import Numbers, Shape
from .activations import ACTIVATIONS
from .body import Body, Network, Outputs
from .linen import glorot, linen, readout


def mlp(hidden: int | tuple[int, ...] = (200, 200), activation: str = "tanh") -> Body:
    """Returns a multilayer perceptron on the flattened input; Glorot-uniform weights.

    Args:
      hidden: widths of the hidden layers; its mirror has them in reverse.
      activation: a key of `networks.ACTIVATIONS`.

    Raises:
      ValueError: for an unknown activation, with the nearest, or a width below 1.

    Source of the arrangement: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5.
    """
    check_name(activation, "activation", ACTIVATIONS)
    return _MLP(check_sizes(hidden, "hidden"), activation)


@dataclasses.dataclass(frozen=True)
class _MLP:
    hidden: tuple[int, ...]
    activation: str

    def __call__(self, in_shape: Shape, outputs: Outputs) -> Network:
        return linen(_Perceptron(self.hidden, self.activation, outputs), in_shape)

    def mirror(self) -> "_MLP":
        return _MLP(self.hidden[::-1], self.activation)


class _Perceptron(nn.Module):
    hidden: tuple[int, ...]
    activation: str
    outputs: Outputs

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"]) -> Numbers:
        h = jnp.reshape(x, -1)
        for size in self.hidden:
            h = ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=glorot)(h))
        return readout(self.outputs, h)
