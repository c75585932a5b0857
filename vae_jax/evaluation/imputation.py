"""Missing entries of x, given the observed ones."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from ..checks import check_count
from ..distributions import Elementwise, Joint, Masked, is_masked
from ..losses.example import examples_of
from ..model import VAE, Params
from ..precision import at_least_float32
from .checks import check_examples, check_support
from .expectations import expected
from .pareto import pareto_k
from .sums import common_scale, or_zero


class Imputation(NamedTuple):
    """What n examples are where they were not observed, given where they were.

    Attributes:
      mean: like x without masks. Observed entries are as they were; a missing one is the estimate of E[x_m|x_o], and
        of the most probable class where x_m is a class.
      standard_error: of `mean`, like it, by the delta method; of a class, that of its probability; 0 where observed.
      effective_sample_size: (Σ w)² / Σ w², between 1 and K.
      pareto_k: k̂, how heavy the weights' tail is; above `pareto_k_threshold(K)` none of the figures can be relied on.
        NaN for K < 25.
      draws: like `mean`, with an axis of draws behind that of the examples: x_m ~ p(x_m|x_o), whose quantiles are
        intervals. Entries of one draw belong together.
    """

    mean: Any
    standard_error: Any
    effective_sample_size: Float[Array, " n"]
    pareto_k: Float[Array, " n"]
    draws: Any


def impute(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_samples: int = 1000,
    num_draws: int = 100,
    chunk_size: int = 500,
) -> Imputation:
    """Returns the missing entries of each example, by self-normalised importance sampling from q(z|x_o).

    E[x_m|x_o] ≈ Σ_k w̃_k E[x_m|z_k], w̃ = w / Σ w, w_k = p(x_o, z_k) / q(z_k|x_o), with the standard error
    √Σ_k w̃_k² (E[x_m|z_k] − E[x_m|x_o])². E[x_m|z] is p(x|z)'s `mean`; where it has none, its `probs` give the
    probability of each class; where it has neither, x_m ~ p(x|z_k) takes its place. A draw from p(x_m|x_o) takes z_k
    with the probability w̃_k, and x_m from p(x|z_k). Nothing that is stored under a mask reaches a number.

    Sample k of an example draws from fold_in(its key, k): the figures are, to rounding, the same whatever the chunks.
    In memory are at most `chunk_size` samples, and the K log-weights of the examples that they are of.

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`.
      xs: n examples, with a leading axis, in which arrays may be `Masked`.
      vae: the model; `encode` takes x with its masks.
      num_samples: K, at least 2.
      num_draws: of each example.
      chunk_size: the most samples computed at once, over examples and k.

    Raises:
      ValueError: for counts that are too small, no examples, observed entries that are not finite or outside the
        support of p(x|z), keys of another number, or missing entries of a p(x|z) whose elements are not known to be
        independent given z.
      TypeError: for raw uint32 keys.

    Source: Mattei and Frellsen 2019, arXiv:1812.02633, section 3.2, equation 12; the draws: Rubin 1987, Journal of the
    American Statistical Association 82 (sampling importance resampling).
    """
    options = {
        "num_samples": check_count(num_samples, "num_samples", 2),
        "num_draws": check_count(num_draws, "num_draws"),
        "chunk_size": check_count(chunk_size, "chunk_size"),
    }
    check_examples(keys, xs, "impute")
    check_support(params, xs, vae)
    return _impute(params, keys, xs, vae=vae, **options)


class _Sums(NamedTuple):
    """Over samples of weights w and values f, by leaf: Σ w, Σ w d; Σ w², Σ w² d, Σ w² d²; d = f − origin, and w is over
    e^peak, the largest weight."""

    peak: Array
    origin: Any
    once: tuple[Array, Any]
    twice: tuple[Array, Any, Any]


@partial(jax.jit, static_argnames=("num_samples", "num_draws", "chunk_size"))
def _impute(params, keys, xs, *, vae: VAE, num_samples: int, num_draws: int, chunk_size: int) -> Imputation:
    at = examples_of(vae, params)
    per_chunk = min(num_samples, chunk_size)
    num_chunks = -(-num_samples // per_chunk)
    numbers = jnp.arange(num_chunks * per_chunk).reshape(num_chunks, per_chunk)

    def one(example: tuple[Key[Array, ""], Any]) -> Imputation:
        key, x = example
        of_x = at(key, x)
        # No sample's own key is of this number.
        values_key, which_key, draws_key = jax.random.split(jax.random.fold_in(key, num_samples), 3)
        leaves, structure = jax.tree_util.tree_flatten_with_path(of_x.x, is_leaf=is_masked)
        missing = {number: leaf for number, leaf in enumerate(leaves) if is_masked(leaf[1])}

        def like_x(of_missing: Any, of_observed: Any) -> Any:
            both = (of_missing(n, x) if n in missing else of_observed(x) for n, (_, x) in enumerate(leaves))
            return structure.unflatten(both)

        def sample(number: Int[Array, ""]) -> tuple[Float[Array, ""], dict[int, Array]]:
            z, log_q = of_x.sample(jax.random.fold_in(key, number))
            log_weight = of_x.densities(z, log_q).log_weights()
            p, draw_key = of_x.decode(z), jax.random.fold_in(values_key, number)
            values = {n: _expected(_part(p, *leaf), jax.random.fold_in(draw_key, n)) for n, leaf in missing.items()}
            return jnp.where(number < num_samples, log_weight, -jnp.inf), values

        def chunk(sums: _Sums, numbers: Int[Array, " chunk"]) -> tuple[_Sums, Array]:
            log_weights, values = jax.vmap(sample)(numbers)
            return _add(sums, log_weights, values), log_weights

        def draw(which: tuple[Int[Array, ""], Int[Array, ""]]) -> Any:
            z, _ = of_x.sample(jax.random.fold_in(key, which[0]))
            p, draw_key = of_x.decode(z), jax.random.fold_in(draws_key, which[1])
            drawn = {n: _part(p, *leaf).sample(jax.random.fold_in(draw_key, n)) for n, leaf in missing.items()}
            return like_x(lambda n, x: _filled(x, drawn[n]), lambda x: x)

        sums, log_weights = jax.lax.scan(chunk, _nothing(sample, numbers[0, 0]), numbers)
        log_weights = log_weights.ravel()[:num_samples]
        which = jax.random.choice(which_key, num_samples, (num_draws,), p=jax.nn.softmax(log_weights))
        found = {n: _estimate(leaf[1], sums, n) for n, leaf in missing.items()}
        return Imputation(
            mean=like_x(lambda n, x: _filled(x, found[n][0]), lambda x: x),
            standard_error=like_x(
                lambda n, x: jnp.where(x.observed, 0, found[n][1]), lambda x: jnp.zeros(jnp.shape(x))
            ),
            effective_sample_size=sums.once[0] ** 2 / sums.twice[0],
            pareto_k=pareto_k(log_weights),
            draws=jax.lax.map(draw, (which, jnp.arange(num_draws)), batch_size=per_chunk),
        )

    # Reduced-precision matrix products (the default on TPUs and some GPUs) would bias every figure.
    with jax.default_matmul_precision("highest"):
        return jax.lax.map(one, (keys, xs), batch_size=max(1, chunk_size // per_chunk))


def _part(p: Any, path: tuple[Any, ...], x: Masked) -> Any:
    """Returns what x, at this path of the event, is distributed by: the variable of that name in a `Joint`."""
    for entry in path:
        p = p.parts[entry.key] if isinstance(p, Joint) else p
    if x.shape and not isinstance(p, Elementwise):
        raise ValueError(
            "impute needs elements that are independent given z, and does not know that those of a "
            f"{type(p).__name__} are: let p(x|z) be a distributions.Elementwise, or a distributions.Joint of such"
        )
    return p


def _expected(p: Any, key: Key[Array, ""]) -> Float[Array, "..."]:
    """Returns E[x|z], else the probabilities of the classes, along a last axis, else a draw."""
    value = expected(p)
    return at_least_float32(p.sample(key))[0] if value is None else value


def _estimate(x: Masked, sums: _Sums, number: int) -> tuple[Array, Array]:
    """Returns a mean and its standard error; of classes, the most probable one, and its probability's."""
    total, squares = sums.once[0], sums.twice[0]
    shift, first, second = sums.once[1][number] / total, sums.twice[1][number], sums.twice[2][number]
    mean = sums.origin[number] + shift
    error = jnp.sqrt(jnp.maximum(second - 2 * shift * first + shift**2 * squares, 0)) / total
    if mean.ndim == len(x.shape):
        return mean, error
    best = jnp.argmax(mean, axis=-1, keepdims=True)
    return best[..., 0].astype(jnp.result_type(x.value)), jnp.take_along_axis(error, best, axis=-1)[..., 0]


def _filled(x: Masked, values: Shaped[Array, "*event"]) -> Shaped[Array, "*event"]:
    """Returns x with these values where nothing was observed, in a type that holds both."""
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.promote_types(jnp.result_type(x.value), values.dtype)
    return jnp.where(x.observed, jnp.asarray(x.value, dtype), values.astype(dtype))


def _nothing(sample: Any, number: Int[Array, ""]) -> _Sums:
    """Of no samples."""
    zero, zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(sample, number))
    return _Sums(jnp.full_like(zero, -jnp.inf), zeros, (zero, zeros), (zero, zeros, zeros))


def _add(sums: _Sums, log_weights: Float[Array, " chunk"], values: dict[int, Array]) -> _Sums:
    # Around a probable value, so that no digits of a small spread around a large mean are lost.
    best = jnp.argmax(log_weights)
    origin = jax.tree.map(lambda o, f: jnp.where(sums.peak == -jnp.inf, f[best], o), sums.origin, values)
    peak, shrink, _ = common_scale(sums.peak, log_weights[best])
    weights = jnp.exp(log_weights - or_zero(peak))

    def total(weights: Array, values: Array) -> Array:
        weights = weights.reshape(-1, *(1,) * (values.ndim - 1)).astype(values.dtype)
        return jnp.sum(jnp.where(weights > 0, weights * values, 0), axis=0)  # where p(x|z) is 0 the mean may be ∞

    off = jax.tree.map(lambda f, o: f - o[None], values, origin)
    once = jnp.sum(weights), jax.tree.map(partial(total, weights), off)
    squares = jnp.square(weights)
    twice = jnp.sum(squares), *(jax.tree.map(lambda d, n=n: total(squares, d**n), off) for n in (1, 2))
    grown = lambda old, new, factor: jax.tree.map(lambda o, n: o * factor + n, old, new)
    return _Sums(peak, origin, grown(sums.once, once, shrink), grown(sums.twice, twice, shrink**2))
