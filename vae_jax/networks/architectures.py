"""Ready-made VAEs: multilayer perceptrons, convolutional networks, and residual ones."""

from jaxtyping import ArrayLike

from ..checks import check_sizes
from ..model import VAE
from ..parts import Family, Prior
from . import bodies
from .assemble import assemble


def mlp(
    *,
    event_shape: int | tuple[int, ...],
    latent_dim: int | tuple[int, ...],
    hidden: int | tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    gated: bool = False,
    posterior: str | Family = "diagonal",
    prior: str | Prior = "standard_normal",
    likelihood: str | Family = "bernoulli",
    compute_dtype: str = "float32",
    input_mean: ArrayLike | None = None,
    output_mean: ArrayLike | None = None,
    examples: ArrayLike | None = None,
) -> VAE:
    """Returns a VAE of multilayer perceptrons, the decoder's hidden layers mirroring the encoder's.

    Args:
      event_shape: the shape of one example; an int n stands for (n,).
      latent_dim: the length of z, or its shape.
      hidden: widths of the encoder's hidden layers.
      activation: a key of `networks.ACTIVATIONS`.
      gated: whether each hidden layer has a gate, as in `bodies.mlp`.
      posterior: as in `assemble`, and so are the next.
      prior: p(z).
      likelihood: p(x|z).
      compute_dtype: in which the networks compute.
      input_mean: subtracted from the encoder's x; the data's mean centres the input.
      output_mean: the mean that p(x|z) starts with: sets the bias of the last layer.
      examples: of the data, at which a prior may begin.

    Raises:
      ValueError: as `assemble`.

    Source of the arrangement: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5.
    """
    return assemble(
        encoder=bodies.mlp(hidden, activation, gated),
        posterior=posterior,
        prior=prior,
        likelihood=likelihood,
        event_shape=event_shape,
        latent_shape=latent_dim,
        compute_dtype=compute_dtype,
        input_mean=input_mean,
        output_mean=output_mean,
        examples=examples,
    )


def conv(
    *,
    event_shape: tuple[int, int, int],
    latent_dim: int | tuple[int, ...],
    hidden: int | tuple[int, ...] = (32, 64),
    activation: str = "relu",
    posterior: str | Family = "diagonal",
    prior: str | Prior = "standard_normal",
    likelihood: str | Family = "bernoulli",
    compute_dtype: str = "float32",
    input_mean: ArrayLike | None = None,
    output_mean: ArrayLike | None = None,
    examples: ArrayLike | None = None,
) -> VAE:
    """Returns a VAE of convolutional networks for images [height, width, channels].

    Each element of `hidden` is the channels of a 4×4 convolution with stride 2; the decoder mirrors them with
    transposed ones. `output_mean` sets one bias per image channel. The other arguments are those of `mlp`.

    Raises:
      ValueError: as `assemble`, and for an event that is no image.
    """
    if len(check_sizes(event_shape, "event_shape")) != 3:
        raise ValueError(f"conv needs images [height, width, channels]; the event shape is {event_shape}")
    return assemble(
        encoder=bodies.conv(hidden, activation),
        posterior=posterior,
        prior=prior,
        likelihood=likelihood,
        event_shape=event_shape,
        latent_shape=latent_dim,
        compute_dtype=compute_dtype,
        input_mean=input_mean,
        output_mean=output_mean,
        examples=examples,
    )


def resnet(
    *,
    event_shape: tuple[int, int, int],
    latent_dim: int | tuple[int, ...],
    hidden: int | tuple[int, ...] = (32, 64),
    blocks: int = 1,
    activation: str = "silu",
    posterior: str | Family = "diagonal",
    prior: str | Prior = "standard_normal",
    likelihood: str | Family = "bernoulli",
    compute_dtype: str = "float32",
    input_mean: ArrayLike | None = None,
    output_mean: ArrayLike | None = None,
    examples: ArrayLike | None = None,
) -> VAE:
    """Returns a VAE of residual convolutional networks for images [height, width, channels].

    Each element of `hidden` is the channels of a resolution, which has `blocks` residual blocks, as `bodies.resnet`
    says. `output_mean` sets one bias per image channel. The other arguments are those of `mlp`.

    Raises:
      ValueError: as `assemble`, and for an event that is no image.
    """
    if len(check_sizes(event_shape, "event_shape")) != 3:
        raise ValueError(f"resnet needs images [height, width, channels]; the event shape is {event_shape}")
    return assemble(
        encoder=bodies.resnet(hidden, blocks, activation),
        posterior=posterior,
        prior=prior,
        likelihood=likelihood,
        event_shape=event_shape,
        latent_shape=latent_dim,
        compute_dtype=compute_dtype,
        input_mean=input_mean,
        output_mean=output_mean,
        examples=examples,
    )
