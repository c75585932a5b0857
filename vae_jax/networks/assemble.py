"""A VAE put together from its parts."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import expressions
from ..checks import check_sizes
from ..distributions import Distribution, is_masked
from ..likelihoods import LIKELIHOODS
from ..model import VAE
from ..names import check_name
from ..parts import Event, Family, Latent, Prior, Shape, Sized, frozen, thawed
from ..posteriors import POSTERIORS
from ..precision import at_least_float32
from ..priors import PRIORS
from .bodies import BODIES, Body, Network, Outputs
from .given import Conditions
from .inputs import Inputs, Preprocesses, example_of, shape_of
from .preprocess import Constant, standardize
from .together import put_together

COMPUTE_DTYPES = ("float32", "bfloat16")


def assemble(
    *,
    encoder: str | Body,
    decoder: str | Body | None = None,
    posterior: str | Family = "diagonal",
    prior: str | Prior = "standard_normal",
    likelihood: str | Family = "bernoulli",
    event_shape: int | tuple[int, ...] | Mapping[str, tuple[int, ...]],
    latent_shape: int | tuple[int, ...],
    condition_shape: int | tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None,
    compute_dtype: str = "float32",
    preprocess: Preprocesses = None,
    preprocess_condition: Preprocesses = None,
    input_mean: ArrayLike | None = None,
    output_mean: Any = None,
    output_scale: Any = None,
    masked: bool = False,
    sized: bool = False,
    examples: Any = None,
) -> VAE:
    """Returns the VAE of two bodies, a posterior, a prior and a likelihood, each an expression or a value.

    The parameters are {"encoder": …, "decoder": …}, and those that a part has of its own under "posterior", "prior" and
    "likelihood". Equal arguments return the same VAE, so that nothing compiles twice.

    With `condition_shape` the VAE is conditional, and an example is a pair (x, c). Encoder and decoder see c beside x
    and z; p(z) does not depend on it.

    Args:
      encoder: the body of q(z|x): "mlp(hidden=(200, 200))" or `networks.bodies.mlp((200, 200))`.
      decoder: the body of p(x|z); by default the encoder's mirror.
      posterior: q(z|x), of `vae_jax.posteriors`.
      prior: p(z), of `vae_jax.priors`.
      likelihood: p(x|z), of `vae_jax.likelihoods`.
      event_shape: the shape of one x; an int n stands for (n,), and a dict of shapes for a dict of arrays.
      latent_shape: the shape of z, likewise.
      condition_shape: the shape of c, or shapes by name; None for a VAE without c.
      compute_dtype: "bfloat16" computes the bodies in it, "float32" in the type of their parameters. Parameters,
        densities and losses are not changed by it.
      preprocess: what the values of x become before the encoder sees them, of `networks.preprocess`; by name where x
        is a dict. The density of x is not changed by it.
      preprocess_condition: of c, before either network sees it.
      input_mean: short for `preprocess=standardize(input_mean)`: the data's mean centres the input.
      output_mean: the mean that p(x|z) starts with, of the event's shape.
      output_scale: with `output_mean` the scale of the data: the decoder's numbers are those of standardised x, and
        p(x|z) is a density of x in its own units, for families that have a unit (`Family.in_units`).
      masked: whether x may be `Masked`: then missing entries are 0 in the encoder's input, and the mask is beside them.
      sized: whether x are counts whose total is given to the likelihood (`parts.Sized`).
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
    shape = _shape(event_shape, "event_shape")
    check_name(compute_dtype, "compute_dtype", COMPUTE_DTYPES)
    for mean in (input_mean, output_mean, output_scale):
        if mean is not None and shape_of(mean) != shape:
            raise ValueError(
                f"input_mean, output_mean and output_scale must have the event shape {shape}, got {shape_of(mean)}"
            )
    if examples is not None and condition_shape is None and _shape_of_rows(examples) != shape:
        found = shape_of(examples)
        raise ValueError(f"examples must have the event shape {shape} after their axis, got {found}")
    if input_mean is not None and preprocess is not None:
        raise ValueError("input_mean is short for a preprocess: give one of the two")
    if output_scale is not None and output_mean is None:
        raise ValueError("output_scale is that of data around output_mean: give both")
    return _assembled(
        body,
        mirrored,
        expressions.make(posterior, POSTERIORS),
        expressions.make(prior, PRIORS),
        expressions.make(likelihood, LIKELIHOODS),
        frozen(shape),
        check_sizes(latent_shape, "latent_dim"),
        None if condition_shape is None else frozen(_shape(condition_shape, "condition_shape")),
        compute_dtype,
        frozen(preprocess if input_mean is None else standardize(input_mean)),
        frozen(preprocess_condition),
        masked,
        sized,
        *(None if tree is None else Constant(tree) for tree in (output_mean, output_scale, examples)),
    )


