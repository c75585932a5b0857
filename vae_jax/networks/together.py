"""The functions of a VAE, with what is checked of their arguments."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..distributions import Distribution
from ..keys import check_key
from ..model import VAE
from ..parts import Event, Latent, Prior
from .inputs import shape_of


def put_together(
    *,
    init_encoder: Callable[[Any], Any],
    init_decoder: Callable[[Any], Any],
    encode: Callable[[Any, Any, Any], Distribution],
    decode: Callable[[Any, Any, Any], Distribution],
    prior: Prior,
    latent: Latent,
    event: Event,
    init_own: dict[str, Callable[[Any], Any]],
    given: Callable[[Any], tuple[Any, Any]] | None = None,
) -> VAE:
    """Returns the VAE of these functions, each of which is for one example of `event.shape`, with their checks.

    `encode` and `decode` take c as their last argument, None in a VAE without `given`.
    """

    def init(key: Key[Array, ""]) -> dict[str, Any]:
        check_key(key)
        encoder_key, decoder_key, *own_keys, prior_key = jax.random.split(key, 3 + len(init_own))
        own = {name: init(key) for (name, init), key in zip(init_own.items(), own_keys, strict=True)}
        own["prior"] = prior.init(prior_key, latent, event)
        params = {"encoder": init_encoder(encoder_key), "decoder": init_decoder(decoder_key)}
        params |= {name: value for name, value in own.items() if jax.tree.leaves(value)}
        # Of a stated type each: a weak one would compile the first step twice.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), params)

    def encode_one(params: dict[str, Any], x: Any, c: Any = None) -> Distribution:
        if shape_of(x) != event.shape:
            raise ValueError(
                f"encode takes ONE example of shape {event.shape}, not {shape_of(x)}; for a batch use "
                "jax.vmap, or losses.over_batch"
            )
        return encode(params, x, c)

    def decode_one(params: dict[str, Any], z: Any, c: Any = None) -> Distribution:
        if jnp.shape(z) != latent.shape:
            raise ValueError(
                f"decode takes ONE latent of shape {latent.shape}, not {jnp.shape(z)}; batch with jax.vmap"
            )
        return decode(params, z, c)

    def prior_of(params: dict[str, Any], c: Any = None) -> Distribution:
        return prior.build(params.get("prior", {}), latent, event, functools.partial(encode_one, params))

    jax.eval_shape(lambda key: prior.init(key, latent, event), jax.random.key(0))
    return VAE(init, encode_one, decode_one, prior_of, given)
