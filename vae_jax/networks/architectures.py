"""Ready-made VAEs: multilayer perceptrons, convolutional networks, and residual ones."""

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from ..checks import check_sizes
from ..model import VAE
from ..parts import Family, Prior
from . import bodies
from .assemble import assemble
from .inputs import Preprocesses


class Parts(TypedDict, total=False):
    """The arguments that `mlp`, `conv` and `resnet` hand on to `assemble`, where they are explained."""

    posterior: str | Family
    prior: str | Prior
    likelihood: str | Family
    condition_shape: int | tuple[int, ...] | Mapping[str, tuple[int, ...]] | None
    compute_dtype: str
    preprocess: Preprocesses
    preprocess_condition: Preprocesses
    input_mean: Any
    output_mean: Any
    output_scale: Any
    masked: bool
    sized: bool
    examples: Any


def mlp(
    *,
    event_shape: int | tuple[int, ...] | Mapping[str, tuple[int, ...]],
    latent_dim: int | tuple[int, ...],
    hidden: int | tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    gated: bool = False,
    **parts: Unpack[Parts],
) -> VAE:
    """Returns a VAE of multilayer perceptrons, the decoder's hidden layers mirroring the encoder's.

    Args:
      event_shape: the shape of one example; an int n stands for (n,), and a dict of shapes for a dict of arrays.
      latent_dim: the length of z, or its shape.
      hidden: widths of the encoder's hidden layers.
      activation: a key of `networks.ACTIVATIONS`.
      gated: whether each hidden layer has a gate, as in `bodies.mlp`.
      **parts: `posterior`, `prior`, `likelihood` and the others of `assemble`.

    Raises:
      ValueError: as `assemble`.

    Source of the arrangement: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5.
    """
    encoder = bodies.mlp(hidden, activation, gated)
    return assemble(encoder=encoder, event_shape=event_shape, latent_shape=latent_dim, **parts)


def conv(
    *,
    event_shape: tuple[int, int, int],
    latent_dim: int | tuple[int, ...],
    hidden: int | tuple[int, ...] = (32, 64),
    activation: str = "relu",
    **parts: Unpack[Parts],
) -> VAE:
    """Returns a VAE of convolutional networks for images [height, width, channels].

    Each element of `hidden` is the channels of a 4×4 convolution with stride 2; the decoder mirrors them with
    transposed ones. `output_mean` sets one bias per image channel. The other arguments are those of `mlp`.

    Raises:
      ValueError: as `assemble`, and for an event that is no image.
    """
    if len(check_sizes(event_shape, "event_shape")) != 3:
        raise ValueError(f"conv needs images [height, width, channels]; the event shape is {event_shape}")
    encoder = bodies.conv(hidden, activation)
    return assemble(encoder=encoder, event_shape=event_shape, latent_shape=latent_dim, **parts)


def resnet(
    *,
    event_shape: tuple[int, int, int],
    latent_dim: int | tuple[int, ...],
    hidden: int | tuple[int, ...] = (32, 64),
    blocks: int = 1,
    activation: str = "silu",
    **parts: Unpack[Parts],
) -> VAE:
    """Returns a VAE of residual convolutional networks for images [height, width, channels].

    Each element of `hidden` is the channels of a resolution, which has `blocks` residual blocks, as `bodies.resnet`
    says. `output_mean` sets one bias per image channel. The other arguments are those of `mlp`.

    Raises:
      ValueError: as `assemble`, and for an event that is no image.
    """
    if len(check_sizes(event_shape, "event_shape")) != 3:
        raise ValueError(f"resnet needs images [height, width, channels]; the event shape is {event_shape}")
    encoder = bodies.resnet(hidden, blocks, activation)
    return assemble(encoder=encoder, event_shape=event_shape, latent_shape=latent_dim, **parts)
