"""Ready-made VAEs: multilayer perceptrons and convolutional networks."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..distributions import Distribution
from ..model import VAE
from ..names import check_name
from ..precision import at_least_float32
from .heads import (
    LIKELIHOODS,
    POSTERIORS,
    SMALLEST_SCALE,
    LikelihoodHead,
    PosteriorHead,
    glorot,
    location_bias,
    outputs_per_pixel,
)
from .linen import as_sizes, from_linen

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}
PRIORS = ("standard_normal",)


class MLPEncoder(nn.Module):
    """Flattened x - input_mean -> hidden layers -> q(z|x)."""

    hidden: tuple[int, ...]
    activation: str
    latent_dim: int
    posterior: str
    input_mean: tuple[float, ...] | None

    @nn.compact
    def __call__(self, x: Shaped[Array, "*event"]) -> Distribution:
        h = _centred(x, self.input_mean).reshape(-1)
        for size in self.hidden:
            h = ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=glorot)(h))
        return PosteriorHead(self.latent_dim, self.posterior)(h)


class MLPDecoder(nn.Module):
    """z -> the hidden layers in reverse -> p(x|z)."""

    hidden: tuple[int, ...]
    activation: str
    event_shape: tuple[int, ...]
    likelihood: str
    scale: float
    output_mean: tuple[float, ...] | None

    @nn.compact
    def __call__(self, z: Float[Array, " latent"]) -> Distribution:
        h = z
        for size in reversed(self.hidden):
            h = ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=glorot)(h))
        channels = outputs_per_pixel(self.likelihood)
        bias = np.zeros((math.prod(self.event_shape), channels))
        if self.output_mean is not None:
            bias[:, 0] = location_bias(self.likelihood, np.asarray(self.output_mean))
        outputs = nn.Dense(bias.size, kernel_init=glorot, bias_init=_constant(bias.ravel()))(h)
        head = LikelihoodHead(self.event_shape, self.likelihood, self.scale)
        return head(outputs.reshape(*self.event_shape, channels))


class Downsample(nn.Module):
    """A convolution with a 4×4 kernel and stride 2: half the height and width, rounded up."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "height width in"]) -> Float[Array, "half_height half_width channels"]:
        odd_height, odd_width = x.shape[0] % 2, x.shape[1] % 2
        padded = jnp.pad(x, ((1, 1 + odd_height), (1, 1 + odd_width), (0, 0)))
        return nn.Dense(self.channels, kernel_init=glorot)(_windows(padded, size=4, stride=2))


