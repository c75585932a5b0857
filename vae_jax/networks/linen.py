"""Two Linen modules made into a `VAE`."""

import contextlib
import functools
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError
from jaxtyping import Array, Key

from ..distributions import Distribution, standard_normal
from ..keys import check_key
from ..model import VAE


@functools.cache
def _build(encoder: nn.Module, decoder: nn.Module, event_shape: tuple[int, ...], latent_dim: int) -> VAE:
    def init(key: Key[Array, ""]) -> dict[str, Any]:
        check_key(key)
        encoder_key, decoder_key = jax.random.split(key)
        return {
            "encoder": _init(encoder, encoder_key, jnp.zeros(event_shape), "encoder"),
            "decoder": _init(decoder, decoder_key, jnp.zeros(latent_dim), "decoder"),
        }

    def encode(params: dict[str, Any], x: Any) -> Distribution:
        if jnp.shape(x) != event_shape:
            raise ValueError(
                f"encode takes ONE example of shape {event_shape}, not {jnp.shape(x)}; for a batch use "
                "jax.vmap, or losses.over_batch"
            )
        return _apply(encoder, params["encoder"], x, "encoder")

    def decode(params: dict[str, Any], z: Any) -> Distribution:
        if jnp.shape(z) != (latent_dim,):
            raise ValueError(
                f"decode takes ONE latent of shape {(latent_dim,)}, not {jnp.shape(z)}; batch with jax.vmap"
            )
        return _apply(decoder, params["decoder"], z, "decoder")

    def prior(params: dict[str, Any]) -> Distribution:
        return standard_normal(latent_dim)

    return VAE(init, encode, decode, prior)


def from_linen(encoder: nn.Module, decoder: nn.Module, *, event_shape: int | tuple[int, ...], latent_dim: int) -> VAE:
    """A VAE with prior N(0, I) from one's own Linen modules.

    The parameters are {"encoder": ..., "decoder": ...}. Equal arguments return the same VAE, so that nothing compiles
    twice.

    Args:
      encoder: called on one example of `event_shape`, returns q(z|x), `distributions.DiagonalNormal(mean, scale)` say.
      decoder: called on one z of shape [latent_dim], returns p(x|z), `distributions.Bernoulli(logits)` say.
      event_shape: the shape of one example; an int n stands for (n,).
      latent_dim: the length of z.

    Raises:
      ValueError: for sizes below 1; from `init`, where a module has variables other than parameters (batch
        statistics, say: the state of a VAE is its parameters alone) or draws random numbers (Dropout, say); from
        `encode` and `decode`, for a batch.
      TypeError: for what is no Linen module or cannot be hashed; from `init`, `encode` and `decode`, where a module
        does not return a distribution.
    """
    check_module(encoder, "encoder")
    check_module(decoder, "decoder")
    (latent_dim,) = as_sizes(latent_dim, "latent_dim")
    return _build(encoder, decoder, as_sizes(event_shape, "event_shape"), latent_dim)


def as_sizes(value: Any, name: str) -> tuple[int, ...]:
    """A whole number n as (n,), several as a tuple; raises `ValueError` unless all are at least 1."""
    try:
        sizes = tuple(operator.index(size) for size in (value if isinstance(value, Iterable) else (value,)))
    except TypeError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise ValueError(f"{name} must be of whole numbers of at least 1, got {value!r}")
    return sizes


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


@contextlib.contextmanager
def _no_random_numbers(role: str) -> Iterator[None]:
    try:
        yield
    except InvalidRngError as error:
        raise ValueError(
            f"the {role} draws random numbers of its own ({str(error).split(' (http')[0]}); a VAE's functions are "
            "deterministic. Use Dropout(deterministic=True) or a module without it"
        ) from error


def _init(module: nn.Module, key: Key[Array, ""], example: Array, role: str) -> Any:
    variables = dict(module.init(key, example))
    params = variables.pop("params", {})
    if variables:
        raise ValueError(
            f"the {role} has the variables {sorted(variables)} besides parameters; a VAE keeps no other state. Use a "
            "module without them (LayerNorm or GroupNorm in place of BatchNorm)"
        )
    jax.eval_shape(lambda: _apply(module, params, example, role))  # where it cannot be used, better said now
    return params


def _apply(module: nn.Module, params: Any, value: Array, role: str) -> Distribution:
    with _no_random_numbers(role):
        output = module.apply({"params": params}, value)
    if not isinstance(output, Distribution):
        wanted = "DiagonalNormal(mean, scale)" if role == "encoder" else "Bernoulli(logits)"
        raise TypeError(
            f"the {role} must return a distribution, distributions.{wanted} for one; it returned "
            f"{type(output).__name__}"
        )
    return output
