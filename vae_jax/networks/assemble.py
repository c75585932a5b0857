"""A VAE put together from its parts."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from .. import expressions
from ..checks import check_sizes
from ..distributions import Distribution
from ..keys import check_key
from ..likelihoods import LIKELIHOODS
from ..model import VAE
from ..names import check_name
from ..parts import Event, Family, Latent, Prior, Shape
from ..posteriors import POSTERIORS
from ..precision import at_least_float32
from ..priors import PRIORS
from .bodies import BODIES, Body, Network, Outputs

COMPUTE_DTYPES = ("float32", "bfloat16")


def assemble(
    *,
    encoder: str | Body,
    decoder: str | Body | None = None,
    posterior: str | Family = "diagonal",
    prior: str | Prior = "standard_normal",
    likelihood: str | Family = "bernoulli",
    event_shape: int | tuple[int, ...],
    latent_shape: int | tuple[int, ...],
    compute_dtype: str = "float32",
    input_mean: ArrayLike | None = None,
    output_mean: ArrayLike | None = None,
    examples: ArrayLike | None = None,
) -> VAE:
    """Returns the VAE of two bodies, a posterior, a prior and a likelihood, each an expression or a value.

    The parameters are {"encoder": …, "decoder": …}, and those that a part has of its own under "posterior", "prior" and
    "likelihood". Equal arguments return the same VAE, so that nothing compiles twice.

    Args:
      encoder: the body of q(z|x): "mlp(hidden=(200, 200))" or `networks.bodies.mlp((200, 200))`.
      decoder: the body of p(x|z); by default the encoder's mirror.
      posterior: q(z|x), of `vae_jax.posteriors`.
      prior: p(z), of `vae_jax.priors`.
      likelihood: p(x|z), of `vae_jax.likelihoods`.
      event_shape: the shape of one example; an int n stands for (n,).
      latent_shape: the shape of z, likewise.
      compute_dtype: "bfloat16" computes the bodies in it, "float32" in the type of their parameters. Parameters,
        densities and losses are not changed by it.
      input_mean: subtracted from the encoder's x, of `event_shape`; the data's mean centres the input.
      output_mean: the mean that p(x|z) starts with, of `event_shape`.
      examples: of the data, with a leading axis, at which a prior may begin (`vamp`).

    Raises:
      ValueError: for an unknown part or argument (with the nearest), parts that do not go together, a size below 1, or
        a wrong shape.
      TypeError: for what is no part of the role, or cannot be hashed.
    """
    body = expressions.make(encoder, BODIES)
    mirrored = body.mirror() if decoder is None else expressions.make(decoder, BODIES)
    for network in (body, mirrored):
        if getattr(network, "__hash__", None) is None:
            raise TypeError(
                f"the body {type(network).__name__} cannot be hashed, as JAX needs: make it a frozen dataclass"
            )
    shape = check_sizes(event_shape, "event_shape")
    check_name(compute_dtype, "compute_dtype", COMPUTE_DTYPES)
    if examples is not None and np.shape(examples)[1:] != shape:
        raise ValueError(f"examples must have the event shape {shape} after their axis, got {np.shape(examples)}")
    for mean in (input_mean, output_mean):
        if mean is not None and np.shape(mean) != shape:
            raise ValueError(f"input_mean and output_mean must have the event shape {shape}, got {np.shape(mean)}")
    return _assembled(
        body,
        mirrored,
        expressions.make(posterior, POSTERIORS),
        expressions.make(prior, PRIORS),
        expressions.make(likelihood, LIKELIHOODS),
        shape,
        check_sizes(latent_shape, "latent_dim"),
        compute_dtype,
        *(None if array is None else Constant(array) for array in (input_mean, output_mean, examples)),
    )


class Constant:
    """An array that is compared and hashed by its bytes."""

    def __init__(self, array: ArrayLike) -> None:
        self.array = np.asarray(array)
        self._identity = (self.array.shape, self.array.dtype, hashlib.sha256(self.array.tobytes()).digest())

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Constant) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


@functools.cache
def _assembled(
    encoder: Body,
    decoder: Body,
    posterior: Family,
    prior: Prior,
    likelihood: Family,
    event_shape: Shape,
    latent_shape: Shape,
    compute_dtype: str,
    input_mean: Constant | None,
    output_mean: Constant | None,
    examples: Constant | None,
) -> VAE:
    of_posterior = Outputs(posterior.outputs(latent_shape), posterior.zeros)
    mean = None if output_mean is None else output_mean.array
    of_likelihood = Outputs(likelihood.outputs(event_shape), likelihood.zeros, mean, likelihood.bias)
    encode = _Side(encoder(event_shape, of_posterior), posterior, of_posterior, latent_shape, compute_dtype)
    decode = _Side(decoder(latent_shape, of_likelihood), likelihood, of_likelihood, event_shape, compute_dtype)
    latent = encode.sample()
    decode.sample()
    centre = _centre(None if input_mean is None else input_mean.array)
    return put_together(
        init_encoder=encode.network.init,
        init_decoder=decode.network.init,
        encode=lambda params, x: encode(params["encoder"], params.get("posterior", {}), centre(x)),
        decode=lambda params, z: decode(params["decoder"], params.get("likelihood", {}), *at_least_float32(z)),
        prior=prior,
        latent=latent,
        event=Event(event_shape, None if examples is None else examples.array),
        init_own={
            "posterior": lambda key: posterior.init(key, latent_shape),
            "likelihood": lambda key: likelihood.init(key, event_shape),
        },
    )


def put_together(
    *,
    init_encoder: Callable[[Any], Any],
    init_decoder: Callable[[Any], Any],
    encode: Callable[[Any, Any], Distribution],
    decode: Callable[[Any, Any], Distribution],
    prior: Prior,
    latent: Latent,
    event: Event,
    init_own: dict[str, Callable[[Any], Any]],
) -> VAE:
    """Returns the VAE of these functions, each of which is for one example of `event.shape`, with their checks."""

    def init(key: Key[Array, ""]) -> dict[str, Any]:
        check_key(key)
        encoder_key, decoder_key, *own_keys, prior_key = jax.random.split(key, 3 + len(init_own))
        own = {name: init(key) for (name, init), key in zip(init_own.items(), own_keys, strict=True)}
        own["prior"] = prior.init(prior_key, latent, event)
        params = {"encoder": init_encoder(encoder_key), "decoder": init_decoder(decoder_key)}
        params |= {name: value for name, value in own.items() if jax.tree.leaves(value)}
        # Of a stated type each: a weak one would compile the first step twice.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), params)

    def encode_one(params: dict[str, Any], x: Any) -> Distribution:
        if jnp.shape(x) != event.shape:
            raise ValueError(
                f"encode takes ONE example of shape {event.shape}, not {jnp.shape(x)}; for a batch use "
                "jax.vmap, or losses.over_batch"
            )
        return encode(params, x)

    def decode_one(params: dict[str, Any], z: Any) -> Distribution:
        if jnp.shape(z) != latent.shape:
            raise ValueError(
                f"decode takes ONE latent of shape {latent.shape}, not {jnp.shape(z)}; batch with jax.vmap"
            )
        return decode(params, z)

    def prior_of(params: dict[str, Any]) -> Distribution:
        return prior.build(params.get("prior", {}), latent, functools.partial(encode_one, params))

    jax.eval_shape(lambda key: prior.init(key, latent, event), jax.random.key(0))
    return VAE(init, encode_one, decode_one, prior_of)


class _Side:
    """A network and the family that its numbers are the parameters of: an encoder or a decoder."""

    def __init__(self, network: Network, family: Family, outputs: Outputs, shape: Shape, compute_dtype: str) -> None:
        self.network = network
        self._family, self._outputs, self._shape, self._compute_dtype = family, outputs, shape, compute_dtype

    def __call__(self, params: Any, own: Any, value: Array) -> Distribution:
        if self._compute_dtype == "bfloat16":
            numbers = _floats_as(jnp.float32, self.network.apply(*_floats_as(jnp.bfloat16, (params, value))))
        else:
            numbers = self.network.apply(params, value)
        if not isinstance(numbers, dict) and numbers.shape == (self._outputs.size,):
            numbers = self._outputs.split(numbers)
        return self._family.build(own, numbers, self._shape, None)

    def sample(self) -> Latent:
        """Returns what a sample of the family is like, at numbers that are all 0."""

        def sample(key: Array) -> Any:
            own_key, key = jax.random.split(key)
            numbers = self._outputs.split(jnp.zeros(self._outputs.size))
            return self._family.build(self._family.init(own_key, self._shape), numbers, self._shape, None).sample(key)

        found = jax.eval_shape(sample, jax.random.key(0))
        return Latent(found.shape, found.dtype)


def _centre(mean: np.ndarray | None) -> Callable[[Any], Float[Array, "*event"]]:
    def centred(x: Any) -> Float[Array, "*event"]:
        # In float32 first: in the type of whole numbers a mean is 0.
        (wide,) = at_least_float32(x)
        centred = wide if mean is None else wide - jnp.asarray(mean, wide.dtype)
        return centred.astype(jnp.result_type(x)) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else centred

    return centred


def _floats_as(dtype: Any, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)
