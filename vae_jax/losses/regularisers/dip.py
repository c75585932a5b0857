"""A covariance of the aggregate posterior near the identity."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...distributions import DiagonalNormal, MultivariateNormal, is_gaussian
from ...precision import at_least_float32
from ..terms import Terms
from .regularizer import Regularizer


def dip(off_diagonal: int | float, diagonal: int | float) -> Regularizer:
    """Returns λ_o Σ_{i≠j} C_ij² + λ_d Σ_i (C_ii − 1)², to be added to the loss; C = Cov_q(z)[z] over the minibatch.

    C = E_x[Σ(x)] + Cov_x[μ(x)] for q(z|x) = N(μ(x), Σ(x)), in closed form: DIP-VAE-II. The covariance of the means
    is that of the minibatch's own examples (divided by M).

    Args:
      off_diagonal: λ_o, at least 0.
      diagonal: λ_d, at least 0.

    Raises:
      ValueError: for a negative weight; from the returned function, for a q(z|x) that is no Gaussian.

    Source: Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848, equations 5 and 7.
    """
    if not (off_diagonal >= 0 and diagonal >= 0):
        raise ValueError(f"dip: the weights must be at least 0, got {off_diagonal!r} and {diagonal!r}")

    def add(terms: Terms) -> Float[Array, ""]:
        if not is_gaussian(terms.posterior):
            raise ValueError(
                "dip needs the mean and the covariance of q(z|x): a Gaussian posterior, as diagonal and full are; it "
                f"is {'no pytree' if terms.posterior is None else f'a {type(terms.posterior).__name__}'}"
            )
        means, covariances = jax.vmap(_moments)(terms.posterior)
        centred = means - jnp.mean(means, axis=0, keepdims=True)
        spread = jnp.matmul(centred.T, centred, precision="highest") / len(means)
        covariance = jnp.mean(covariances, axis=0) + spread
        excess = jnp.diag(covariance) - 1
        below = jnp.tril(covariance, -1)
        return 2 * off_diagonal * jnp.sum(below**2) + diagonal * jnp.sum(excess**2)

    return Regularizer(add)


def _moments(q: DiagonalNormal | MultivariateNormal) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    mean, scale = at_least_float32(jnp.ravel(q.mean), q.scale)
    if isinstance(q, MultivariateNormal):
        return mean, jnp.matmul(scale, scale.T, precision="highest")
    return mean, jnp.diag(jnp.ravel(jnp.broadcast_to(scale, q.event_shape)) ** 2)
