"""The dependence of the latent dimensions on each other."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..terms import Terms
from .regularizer import Regularizer


def total_correlation(weight: int | float, num_examples: int) -> Regularizer:
    """Returns w TC, in nats, to be added to the loss: TC = KL(q(z) ‖ Π_d q(z_d)), q(z) the aggregate posterior.

    Added to the negative ELBO it is the loss of β-TCVAE with β = 1 + w. From a minibatch of M of the N examples,
    q(z) of a z drawn for x_i is q(z|x_i)/N + (N − 1)/N times the mean of q(z|x_j) over the M − 1 others, which is
    unbiased (stratified sampling), and q(z_d) likewise; their logarithms are too small on average, so that the
    estimate is biased for small M, and exact up to Monte-Carlo error for M = N.

    Args:
      weight: w.
      num_examples: N, the number of training examples, at least that of a batch.

    Raises:
      ValueError: for a weight that is not finite; from the returned function, for a q(z|x) whose dimensions do not
        factorise, a batch of one, or one of more than N.

    Source: Chen et al. 2018, arXiv:1802.04942, equation 4 and appendix C.2 (minibatch stratified sampling), with the
    weight of the others shared equally.
    """
    if not math.isfinite(weight):
        raise ValueError(f"total_correlation: weight must be finite, got {weight!r}")

    def add(terms: Terms) -> Float[Array, ""]:
        q, size = terms.posterior, len(terms.z)
        if not hasattr(q, "log_prob_per_element"):
            raise ValueError(
                "total_correlation needs the density of each latent dimension: a posterior that factorises, as "
                f"diagonal does; q(z|x) is {'no pytree' if q is None else f'a {type(q).__name__}'}"
            )
        if not 2 <= size <= num_examples:
            raise ValueError(
                f"total_correlation: a batch has from 2 to num_examples={num_examples} examples, and this one {size}"
            )
        log_others = math.log1p(-1 / num_examples) - math.log(size - 1)
        log_shares = np.full((size, size), log_others) - np.diag(np.full(size, log_others + math.log(num_examples)))

        def of_sample(z: Float[Array, "*latent"], log_shares: Float[Array, " M"]) -> Float[Array, ""]:
            per_element = jax.vmap(lambda q: q.log_prob_per_element(z).ravel())(q)
            log_marginals = jax.nn.logsumexp(per_element + log_shares[:, None], axis=0)
            return jax.nn.logsumexp(jnp.sum(per_element, axis=1) + log_shares) - jnp.sum(log_marginals)

        of_samples = jax.vmap(of_sample, in_axes=(0, None))
        return weight * jnp.mean(jax.vmap(of_samples)(terms.z, jnp.asarray(log_shares, jnp.float32)))

    return Regularizer(add)
