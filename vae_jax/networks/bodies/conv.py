"""Convolutional networks to and from images."""

import dataclasses
import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...checks import check_sizes
from ...names import check_name
from ...parts import Numbers, Shape
from .activations import ACTIVATIONS
from .body import Body, Network, Outputs
from .linen import constant, glorot, linen, readout


def conv(hidden: int | tuple[int, ...] = (32, 64), activation: str = "relu") -> Body:
    """Returns a convolutional network to or from images [height, width, channels]; Glorot-uniform weights.

    From an image each layer is a 4×4 convolution with stride 2, and the numbers are linear functions of the last one's
    features; to an image it is the mirror, of transposed convolutions. Sides may be odd. A start at the data's mean
    sets one bias for each channel.

    Args:
      hidden: channels of the layers, from the image on.
      activation: a key of `networks.ACTIVATIONS`.

    Raises:
      ValueError: for an unknown activation, with the nearest, no layer, or channels below 1; where the model is built,
        for shapes of which none is an image's.

    Source of the arrangement: Radford, Metz and Chintala 2016, arXiv:1511.06434, without its batch normalisation.
    """
    check_name(activation, "activation", ACTIVATIONS)
    return _Conv(check_sizes(hidden, "hidden", fewest=1), activation)


@dataclasses.dataclass(frozen=True)
class _Conv:
    hidden: tuple[int, ...]
    activation: str
    takes_channels: ClassVar[bool] = True

    def __call__(self, in_shape: Shape, outputs: Outputs) -> Network:
        module = _ToImage if makes_image("conv", in_shape, outputs) else _FromImage
        return linen(module(self.hidden, self.activation, outputs), in_shape)

    def mirror(self) -> "_Conv":
        return self


def makes_image(name: str, in_shape: Shape, outputs: Outputs) -> bool:
    """Returns whether it is the output of a network, rather than its input, that is an image [height, width, …].

    Raises:
      ValueError: naming the body, where neither is.
    """
    shapes = outputs.shapes
    area = lambda shape: math.prod(shape[:2]) if len(shape) >= 3 else 0
    if isinstance(shapes, tuple) and area(shapes) > area(in_shape):
        return True
    if len(in_shape) != 3:
        raise ValueError(
            f"{name} is a network to or from images [height, width, channels]; it was asked for one from {in_shape} "
            f"to {shapes}"
        )
    return False


def halved(shape: Shape, times: int) -> list[Shape]:
    """Returns the sides of an image, and of what each halving leaves of it, rounded up."""
    sizes = [shape[:2]]
    for _ in range(times):
        sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
    return sizes


class _FromImage(nn.Module):
    """Image -> convolutions that each halve it -> numbers."""

    hidden: tuple[int, ...]
    activation: str
    outputs: Outputs

    @nn.compact
    def __call__(self, x: Float[Array, "height width channels"]) -> Numbers:
        h = x
        for channels in self.hidden:
            h = ACTIVATIONS[self.activation](Downsample(channels)(h))
        return readout(self.outputs, h.reshape(-1))


class _ToImage(nn.Module):
    """Vector -> a small image -> transposed convolutions that each double it -> numbers of each pixel."""

    hidden: tuple[int, ...]
    activation: str
    outputs: Outputs

    @nn.compact
    def __call__(self, z: Float[Array, "*latent"]) -> Numbers:
        activation, shape = ACTIVATIONS[self.activation], self.outputs.by_name()[""]
        sizes = halved(shape, len(self.hidden))
        smallest = (*sizes.pop(), self.hidden[-1])
        h = nn.Dense(math.prod(smallest), kernel_init=glorot)(z.reshape(-1)).reshape(smallest)
        outputs = math.prod(shape[2:])
        for channels in (*reversed(self.hidden[:-1]), outputs):
            height, width = sizes.pop()
            # Sides that are odd on the way down come back one pixel too long: cropped.
            h = Upsample(channels)(activation(h))[:height, :width]
        bias = self.param("bias", constant(self.outputs.start(axes=(0, 1))), (outputs,))
        return (h + bias.reshape(1, 1, -1)).reshape(shape)


class Downsample(nn.Module):
    """A convolution with a 4×4 kernel and stride 2: half the height and width, rounded up."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "height width in"]) -> Float[Array, "half_height half_width channels"]:
        odd_height, odd_width = x.shape[0] % 2, x.shape[1] % 2
        padded = jnp.pad(x, ((1, 1 + odd_height), (1, 1 + odd_width), (0, 0)))
        return nn.Dense(self.channels, kernel_init=glorot)(windows(padded, size=4, stride=2))


class Upsample(nn.Module):
    """The transpose of such a convolution: twice the height and width; every output pixel sees 2×2 input pixels."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "height width in"]) -> Float[Array, "2*height 2*width channels"]:
        height, width, _ = x.shape
        pairs = windows(jnp.pad(x, ((1, 1), (1, 1), (0, 0))), size=2, stride=1)
        h = nn.Dense(4 * self.channels, kernel_init=glorot)(pairs)  # the four output pixels of an input pixel
        h = h.reshape(height + 1, width + 1, 2, 2, self.channels).transpose(0, 2, 1, 3, 4)
        return h.reshape(2 * height + 2, 2 * width + 2, self.channels)[1:-1, 1:-1]


def windows(x: Float[Array, "height width in"], *, size: int, stride: int) -> Float[Array, "rows columns features"]:
    """Every size×size window of an image as one vector, so that a convolution is a matrix product.

    XLA's CPU backend takes 20 times as long for the kernel's gradient of a convolution inside a loop, as the training
    steps are (https://github.com/jax-ml/jax/issues/12868).
    """
    rows, columns = ((n - size) // stride + 1 for n in x.shape[:2])
    return jnp.concatenate(
        [
            x[i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
            for i in range(size)
            for j in range(size)
        ],
        axis=-1,
    )
