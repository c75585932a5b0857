"""log p(x) by importance sampling, with its error."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..keys import check_key
from ..losses.checks import check_count, check_one_example, check_scalar
from ..model import VAE, Params


class LogEvidence(NamedTuple):
    """Estimates for each of n examples, in nats.

    Attributes:
      value: log (1/K) Σ w_k, an estimate of log p(x) that is low by about half its squared standard error.
      standard_error: of `value`, by the delta method; NaN for K = 1.
      effective_sample_size: (Σ w)² / Σ w², between 1 and K; a small one says that `value` is too low.
      elbo: the mean of log w_k, unbiased for L(x) (E3).
    """

    value: Float[Array, " n"]
    standard_error: Float[Array, " n"]
    effective_sample_size: Float[Array, " n"]
    elbo: Float[Array, " n"]


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


def log_evidence(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_samples: int = 5000,
    chunk_size: int = 500,
) -> LogEvidence:
    """log p(x) of each example, by importance sampling from q(z|x): log (1/K) Σ_k p(x, z_k) / q(z_k|x), in nats.

    Sample k of an example draws from fold_in(its key, k): the estimate is of exactly `num_samples` samples and, to
    rounding, the same whatever the chunking. Memory does not grow with `num_samples`.

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`.
      xs: n examples, with a leading axis.
      vae: the model.
      num_samples: K, at least 1.
      chunk_size: samples computed at once, over examples and k.

    Raises:
      ValueError: for `num_samples` or `chunk_size` below 1, or keys and examples of different number.
      TypeError: for raw uint32 keys.

    Source: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5 (L_5000).
    """
    num_samples = check_count(num_samples, "num_samples")
    chunk_size = check_count(chunk_size, "chunk_size")
    num_examples = {np.shape(leaf)[0] for leaf in jax.tree.leaves(xs)}
    if num_examples != {np.shape(keys)[0] if np.ndim(keys) else None}:
        raise ValueError(
            f"log_evidence needs one key for each example: got keys of shape {np.shape(keys)} for "
            f"{sorted(num_examples)} examples"
        )
    return _log_evidence(params, keys, xs, vae=vae, num_samples=num_samples, chunk_size=chunk_size)


def dataset_evidence(estimate: LogEvidence, *, num_samples: int) -> DatasetEvidence:
    """The data-set figures that papers report, from `log_evidence` with `num_samples`."""

    def mean_and_error(estimates: Float[Array, " n"]) -> tuple[float, float]:
        values = np.asarray(estimates, np.float64)
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(values.mean()), float(error)

    elbo, elbo_error = mean_and_error(estimate.elbo)
    value, error = mean_and_error(estimate.value)
    return DatasetEvidence(elbo, elbo_error, -value, error, num_samples, len(estimate.value))


@partial(jax.jit, static_argnames=("num_samples", "chunk_size"))
def _log_evidence(params, keys, xs, *, vae: VAE, num_samples: int, chunk_size: int) -> LogEvidence:
    per_example = min(num_samples, chunk_size)
    num_chunks = -(-num_samples // per_example)
    samples = jnp.arange(num_chunks * per_example).reshape(num_chunks, per_example)

    def one(example: tuple[Key[Array, ""], Any]) -> LogEvidence:
        key, x = example
        check_key(key)
        q, prior = vae.encode(params, x), vae.prior(params)
        check_one_example(q, prior, key)

        def log_weight(sample: Int[Array, ""]) -> Float[Array, ""]:
            z = q.sample(jax.random.fold_in(key, sample))
            log_weight = vae.decode(params, z).log_prob(x) + prior.log_prob(z) - q.log_prob(z)
            check_scalar(log_weight, "p(x|z), p(z) or q(z|x)")
            return jnp.where(sample < num_samples, log_weight, -jnp.inf)

        def chunk(carry, samples):
            log_weights = jax.vmap(log_weight)(samples)
            first = jnp.logaddexp(carry[0], jax.nn.logsumexp(log_weights))
            second = jnp.logaddexp(carry[1], jax.nn.logsumexp(2 * log_weights))
            total = carry[2] + jnp.sum(log_weights, where=samples < num_samples)
            return (first, second, total), None

        dtype = jax.eval_shape(log_weight, samples[0, 0]).dtype
        start = tuple(jnp.asarray(value, dtype) for value in (-jnp.inf, -jnp.inf, 0.0))
        (first, second, total), _ = jax.lax.scan(chunk, start, samples)
        inverse_ess = jnp.exp(second - 2 * first)
        relative_variance = jnp.maximum(num_samples * inverse_ess - 1, 0) / (num_samples - 1 or jnp.nan)
        return LogEvidence(
            value=first - math.log(num_samples),
            standard_error=jnp.sqrt(relative_variance),
            effective_sample_size=1 / inverse_ess,
            elbo=total / num_samples,
        )

    # Reduced-precision matrix products (the default on TPUs and some GPUs) would bias every figure.
    with jax.default_matmul_precision("highest"):
        return jax.lax.map(one, (keys, xs), batch_size=max(1, chunk_size // per_example))
