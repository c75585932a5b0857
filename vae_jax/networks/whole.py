"""Two Linen modules, which return distributions, made into a `VAE`."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import expressions
from ..checks import check_sizes
from ..distributions import Distribution
from ..model import VAE
from ..parts import Event, Latent, Prior, Shape
from ..priors import PRIORS
from .bodies.linen import linen
from .preprocess import Constant
from .together import put_together


def from_linen(
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    event_shape: int | tuple[int, ...],
    latent_dim: int | tuple[int, ...],
    prior: str | Prior = "standard_normal",
    examples: ArrayLike | None = None,
) -> VAE:
    """Returns a VAE of one's own Linen modules.

    The parameters are {"encoder": ..., "decoder": ...}, and "prior" where that has some. Equal arguments return the
    same VAE, so that nothing compiles twice.

    Args:
      encoder: called on one example of `event_shape`, returns q(z|x), `distributions.DiagonalNormal(mean, scale)` say.
      decoder: called on one z of shape [latent_dim], returns p(x|z), `distributions.Bernoulli(logits)` say.
      event_shape: the shape of one example; an int n stands for (n,).
      latent_dim: the length of z, or its shape.
      prior: p(z), as in `assemble`.
      examples: as in `assemble`.

    Raises:
      ValueError: for sizes below 1, or what `assemble` refuses of a prior; from `init`, where a module has variables
        other than parameters (batch statistics, say: the state of a VAE is its parameters alone) or draws random
        numbers (Dropout, say); from `encode` and `decode`, for a batch.
      TypeError: for what is no Linen module or cannot be hashed; from `init`, `encode` and `decode`, where a module
        does not return a distribution.
    """
    check_module(encoder, "encoder")
    check_module(decoder, "decoder")
    return _from_linen(
        encoder,
        decoder,
        check_sizes(event_shape, "event_shape"),
        check_sizes(latent_dim, "latent_dim"),
        expressions.make(prior, PRIORS),
        None if examples is None else Constant(examples),
    )


@functools.cache
def _from_linen(
    encoder: nn.Module,
    decoder: nn.Module,
    event_shape: Shape,
    latent_shape: Shape,
    prior: Prior,
    examples: Constant | None,
) -> VAE:
    encode = linen(encoder, event_shape, role="encoder", finish=functools.partial(_checked, "encoder"))
    decode = linen(decoder, latent_shape, role="decoder", finish=functools.partial(_checked, "decoder"))
    return put_together(
        init_encoder=encode.init,
        init_decoder=decode.init,
        encode=lambda params, x, c: encode.apply(params["encoder"], x),
        decode=lambda params, z, c: decode.apply(params["decoder"], z),
        prior=prior,
        latent=Latent(latent_shape, jnp.result_type(float)),
        event=Event(event_shape, None if examples is None else (examples.tree,)),
        init_own={},
    )


def _checked(role: str, output: Any) -> Distribution:
    if not isinstance(output, Distribution):
        wanted = "DiagonalNormal(mean, scale)" if role == "encoder" else "Bernoulli(logits)"
        raise TypeError(
            f"the {role} must return a distribution, distributions.{wanted} for one; it returned "
            f"{type(output).__name__}"
        )
    return output


def check_module(module: Any, role: str) -> None:
    """Raises `TypeError` unless a module is a Linen module that can be hashed."""
    if not isinstance(module, nn.Module):
        if any(base.__module__.startswith("flax.nnx") for base in type(module).__mro__):
            found = (
                f"an NNX module, {type(module).__name__}: write it with flax.linen, or make a vae_jax.VAE of functions"
            )
        elif isinstance(module, type):
            found = f"the class {module.__name__}: make an instance, {module.__name__}()"
        else:
            found = f"an object of {type(module).__name__}"
        raise TypeError(f"the {role} must be a Linen module (flax.linen.Module), not {found}")
    try:
        hash(module)
    except TypeError as error:
        names = [name for name in module.__dataclass_fields__ if not _hashable(getattr(module, name, None))]
        raise TypeError(
            f"the {role} cannot be hashed, as JAX needs, because of its attribute {' and '.join(names)}: give a tuple "
            "in place of a list, a flax.core.FrozenDict in place of a dict, and make arrays inside the module"
        ) from error


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
