"""Multilayer perceptrons."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...checks import check_sizes
from ...names import check_name
from ...parts import Numbers, Shape
from .activations import ACTIVATIONS
from .body import Body, Network, Outputs
from .linen import glorot, linen, readout


def mlp(hidden: int | tuple[int, ...] = (200, 200), activation: str = "tanh", gated: bool = False) -> Body:
    """Returns a multilayer perceptron on the flattened input; Glorot-uniform weights.

    A layer is f(Wh + b), and where it is gated f(Wh + b) ⊙ sigmoid(Vh + c).

    Args:
      hidden: widths of the hidden layers; its mirror has them in reverse.
      activation: f, a key of `networks.ACTIVATIONS`.
      gated: whether each layer has a gate, which doubles its weights.

    Raises:
      ValueError: for an unknown activation, with the nearest, or a width below 1.

    Source of the arrangement: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5; gated:
    van den Oord et al. 2016, arXiv:1606.05328, equation 2; in VAEs, Tomczak and Welling 2018, arXiv:1705.07120.
    """
    check_name(activation, "activation", ACTIVATIONS)
    return _MLP(check_sizes(hidden, "hidden"), activation, gated)


@dataclasses.dataclass(frozen=True)
class _MLP:
    hidden: tuple[int, ...]
    activation: str
    gated: bool

    def __call__(self, in_shape: Shape, outputs: Outputs) -> Network:
        return linen(_Perceptron(self.hidden, self.activation, self.gated, outputs), in_shape)

    def mirror(self) -> "_MLP":
        return _MLP(self.hidden[::-1], self.activation, self.gated)


class _Perceptron(nn.Module):
    hidden: tuple[int, ...]
    activation: str
    gated: bool
    outputs: Outputs

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"]) -> Numbers:
        h = jnp.reshape(x, -1)
        for layer, size in enumerate(self.hidden):
            values = ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=glorot)(h))
            if self.gated:
                values *= jax.nn.sigmoid(nn.Dense(size, kernel_init=glorot, name=f"Gate_{layer}")(h))
            h = values
        return readout(self.outputs, h)
