"""How likely examples are under a trained model."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .. import threefry
from ..distributions import has_closed_form_kl, kl_divergence
from ..losses.example import examples_of
from ..model import VAE, Params
from .evidence import log_evidence
from .gaps import inference_gaps


class Scores(NamedTuple):
    """Of each of n examples, in nats.

    Attributes:
      elbo: the mean of log p(x, z) − log q(z|x) over draws of q(z|x), unbiased for the ELBO.
      log_evidence: an estimate of log p(x).
      standard_error: of `log_evidence`; NaN for one sample.
      pareto_k: k̂; above `pareto_k_threshold` neither of the two can be relied on. NaN for fewer than 25 samples.
      kl: KL(q(z|x) ‖ p(z)).
    """

    elbo: Float[Array, " n"]
    log_evidence: Float[Array, " n"]
    standard_error: Float[Array, " n"]
    pareto_k: Float[Array, " n"]
    kl: Float[Array, " n"]


class LikelihoodRegret(NamedTuple):
    """Of each of n examples, in nats.

    Attributes:
      value: L(q*) − L(q).
      standard_error: of `value`, by the samples that both are estimated from.
    """

    value: Float[Array, " n"]
    standard_error: Float[Array, " n"]


def score(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_samples: int = 1000,
    chunk_size: int = 500,
) -> Scores:
    """Returns ELBO, log p(x) with its error, and KL(q(z|x) ‖ p(z)) of each example, in nats.

    ELBO and log p(x) are of the same samples, those of `log_evidence` with the same keys. The KL is the closed form
    where there is one, else the mean of log q(z|x) − log p(z) over these samples.

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`.
      xs: n examples, with a leading axis.
      vae: the model.
      num_samples: K, at least 1.
      chunk_size: the most samples computed at once, over examples and k.

    Raises:
      ValueError: as `log_evidence`.
      TypeError: for raw uint32 keys.
    """
    found = log_evidence(params, keys, xs, vae=vae, num_samples=num_samples, chunk_size=chunk_size)
    of_same_samples = jax.random.clone(keys)
    kl = _kl(params, of_same_samples, xs, vae=vae, num_samples=num_samples, chunk_size=chunk_size)
    return Scores(jnp.asarray(found.elbo), found.value, found.standard_error, found.pareto_k, kl)


def likelihood_regret(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_steps: int = 1000,
    learning_rate: float = 0.05,
    samples_per_step: int = 16,
    num_samples: int = 1000,
    chunk_size: int = 500,
    mesh: jax.sharding.Mesh | None = None,
) -> LikelihoodRegret:
    """Returns the likelihood regret of each example: L(q*) − L(q), q* the best diagonal Gaussian for it alone, in nats.

    An encoder that was trained on other examples than x finds a q(z|x) far from the best one: a large regret says
    that x is unlike them, also where log p(x) is large. It is the amortisation gap of `inference_gaps`, whose
    arguments these are. In the source the encoder's weights are optimised for each example; here mean and scale of q,
    which they stand for. The decoder is as it is in both.

    Args:
      params: as in `inference_gaps`.
      keys: as in `inference_gaps`.
      xs: as in `inference_gaps`.
      vae: as in `inference_gaps`.
      num_steps: as in `inference_gaps`.
      learning_rate: as in `inference_gaps`.
      samples_per_step: as in `inference_gaps`.
      num_samples: as in `inference_gaps`.
      chunk_size: as in `inference_gaps`.
      mesh: as in `inference_gaps`.

    Raises:
      ValueError: as `inference_gaps`.
      TypeError: for raw uint32 keys.

    Source: Xiao, Yan and Amit 2020, Likelihood regret, arXiv:2003.02977, section 3.
    """
    options = {"num_steps": num_steps, "learning_rate": learning_rate, "samples_per_step": samples_per_step}
    options |= {"num_samples": num_samples, "chunk_size": chunk_size, "mesh": mesh}
    gaps = inference_gaps(params, keys, xs, vae=vae, **options)
    return LikelihoodRegret(gaps.amortization_gap, gaps.amortization_gap_standard_error)


@partial(jax.jit, static_argnames=("num_samples", "chunk_size"))
def _kl(params, keys, xs, *, vae: VAE, num_samples: int, chunk_size: int) -> Float[Array, " n"]:
    at = examples_of(vae, params)
    per_chunk = min(num_samples, chunk_size)

    def one(example: tuple[Key[Array, ""], Any]) -> Float[Array, ""]:
        key, x = example
        of_x = at(key, x)
        if has_closed_form_kl(of_x.q, of_x.prior):
            return kl_divergence(of_x.q, of_x.prior)

        def sampled(number: Int[Array, ""]) -> Float[Array, ""]:
            z, log_q = of_x.sample(threefry.fold_in(key, number))
            return log_q - of_x.prior.log_prob(z)

        return jnp.mean(jax.lax.map(sampled, jnp.arange(num_samples), batch_size=per_chunk))

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(one, (keys, xs), batch_size=max(1, chunk_size // per_chunk))
