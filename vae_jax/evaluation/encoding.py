"""What a trained model makes of examples: their latents, their reconstructions, others like them."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..checks import check_count
from ..distributions import Distribution, Joint
from ..losses.example import examples_of
from ..model import VAE, Params
from ..precision import at_least_float32
from .blocks import in_blocks
from .checks import check_examples, check_support, real_sample
from .expectations import moments, most_probable


class Encoding(NamedTuple):
    """q(z|x) of each of n examples.

    Attributes:
      mean: E_q[z].
      scale: the standard deviation of each element of z.
      num_draws: of how many draws from q they are; None where q states both.
    """

    mean: Float[Array, "n *latent"]
    scale: Float[Array, "n *latent"]
    num_draws: int | None


def encode(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_draws: int = 1000,
    chunk_size: int = 256,
) -> Encoding:
    """Returns mean and standard deviations of q(z|x) of each example, as q states them or else of draws.

    Draw k of an example is made with fold_in(its key, k). An example's numbers are to the bit the same whatever
    examples stand beside it.

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`; of no effect where q states mean and scale.
      xs: n examples, with a leading axis.
      vae: the model; z is one array of real numbers, of any shape.
      num_draws: of each q(z|x) that does not state both, at least 2.
      chunk_size: examples computed at once.

    Raises:
      ValueError: for counts that are too small, no examples, ones that are not finite or outside the support of
        p(x|z), keys of another number, or a z that is no array of real numbers.
      TypeError: for raw uint32 keys.
    """
    options = _checked(params, keys, xs, vae, num_draws, chunk_size)
    found: list[bool] = []  # q itself need not be a pytree, that it could be returned

    def look(key: Any, example: Any) -> None:
        found.append(moments(examples_of(vae, params)(key, example).q) is not None)

    jax.eval_shape(look, *jax.tree.map(lambda leaf: leaf[0], (keys, xs)))
    mean, scale = _encode(params, keys, xs, vae=vae, **options)
    return Encoding(mean, scale, None if found[0] else num_draws)


def reconstruct(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_draws: int = 1000,
    chunk_size: int = 256,
) -> Any:
    """Returns E[x|z] at z = E_q[z] of each example: the mean of p(x|z) at the mean of q(z|x), like x without masks.

    E_q[z] is `encode`'s. Where a variable of x is a class, its value is the most probable one. Where p(x|z) states
    neither mean nor probabilities, the mean of `num_draws` draws from it takes its place.

    Args:
      params: as in `encode`.
      keys: as in `encode`.
      xs: as in `encode`.
      vae: as in `encode`.
      num_draws: as in `encode`, and of each p(x|z) that states no mean.
      chunk_size: as in `encode`.

    Raises:
      ValueError: as `encode`.
      TypeError: for raw uint32 keys.
    """
    return _reconstruct(params, keys, xs, vae=vae, **_checked(params, keys, xs, vae, num_draws, chunk_size))


def predict(params: Params, keys: Key[Array, " n"], xs: Any, *, vae: VAE, chunk_size: int = 256) -> Any:
    """Returns one draw from the posterior predictive of each example: z ~ q(z|x), x' ~ p(x'|z), like x without masks.

    Args:
      params: as in `encode`.
      keys: one typed key per example.
      xs: as in `encode`.
      vae: the model; z may be anything.
      chunk_size: as in `encode`.

    Raises:
      ValueError: for a `chunk_size` below 1, or examples or keys as in `encode`.
      TypeError: for raw uint32 keys.
    """
    check_examples(keys, xs, "predict")
    check_support(params, xs, vae)
    return _predict(params, keys, xs, vae=vae, chunk_size=check_count(chunk_size, "chunk_size"))


def _checked(params: Params, keys: Any, xs: Any, vae: VAE, num_draws: int, chunk_size: int) -> dict[str, int]:
    options = {"num_draws": check_count(num_draws, "num_draws", 2), "chunk_size": check_count(chunk_size, "chunk_size")}
    check_examples(keys, xs, "encode")
    check_support(params, xs, vae)
    return options


@partial(jax.jit, static_argnames=("num_draws", "chunk_size"))
def _encode(params, keys, xs, *, vae: VAE, num_draws: int, chunk_size: int) -> Any:
    at = examples_of(vae, params)

    def one(example: tuple[Key[Array, ""], Any]) -> tuple[Array, Array]:
        return posterior_moments(at(*example).q, example[0], num_draws)

    # Reduced-precision matrix products (the default on TPUs and some GPUs) would bias every figure.
    with jax.default_matmul_precision("highest"):
        return in_blocks(one, (keys, xs), chunk_size)


@partial(jax.jit, static_argnames=("num_draws", "chunk_size"))
def _reconstruct(params, keys, xs, *, vae: VAE, num_draws: int, chunk_size: int) -> Any:
    at = examples_of(vae, params)

    def one(example: tuple[Key[Array, ""], Any]) -> Any:
        of_x, key = at(*example), example[0]
        mean, _ = posterior_moments(of_x.q, key, num_draws)
        p, key = of_x.decode(mean), jax.random.fold_in(key, num_draws)  # no draw's own key is of this number
        parts = p.parts if isinstance(p, Joint) else {"": p}
        values = {}
        for number, (name, part) in enumerate(parts.items()):
            value = most_probable(part)
            values[name] = _draws(part, jax.random.fold_in(key, number), num_draws)[0] if value is None else value
        return values if isinstance(p, Joint) else values[""]

    with jax.default_matmul_precision("highest"):
        return in_blocks(one, (keys, xs), chunk_size)


@partial(jax.jit, static_argnames=("chunk_size",))
def _predict(params, keys, xs, *, vae: VAE, chunk_size: int) -> Any:
    at = examples_of(vae, params)

    def one(example: tuple[Key[Array, ""], Any]) -> Any:
        z_key, x_key = jax.random.split(example[0])
        of_x = at(*example)
        return of_x.decode(of_x.q.sample(z_key)).sample(x_key)

    with jax.default_matmul_precision("highest"):
        return in_blocks(one, (keys, xs), chunk_size)


def posterior_moments(q: Any, key: Key[Array, ""], num_draws: int) -> tuple[Array, Array]:
    """Returns mean and standard deviations of q(z|x), as q states them or else of draws.

    Raises:
      ValueError: for a z that is no array of real numbers.
    """
    real_sample(q, "encode")
    known = moments(q)
    return _draws(q, key, num_draws) if known is None else known


def _draws(p: Distribution, key: Key[Array, ""], num_draws: int) -> tuple[Array, Array]:
    """Returns mean and standard deviations of draws, without holding more than one of them."""
    draw = lambda number: at_least_float32(p.sample(jax.random.fold_in(key, number)))[0]

    def add(totals: tuple[Array, Array], number: Int[Array, ""]) -> tuple[tuple[Array, Array], None]:
        mean, squares = totals  # Welford 1962: no digits of a small spread around a large mean are lost
        value = draw(number)
        off = value - mean
        mean = mean + off / (number + 1).astype(off.dtype)
        return (mean, squares + off * (value - mean)), None

    zero = jnp.zeros_like(jax.eval_shape(draw, 0))
    (mean, squares), _ = jax.lax.scan(add, (zero, zero), jnp.arange(num_draws))
    return mean, jnp.sqrt(squares / (num_draws - 1))
