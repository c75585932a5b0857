"""log p(x) by importance sampling, with its error."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .. import parallel
from ..keys import check_key
from ..losses.checks import check_count, check_one_example, check_scalar
from ..model import VAE, Params
from .checks import check_examples
from .pareto import k_of_tail, tail_size


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
    if mesh is not None:
        params, keys, xs = parallel.replicate((params, keys, xs), mesh)
    return _log_evidence(
        params,
        keys,
        xs,
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
    """Over the samples of one example so far. Logarithms of sums, but for `groups`.

    Attributes:
      first, second: of the weights and of their squares.
      largest: the M + 1 largest log-weights, in decreasing order.
      groups: for each size but the last, the sum of log Σ w over the whole groups.
      rest: for each size but the last, of the group that is not yet whole.
      bootstrap: for each replicate, of the weights times g, and of g, its standard exponential variables.
    """

    first: Array
    second: Array
    largest: Array
    groups: Array
    rest: Array
    bootstrap: tuple[Array, Array]


@partial(jax.jit, static_argnames=("num_samples", "chunk_size", "num_bootstrap", "mesh"))
def _log_evidence(params, keys, xs, *, mesh: jax.sharding.Mesh | None, **options: Any) -> LogEvidence:
    estimate = partial(_of_examples, **options)
    # Reduced-precision matrix products (the default on TPUs and some GPUs) would bias every figure.
    with jax.default_matmul_precision("highest"):
        return (estimate if mesh is None else parallel.over_devices(estimate, mesh))(params, keys, xs)


def _of_examples(
    params: Params, keys: Array, xs: Any, *, vae: VAE, num_samples: int, chunk_size: int, num_bootstrap: int
) -> LogEvidence:
    # Chunks and groups nest: every size divides the chunk or is a multiple of it, unless one chunk holds all.
    per_chunk = max(size for size in bound_sizes(num_samples) if size <= chunk_size)
    num_chunks = -(-num_samples // per_chunk)
    numbers = jnp.arange(num_chunks * per_chunk).reshape(num_chunks, per_chunk)

    def one(example: tuple[Key[Array, ""], Any]) -> LogEvidence:
        key, x = example
        check_key(key)
        q, prior = vae.encode(params, x), vae.prior(params)
        check_one_example(q, prior, key)
        # No sample's own key is of this number.
        bootstrap_key = jax.random.fold_in(key, num_samples)

        def log_weight(number: Int[Array, ""]) -> Float[Array, ""]:
            z = q.sample(jax.random.fold_in(key, number))
            log_weight = vae.decode(params, z).log_prob(x) + prior.log_prob(z) - q.log_prob(z)
            check_scalar(log_weight, "p(x|z), p(z) or q(z|x)")
            return jnp.where(number < num_samples, log_weight, -jnp.inf)

        def log_g(number: Int[Array, ""]) -> Float[Array, " replicates"]:
            g = jax.random.exponential(jax.random.fold_in(bootstrap_key, number), (num_bootstrap,), dtype)
            return jnp.where(number < num_samples, jnp.log(g), -jnp.inf)

        def chunk(totals: _Totals, numbers: Int[Array, " chunk"]) -> tuple[_Totals, None]:
            return _add(totals, numbers, jax.vmap(log_weight)(numbers), jax.vmap(log_g)(numbers), num_samples), None

        dtype = jax.eval_shape(log_weight, numbers[0, 0]).dtype
        totals, _ = jax.lax.scan(chunk, _nothing(num_samples, num_bootstrap, dtype), numbers)
        return _summary(totals, num_samples)

    return jax.lax.map(one, (keys, xs), batch_size=max(1, chunk_size // per_chunk))


def _nothing(num_samples: int, num_bootstrap: int, dtype: Any) -> _Totals:
    """Of no samples."""
    num_sizes, num_largest = len(bound_sizes(num_samples)) - 1, min(tail_size(num_samples) + 1, num_samples)
    none = lambda *shape: jnp.full(shape, -jnp.inf, dtype)
    bootstrap = none(num_bootstrap), none(num_bootstrap)
    return _Totals(none(), none(), none(num_largest), jnp.zeros(num_sizes, dtype), none(num_sizes), bootstrap)


def _add(
    totals: _Totals,
    numbers: Int[Array, " chunk"],
    log_weights: Float[Array, " chunk"],
    log_g: Float[Array, "chunk replicates"],
    num_samples: int,
) -> _Totals:
    """With the samples of these consecutive numbers; the weights of those from `num_samples` on are 0."""
    total, done = jax.nn.logsumexp(log_weights), numbers[-1] + 1
    groups, rest = [], []
    for size, log_rest in zip(bound_sizes(num_samples)[:-1], totals.rest, strict=True):
        if size <= len(numbers):
            whole = log_weights[: len(numbers) // size * size].reshape(-1, size)
            is_whole = numbers[size - 1 :: size] < num_samples
            groups.append(jnp.sum(jax.nn.logsumexp(whole, axis=1), where=is_whole))
            rest.append(log_rest)
        else:
            log_rest = jnp.logaddexp(log_rest, total)
            ends = done % size == 0
            groups.append(jnp.where(ends & (done <= num_samples), log_rest, 0))
            rest.append(jnp.where(ends, -jnp.inf, log_rest))
    weighted, weights = totals.bootstrap
    return _Totals(
        first=jnp.logaddexp(totals.first, total),
        second=jnp.logaddexp(totals.second, jax.nn.logsumexp(2 * log_weights)),
        largest=jax.lax.top_k(jnp.concatenate([totals.largest, log_weights]), totals.largest.size)[0],
        groups=totals.groups + jnp.array(groups),
        rest=jnp.array(rest),
        bootstrap=(
            jnp.logaddexp(weighted, jax.nn.logsumexp(log_g + log_weights[:, None], axis=0)),
            jnp.logaddexp(weights, jax.nn.logsumexp(log_g, axis=0)),
        ),
    )


def _summary(totals: _Totals, num_samples: int) -> LogEvidence:
    inverse_ess = jnp.exp(totals.second - 2 * totals.first)
    weighted, weights = totals.bootstrap
    if weights.size:
        standard_error = jnp.std(weighted - weights, ddof=1)
    else:
        standard_error = jnp.sqrt(jnp.maximum(num_samples * inverse_ess - 1, 0) / max(1, num_samples - 1))
    value = totals.first - math.log(num_samples)
    sums = zip(totals.groups, bound_sizes(num_samples)[:-1], strict=True)
    bounds = [log_sum / (num_samples // size) - math.log(size) for log_sum, size in sums]
    return LogEvidence(
        value=value,
        standard_error=standard_error if num_samples > 1 else jnp.full_like(value, jnp.nan),
        effective_sample_size=1 / inverse_ess,
        pareto_k=k_of_tail(totals.largest),
        bounds=jnp.array([*bounds, value]),
    )
