"""What every loss returns beside its value."""

import dataclasses
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from ..distributions import Distribution


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Estimator:
    """The gradient estimator of a loss, by name; static, so that a function of `Terms` sees it at trace time."""

    name: str


class Terms(NamedTuple):
    """Diagnostics of one example's loss; `over_batch` puts a batch axis in front.

    Attributes:
      reconstruction: E_q[log p(x|z)] in nats, a mean over the samples.
      kl: KL(q(z|x) ‖ p(z)) in nats, exact or a Monte-Carlo mean, as the loss used it; without β.
      kl_per_dimension: the exact KL of each latent dimension, in nats; None unless q and p factorise.
      log_weights: log p(x, z_k) − log q(z_k|x), in nats, of the K samples, shape [K].
      effective_sample_size: (Σ w)² / Σ w² of those weights, between 1 and K; 0 where all are 0.
      scale: the σ in force under a Gaussian likelihood, a scalar: the root mean square of σ over event and
        samples; None for other likelihoods.
      z: the samples, with a leading axis K.
      z_prior: one sample of p(z), for what compares the two; without a gradient unless p(z) is reparameterised.
      posterior: q(z|x); None where its class is no pytree.
      estimator: the loss's gradient estimator. Unless it is "pathwise", the terms' own gradients are not the loss's.
    """

    reconstruction: Float[Array, ""]
    kl: Float[Array, ""]
    kl_per_dimension: Float[Array, "..."] | None
    log_weights: Float[Array, " K"]
    effective_sample_size: Float[Array, ""]
    scale: Float[Array, ""] | None
    z: Any
    z_prior: Any
    posterior: Distribution | None
    estimator: Estimator
