"""log p(x) by importance sampling, with its error."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .. import parallel, threefry
from ..checks import check_count
from ..losses.example import examples_of
from ..model import VAE, Params
from .checks import check_examples, check_support
from .pareto import k_of_tail, tail_size
from .sums import Sum, common_scale, or_zero


class LogEvidence(NamedTuple):
    """Estimates for each of n examples, in nats.

    Attributes:
      value: log (1/K) Σ w_k, an estimate of log p(x) that is low by about half its squared standard error.
      standard_error: of `value`, by the delta method, or by the bootstrap if asked for; NaN for K = 1.
      effective_sample_size: (Σ w)² / Σ w², between 1 and K; a small one says that `value` is too low.
      pareto_k: k̂, how heavy the weights' tail is; above `pareto_k_threshold(K)` neither `value` nor its standard error
        can be relied on. NaN for K < 25.
      bounds: the bounds L_k(x) (E_q log of the mean of k weights) for k in `bound_sizes(K)`, each the mean over the
        ⌊K/k⌋ groups of k of the same samples, hence unbiased; they rise with k and converge to log p(x).
    """

    value: Float[Array, " n"]
    standard_error: Float[Array, " n"]
    effective_sample_size: Float[Array, " n"]
    pareto_k: Float[Array, " n"]
    bounds: Float[Array, "n sizes"]

    @property
    def elbo(self) -> Float[ArrayLike, " n"]:
        """The mean of log w_k, unbiased for L(x) = L_1(x) (E3)."""
        return self.bounds[:, 0]


class DatasetEvidence(NamedTuple):
    """Means over a data set, in nats per example, with standard errors over examples *and* sampling noise.

    The examples' estimates differ by both, so the standard deviation of the estimates over √n holds both.
    """

    elbo: float
    elbo_standard_error: float
    nll: float
    nll_standard_error: float
    nll_num_samples: int
    num_examples: int


def bound_sizes(num_samples: int) -> tuple[int, ...]:
    """The k of `LogEvidence.bounds`: 1, 5, 50, 500, 5000, … below K, and K."""
    sizes, size = [1], 5
    while size < num_samples:
        sizes.append(size)
        size *= 10
    return (*sizes, num_samples) if num_samples > 1 else (1,)


def log_evidence(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_samples: int = 5000,
    chunk_size: int = 500,
    num_bootstrap: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> LogEvidence:
    """log p(x) of each example, by importance sampling from q(z|x): log (1/K) Σ_k p(x, z_k) / q(z_k|x), in nats.

    Sample k of an example draws from fold_in(its key, k): the estimate is of exactly `num_samples` samples and, to
    rounding, the same whatever the chunking and the devices. Memory does not grow with `num_samples`, but for the 3√K
    weights of the tail.

    Of the log-weights as computed, log p(x|z) + (log p(z) − log q) rounded to their type, `value` has an error of a
    thousandth of their spread and half a unit in its last place; its standard error, the effective sample size and k̂
    of 1%. That holds whatever the chunks, for log-weights between ±10⁶ and up to 10⁶ of them, in float32.

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`.
      xs: n examples, with a leading axis.
      vae: the model.
      num_samples: K, at least 1.
      chunk_size: the most samples computed at once, over examples and k.
      num_bootstrap: how many Bayesian bootstrap replicates give the standard error; by default the delta method does.
      mesh: the devices among which the examples are divided; by default one computes all.

    Raises:
      ValueError: for counts below 1, no examples, ones that are not finite, or keys of another number.
      TypeError: for raw uint32 keys.

    Source: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5 (L_5000); Vehtari et al. 2024, JMLR 25(72)
    (k̂); Rubin 1981, Annals of Statistics 9(1) (the bootstrap, which needs no resampling and so no stored weights).
    """
    num_samples = check_count(num_samples, "num_samples")
    chunk_size = check_count(chunk_size, "chunk_size")
    if num_bootstrap is not None:
        check_count(num_bootstrap, "num_bootstrap", 2)
    check_examples(keys, xs, "log_evidence")
    check_support(params, xs, vae)
    return _log_evidence(
        *parallel.replicate((params, keys, xs), mesh),
        vae=vae,
        num_samples=num_samples,
        chunk_size=chunk_size,
        num_bootstrap=num_bootstrap or 0,
        mesh=mesh,
    )


def dataset_evidence(estimate: LogEvidence, *, num_samples: int) -> DatasetEvidence:
    """The data-set figures that papers report, from `log_evidence` with `num_samples`."""
    elbo, elbo_error = mean_and_error(estimate.elbo)
    value, error = mean_and_error(estimate.value)
    return DatasetEvidence(elbo, elbo_error, -value, error, num_samples, len(estimate.value))


def mean_and_error(estimates: Float[ArrayLike, " n"]) -> tuple[float, float]:
    """The mean of independent estimates, in float64, and its standard error; NaN for one estimate."""
    values = np.asarray(estimates, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(error)


class _Totals(NamedTuple):
    """Over the samples of one example so far.

    Of numbers near −25,000 float32 keeps two digits after the point, so no sum is over them: weights are summed over
    e^peak, logarithms less `origin`.

    Attributes:
      peak: the largest log-weight.
      first: Σ w / e^peak.
      spread: Σ (w − their mean)² / e^2peak.
      largest: the M + 1 largest log-weights, in decreasing order.
      origin: a log-weight, the first chunk's largest.
      groups: for each size but the last, the sum of (log Σ w) − origin over the whole groups.
      rest_peak, rest: for each size that no chunk holds, `peak` and `first` of the group that is not yet whole.
      bootstrap: for each replicate, Σ w g / e^peak and Σ g, g being its standard exponential variables.
    """

    peak: Array
    first: Sum
    spread: Sum
    largest: Array
    origin: Array
    groups: Sum
    rest_peak: Array
    rest: Sum
    bootstrap: tuple[Sum, Sum]


@partial(jax.jit, static_argnames=("num_samples", "chunk_size", "num_bootstrap", "mesh"))
def _log_evidence(params, keys, xs, *, mesh: jax.sharding.Mesh | None, **options: Any) -> LogEvidence:
    estimate = partial(_of_examples, **options)
    # Reduced-precision matrix products (the default on TPUs and some GPUs) would bias every figure.
    with jax.default_matmul_precision("highest"):
        return parallel.over_devices(estimate, mesh)(params, keys, xs)


def _of_examples(
    params: Params, keys: Array, xs: Any, *, vae: VAE, num_samples: int, chunk_size: int, num_bootstrap: int
) -> LogEvidence:
    # Chunks and groups nest: every size divides the chunk or is a multiple of it, unless one chunk holds all.
    per_chunk = max(size for size in bound_sizes(num_samples) if size <= chunk_size)
    num_chunks = -(-num_samples // per_chunk)
    in_chunk = jnp.arange(per_chunk)

    at = examples_of(vae, params)

    def one(example: tuple[Key[Array, ""], Any]) -> LogEvidence:
        key, x = example
        of_x = at(key, x)
        # No sample's own key is of this number.
        bootstrap_key = threefry.fold_in(key, num_samples)

        def log_weight(number: Int[Array, ""]) -> Float[Array, ""]:
            log_weight = of_x.densities(*of_x.sample(threefry.fold_in(key, number))).log_weights()
            return jnp.where(number < num_samples, log_weight, -jnp.inf)

        def draw_g(number: Int[Array, ""]) -> Float[Array, " replicates"]:
            g = jax.random.exponential(threefry.fold_in(bootstrap_key, number), (num_bootstrap,), dtype)
            return jnp.where(number < num_samples, g, 0)

        def chunk(totals: _Totals, index: Int[Array, ""]) -> tuple[_Totals, None]:
            numbers = index * per_chunk + in_chunk
            return _add(totals, numbers, jax.vmap(log_weight)(numbers), jax.vmap(draw_g)(numbers), num_samples), None

        dtype = jax.eval_shape(log_weight, in_chunk[0]).dtype
        start = _nothing(num_samples, per_chunk, num_bootstrap, dtype)
        totals, _ = jax.lax.scan(chunk, start, jnp.arange(num_chunks))
        return _summary(totals, num_samples)

    return jax.lax.map(one, (keys, xs), batch_size=max(1, chunk_size // per_chunk))


def _nothing(num_samples: int, per_chunk: int, num_bootstrap: int, dtype: Any) -> _Totals:
    """Of no samples."""
    sizes, num_largest = bound_sizes(num_samples)[:-1], min(tail_size(num_samples) + 1, num_samples)
    none, zero = (
        (lambda *shape: jnp.full(shape, -jnp.inf, dtype)),
        (lambda *shape: Sum(*jnp.zeros((2, *shape), dtype))),
    )
    num_longer = sum(size > per_chunk for size in sizes)
    return _Totals(
        peak=none(),
        first=zero(),
        spread=zero(),
        largest=none(num_largest),
        origin=none(),
        groups=zero(len(sizes)),
        rest_peak=none(num_longer),
        rest=zero(num_longer),
        bootstrap=(zero(num_bootstrap), zero(num_bootstrap)),
    )


def _add(
    totals: _Totals,
    numbers: Int[Array, " chunk"],
    log_weights: Float[Array, " chunk"],
    g: Float[Array, "chunk replicates"],
    num_samples: int,
) -> _Totals:
    """With the samples of these consecutive numbers; the weights of those from `num_samples` on are 0."""
    used, done, before = numbers < num_samples, numbers[-1] + 1, numbers[0].astype(log_weights.dtype)
    chunk_peak = jnp.max(log_weights)
    weights = jnp.exp(log_weights - or_zero(chunk_peak))
    total, num = jnp.sum(weights), jnp.sum(used, dtype=weights.dtype)
    mean = total / num
    spread = jnp.sum((weights - mean) ** 2, where=used)

    peak, shrink, grow = common_scale(totals.peak, chunk_peak)
    first = totals.first.scaled(shrink)
    # Chan, Golub and LeVeque 1983: of two sets, apart from their own spreads, by the distance of their means.
    apart = (mean * grow - first.value / jnp.maximum(before, 1)) ** 2 * (before / (before + num) * num)

    origin = jnp.where(totals.origin == -jnp.inf, chunk_peak, totals.origin)
    inside = []
    sizes = bound_sizes(num_samples)[:-1]
    for size in sizes[: len(sizes) - totals.rest_peak.size]:
        whole = log_weights[: len(numbers) // size * size].reshape(-1, size)
        largest = jnp.max(whole, axis=1)
        log_sums = jnp.log(jnp.sum(jnp.exp(whole - or_zero(largest)[:, None]), axis=1)) + (largest - or_zero(origin))
        inside.append(jnp.sum(log_sums, where=numbers[size - 1 :: size] < num_samples))
    longer = jnp.array(sizes[len(inside) :], numbers.dtype)
    rest_peak, rest_shrink, rest_grow = common_scale(totals.rest_peak, chunk_peak)
    rest, ends = totals.rest.scaled(rest_shrink).add(total * rest_grow), done % longer == 0
    log_rest = jnp.log(rest.value) + (rest_peak - or_zero(origin))
    across = jnp.where(ends & (done <= num_samples), log_rest, 0)

    weighted, of_g = totals.bootstrap
    return _Totals(
        peak=peak,
        first=first.add(total * grow),
        spread=totals.spread.scaled(shrink**2).add(spread * grow**2 + apart),
        largest=jax.lax.top_k(jnp.concatenate([totals.largest, log_weights]), totals.largest.size)[0],
        origin=origin,
        groups=totals.groups.add(jnp.concatenate([jnp.array(inside, weights.dtype), across])),
        rest_peak=jnp.where(ends, -jnp.inf, rest_peak),
        rest=rest.scaled(jnp.where(ends, 0, 1)),
        bootstrap=(
            weighted.scaled(shrink).add(jnp.sum(g * weights[:, None], axis=0) * grow),
            of_g.add(jnp.sum(g, axis=0)),
        ),
    )


def _summary(totals: _Totals, num_samples: int) -> LogEvidence:
    mean = totals.first.value / num_samples
    relative_variance = totals.spread.value / num_samples / mean**2
    weighted, of_g = totals.bootstrap
    if of_g.total.size:
        standard_error = jnp.std(jnp.log(weighted.value / of_g.value), ddof=1)
    else:
        standard_error = jnp.sqrt(relative_variance / max(1, num_samples - 1))
    value = totals.peak + jnp.log(mean)
    sizes = np.array(bound_sizes(num_samples)[:-1], int)
    num_groups, log_sizes = (jnp.asarray(of_sizes, value.dtype) for of_sizes in (num_samples // sizes, np.log(sizes)))
    bounds = totals.groups.value / num_groups - log_sizes + or_zero(totals.origin)
    return LogEvidence(
        value=value,
        standard_error=standard_error if num_samples > 1 else jnp.full_like(value, jnp.nan),
        effective_sample_size=num_samples / (1 + relative_variance),
        pareto_k=k_of_tail(totals.largest),
        bounds=jnp.append(bounds, value),
    )