class Upsample(nn.Module):
    """The transpose of such a convolution: twice the height and width; every output pixel sees 2×2 input pixels."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "height width in"]) -> Float[Array, "2*height 2*width channels"]:
        height, width, _ = x.shape
        windows = _windows(jnp.pad(x, ((1, 1), (1, 1), (0, 0))), size=2, stride=1)
        h = nn.Dense(4 * self.channels, kernel_init=glorot)(windows)  # the four output pixels of an input pixel
        h = h.reshape(height + 1, width + 1, 2, 2, self.channels).transpose(0, 2, 1, 3, 4)
        return h.reshape(2 * height + 2, 2 * width + 2, self.channels)[1:-1, 1:-1]


class ConvEncoder(nn.Module):
    """Image - input_mean -> convolutions that each halve it -> q(z|x)."""

    hidden: tuple[int, ...]
    activation: str
    latent_dim: int
    posterior: str
    input_mean: tuple[float, ...] | None

    @nn.compact
    def __call__(self, x: Shaped[Array, "height width channels"]) -> Distribution:
        h = _centred(x, self.input_mean)
        for channels in self.hidden:
            h = ACTIVATIONS[self.activation](Downsample(channels)(h))
        return PosteriorHead(self.latent_dim, self.posterior)(h.reshape(-1))


class ConvDecoder(nn.Module):
    """z -> a small image -> transposed convolutions that each double it -> p(x|z)."""

    hidden: tuple[int, ...]
    activation: str
    event_shape: tuple[int, int, int]
    likelihood: str
    scale: float
    output_mean: tuple[float, ...] | None

    @nn.compact
    def __call__(self, z: Float[Array, " latent"]) -> Distribution:
        activation = ACTIVATIONS[self.activation]
        *size, image_channels = self.event_shape
        sizes = [tuple(size)]
        for _ in self.hidden:
            sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
        smallest = (*sizes.pop(), self.hidden[-1])
        h = nn.Dense(math.prod(smallest), kernel_init=glorot)(z).reshape(smallest)
        outputs = outputs_per_pixel(self.likelihood)
        for channels in (*reversed(self.hidden[:-1]), image_channels * outputs):
            height, width = sizes.pop()
            # Sides that are odd on the way down come back one pixel too long: cropped.
            h = Upsample(channels)(activation(h))[:height, :width]
        bias = np.zeros((image_channels, outputs))
        if self.output_mean is not None:
            mean = np.asarray(self.output_mean).reshape(self.event_shape).mean((0, 1))
            bias[:, 0] = location_bias(self.likelihood, mean)
        h = h + self.param("bias", _constant(bias.ravel()), (bias.size,)).reshape(1, 1, -1)
        head = LikelihoodHead(self.event_shape, self.likelihood, self.scale)
        return head(h.reshape(*self.event_shape, outputs))


def mlp(
    *,
    event_shape: int | tuple[int, ...],
    latent_dim: int,
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    posterior: str = "diagonal",
    prior: str = "standard_normal",
    likelihood: str = "bernoulli",
    scale: float = 1.0,
    input_mean: ArrayLike | None = None,
    output_mean: ArrayLike | None = None,
) -> VAE:
    """A VAE of multilayer perceptrons, the decoder's hidden layers mirroring the encoder's; Glorot-uniform weights.

    Equal arguments return the same VAE, so that nothing compiles twice.

    Args:
      event_shape: the shape of one example; an int n stands for (n,).
      latent_dim: the length of z.
      hidden: widths of the encoder's hidden layers.
      activation: a key of `networks.ACTIVATIONS`.
      posterior: q(z|x): "diagonal" (`DiagonalNormal`) or "full" (`MultivariateNormal`).
      prior: "standard_normal", N(0, I).
      likelihood: p(x|z): "bernoulli", or N(μ(z), σ²) with σ fixed ("gaussian"), learned and shared by all pixels
        ("gaussian_shared"), or a learned function of z for each pixel ("gaussian_per_pixel") (E5).
      scale: σ of the Gaussian likelihoods: its value where fixed, its start where learned.
      input_mean: subtracted from x, of `event_shape`; the data's mean centres the input.
      output_mean: the mean that p(x|z) starts with, of `event_shape`: sets the bias of the last layer.

    Raises:
      ValueError: for an unknown name (with the nearest), a size below 1 or a wrong shape.

    Source of the arrangement: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5.
    """
    return _vae(MLPEncoder, MLPDecoder, **locals())


def conv(
    *,
    event_shape: tuple[int, int, int],
    latent_dim: int,
    hidden: tuple[int, ...] = (32, 64),
    activation: str = "relu",
    posterior: str = "diagonal",
    prior: str = "standard_normal",
    likelihood: str = "bernoulli",
    scale: float = 1.0,
    input_mean: ArrayLike | None = None,
    output_mean: ArrayLike | None = None,
) -> VAE:
    """A VAE of convolutional networks for images [height, width, channels]; Glorot-uniform weights.

    Each element of `hidden` is the channels of a 4×4 convolution with stride 2; the decoder mirrors them with
    transposed ones. `output_mean` sets one bias per image channel. The other arguments are those of `mlp`.

    Raises:
      ValueError: as `mlp`, and for an event that is no image.
    """
    if len(as_sizes(event_shape, "event_shape")) != 3:
        raise ValueError(f"conv needs images [height, width, channels]; the event shape is {event_shape}")
    if not as_sizes(hidden, "hidden"):
        raise ValueError("conv needs at least one layer: hidden is empty")
    return _vae(ConvEncoder, ConvDecoder, **locals())


NETWORKS: dict[str, Callable[..., VAE]] = {"mlp": mlp, "conv": conv}


def _vae(
    encoder: type[nn.Module],
    decoder: type[nn.Module],
    *,
    event_shape: int | tuple[int, ...],
    latent_dim: int,
    hidden: tuple[int, ...],
    activation: str,
    posterior: str,
    prior: str,
    likelihood: str,
    scale: float,
    input_mean: ArrayLike | None,
    output_mean: ArrayLike | None,
) -> VAE:
    check_name(activation, "activation", ACTIVATIONS)
    check_name(posterior, "posterior", POSTERIORS)
    check_name(prior, "prior", PRIORS)
    check_name(likelihood, "likelihood", LIKELIHOODS)
    shape, hidden = as_sizes(event_shape, "event_shape"), as_sizes(hidden, "hidden")
    (latent_dim,) = as_sizes(latent_dim, "latent_dim")
    smallest = SMALLEST_SCALE if likelihood in ("gaussian_shared", "gaussian_per_pixel") else 0.0
    if not smallest < scale < math.inf:
        raise ValueError(f"scale must be a finite number above {smallest}, got {scale}")
    body = {"hidden": hidden, "activation": activation}
    return from_linen(
        encoder(**body, latent_dim=latent_dim, posterior=posterior, input_mean=_hashable(input_mean, shape)),
        decoder(
            **body,
            event_shape=shape,
            likelihood=likelihood,
            scale=float(scale),
            output_mean=_hashable(output_mean, shape),
        ),
        event_shape=shape,
        latent_dim=latent_dim,
    )


def _hashable(mean: ArrayLike | None, shape: tuple[int, ...]) -> tuple[float, ...] | None:
    """A mean as module attribute: modules are compared and hashed by their attributes."""
    if mean is None:
        return None
    if np.shape(mean) != shape:
        raise ValueError(f"input_mean and output_mean must have the event shape {shape}, got {np.shape(mean)}")
    return tuple(np.asarray(mean, float).ravel().tolist())


def _windows(x: Float[Array, "height width in"], *, size: int, stride: int) -> Float[Array, "rows columns features"]:
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


def _centred(x: Shaped[Array, "*event"], mean: tuple[float, ...] | None) -> Float[Array, "*event"]:
    # In float32 first: in the type of whole numbers a mean is 0.
    (wide,) = at_least_float32(x)
    centred = wide if mean is None else wide - jnp.asarray(mean, wide.dtype).reshape(x.shape)
    return centred.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else centred


def _constant(values: np.ndarray) -> Any:
    return lambda key, shape, dtype=jnp.float32: jnp.asarray(values, dtype).reshape(shape)