@functools.cache
def _assembled(
    encoder: Body,
    decoder: Body,
    posterior: Family,
    prior: Prior,
    likelihood: Family,
    shape: Any,
    latent_shape: Shape,
    condition_shape: Any,
    compute_dtype: str,
    preprocess: Any,
    preprocess_condition: Any,
    masked: bool,
    sized: bool,
    output_mean: Constant | None,
    output_scale: Constant | None,
    examples: Constant | None,
) -> VAE:
    event_shape, mean = thawed(shape), None if output_mean is None else output_mean.tree
    if output_scale is not None and likelihood.in_units is not None:
        likelihood = likelihood.in_units(mean, output_scale.tree)
    conditions = Conditions(thawed(condition_shape), sized)
    given, c = conditions.given(), None if condition_shape is None else example_of(conditions.shape)
    of_posterior = Outputs(posterior.outputs(latent_shape), posterior.zeros)
    of_likelihood = Outputs(likelihood.outputs(event_shape), likelihood.zeros, mean, likelihood.bias)
    seen = Inputs(preprocess, preprocess_condition, masked, getattr(encoder, "takes_channels", False))
    latents = Inputs(None, preprocess_condition, masked=False, channels=False)
    encoder_network = encoder(jax.eval_shape(seen, example_of(event_shape), c).shape, of_posterior)
    decoder_network = decoder(jax.eval_shape(latents, jnp.zeros(latent_shape), c).shape, of_likelihood)
    encode = _Side(encoder_network, posterior, of_posterior, latent_shape, compute_dtype)
    decode = _Side(decoder_network, likelihood, of_likelihood, event_shape, compute_dtype)
    latent = encode.sample(None)
    decode.sample(Sized(c, jnp.ones(())) if sized else c)

    def encode_one(params: Any, x: Any, c: Any) -> Distribution:
        if not masked and any(map(is_masked, jax.tree.leaves(x, is_leaf=is_masked))):
            raise ValueError("x has missing entries, and this VAE was made for none: make it with masked=True")
        inputs = seen(x, conditions.covariates(c))
        return encode(params["encoder"], params.get("posterior", {}), inputs, c)

    def decode_one(params: Any, z: Any, c: Any) -> Distribution:
        inputs = latents(at_least_float32(z)[0], conditions.covariates(c))
        return decode(params["decoder"], params.get("likelihood", {}), inputs, c)

    def kept() -> tuple[Any, ...] | None:
        if examples is None:
            return None
        return (examples.tree,) if given is None else jax.vmap(given)(examples.tree)

    known = kept()
    return put_together(
        init_encoder=encode.network.init,
        init_decoder=decode.network.init,
        encode=encode_one,
        decode=decode_one,
        prior=prior,
        latent=latent,
        event=Event(event_shape, known, not masked and _is_real(event_shape, known)),
        init_own={
            "posterior": lambda key: posterior.init(key, latent_shape),
            "likelihood": lambda key: likelihood.init(key, event_shape),
        },
        given=given,
    )


def _is_real(event_shape: Any, examples: tuple[Any, ...] | None) -> bool:
    if isinstance(event_shape, Mapping):
        return False
    return examples is None or jnp.issubdtype(jnp.result_type(examples[0]), jnp.floating)


class _Side:
    """A network and the family that its numbers are the parameters of: an encoder or a decoder."""

    def __init__(self, network: Network, family: Family, outputs: Outputs, shape: Any, compute_dtype: str) -> None:
        self.network = network
        self._family, self._outputs, self._shape, self._compute_dtype = family, outputs, shape, compute_dtype

    def __call__(self, params: Any, own: Any, value: Array, c: Any) -> Distribution:
        if self._compute_dtype == "bfloat16":
            numbers = _floats_as(jnp.float32, self.network.apply(*_floats_as(jnp.bfloat16, (params, value))))
        else:
            numbers = self.network.apply(params, value)
        if not isinstance(numbers, dict) and numbers.shape == (self._outputs.size,):
            numbers = self._outputs.split(numbers)
        return self._family.build(own, numbers, self._shape, c)

    def sample(self, c: Any) -> Latent:
        """Returns what a sample of the family is like, at numbers that are all 0."""

        def sample(key: Array) -> Any:
            own_key, key = jax.random.split(key)
            numbers = self._outputs.split(jnp.zeros(self._outputs.size))
            return self._family.build(self._family.init(own_key, self._shape), numbers, self._shape, c).sample(key)

        found = jax.eval_shape(sample, jax.random.key(0))
        return Latent(jax.tree.map(lambda leaf: leaf.shape, found), jax.tree.map(lambda leaf: leaf.dtype, found))


def _shape_of_rows(examples: Any) -> Any:
    found = shape_of(examples)
    return {name: of[1:] for name, of in found.items()} if isinstance(found, dict) else found[1:]


def _shape(shape: Any, name: str) -> Any:
    if isinstance(shape, Mapping):
        return {column: check_sizes(of, f"{name} of {column}") for column, of in shape.items()}
    return check_sizes(shape, name)


def _floats_as(dtype: Any, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)
