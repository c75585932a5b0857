"""Residual convolutional networks."""

import dataclasses
import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...checks import check_count, check_sizes
from ...names import check_name
from ...parts import Numbers, Shape
from .activations import ACTIVATIONS
from .body import Body, Network, Outputs
from .conv import Downsample, Upsample, halved, makes_image, windows
from .linen import constant, glorot, linen, readout

_MOST_GROUPS = 8


def resnet(hidden: int | tuple[int, ...] = (32, 64), blocks: int = 1, activation: str = "silu") -> Body:
    """Returns a residual convolutional network between an image [height, width, channels] and an array.

    From an image each element of `hidden` is a 4×4 convolution with stride 2, to that many channels, and `blocks`
    residual blocks, h + W₂ * f(norm(W₁ * f(norm(h)))), of 3×3 convolutions and group norm; W₂ starts at 0, so that a
    block starts as the identity. The numbers are linear functions of the last features. To an image it is the mirror,
    of transposed convolutions. Sides may be odd.

    Args:
      hidden: channels of the resolutions, from the image on.
      blocks: residual blocks of each resolution, at least 1.
      activation: f, a key of `networks.ACTIVATIONS`.

    Raises:
      ValueError: for an unknown activation, with the nearest, no resolution, a number below 1; where the model is
        built, for shapes of which none is an image's.

    Source: He et al. 2016, arXiv:1603.05027 (pre-activation); Wu and He 2018, arXiv:1803.08494 (group norm).
    """
    check_name(activation, "activation", ACTIVATIONS)
    return _ResNet(check_sizes(hidden, "hidden", fewest=1), check_count(blocks, "blocks"), activation)


@dataclasses.dataclass(frozen=True)
class _ResNet:
    hidden: tuple[int, ...]
    blocks: int
    activation: str
    takes_channels: ClassVar[bool] = True

    def __call__(self, in_shape: Shape, outputs: Outputs) -> Network:
        module = _ToImage if makes_image("resnet", in_shape, outputs) else _FromImage
        return linen(module(self.hidden, self.blocks, self.activation, outputs), in_shape)

    def mirror(self) -> "_ResNet":
        return self


class _FromImage(nn.Module):
    hidden: tuple[int, ...]
    blocks: int
    activation: str
    outputs: Outputs

    @nn.compact
    def __call__(self, x: Float[Array, "height width channels"]) -> Numbers:
        h = x
        for channels in self.hidden:
            h = Downsample(channels)(h)
            for _ in range(self.blocks):
                h = _Block(self.activation)(h)
        return readout(self.outputs, ACTIVATIONS[self.activation](_norm(h)).reshape(-1))


class _ToImage(nn.Module):
    hidden: tuple[int, ...]
    blocks: int
    activation: str
    outputs: Outputs

    @nn.compact
    def __call__(self, z: Float[Array, "*latent"]) -> Numbers:
        shape = self.outputs.by_name()[""]
        sizes = halved(shape, len(self.hidden))
        smallest = (*sizes.pop(), self.hidden[-1])
        h = nn.Dense(math.prod(smallest), kernel_init=glorot)(z.reshape(-1)).reshape(smallest)
        outputs = math.prod(shape[2:])
        for channels in (*reversed(self.hidden[:-1]), outputs):
            for _ in range(self.blocks):
                h = _Block(self.activation)(h)
            height, width = sizes.pop()
            # Sides that are odd on the way down come back one pixel too long: cropped.
            h = Upsample(channels)(ACTIVATIONS[self.activation](_norm(h)))[:height, :width]
        bias = self.param("bias", constant(self.outputs.start(axes=(0, 1))), (outputs,))
        return (h + bias.reshape(1, 1, -1)).reshape(shape)


class _Block(nn.Module):
    activation: str

    @nn.compact
    def __call__(self, h: Float[Array, "height width channels"]) -> Float[Array, "height width channels"]:
        activation, channels = ACTIVATIONS[self.activation], h.shape[-1]
        inner = _Convolution(channels)(activation(_norm(h)))
        return h + _Convolution(channels, start_at_zero=True)(activation(_norm(inner)))


class _Convolution(nn.Module):
    """A convolution with a 3×3 kernel, of the same height and width."""

    channels: int
    start_at_zero: bool = False

    @nn.compact
    def __call__(self, h: Float[Array, "height width in"]) -> Float[Array, "height width channels"]:
        kernel_init = nn.initializers.zeros if self.start_at_zero else glorot
        padded = jnp.pad(h, ((1, 1), (1, 1), (0, 0)))
        return nn.Dense(self.channels, kernel_init=kernel_init)(windows(padded, size=3, stride=1))


def _norm(h: Float[Array, "height width channels"]) -> Float[Array, "height width channels"]:
    """Group norm of one image, in as many groups as divide the channels, up to eight; called in a compact method."""
    # All axes are named: by default Flax takes the first for that of a batch, and would normalise each row by itself.
    return nn.GroupNorm(num_groups=math.gcd(h.shape[-1], _MOST_GROUPS), reduction_axes=(0, 1, 2))(h)
