"""The model at samples of q(z|x): what every bound is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import Distribution, MultivariateNormal, is_gaussian, kl_per_dimension
from ..model import VAE, Params
from .checks import check_scalar
from .terms import Terms


class Densities(NamedTuple):
    """Of each of K samples, in nats: log p(x|z_k), log p(z_k), log q(z_k|x); and the mean variance of a Gaussian p(x|z)
    (None for others), which decides the weight of its squared error (E5)."""

    log_likelihood: Float[Array, " K"]
    log_prior: Float[Array, " K"]
    log_posterior: Float[Array, " K"]
    variance: Float[Array, " K"] | None

    def log_weights(self, beta: Any = 1.0) -> Float[Array, " K"]:
        """log p(x|z_k) + β (log p(z_k) − log q(z_k|x))."""
        return self.log_likelihood - beta * (self.log_posterior - self.log_prior)


def densities(vae: VAE, params: Params, x: Any, q: Distribution, z: Any) -> Densities:
    """Of samples z, with a leading axis K, under the model of `params` and this q."""
    prior = vae.prior(params)

    def one(z: Any) -> Densities:
        p = vae.decode(params, z)
        values = Densities(p.log_prob(x), prior.log_prob(z), q.log_prob(z), _mean_variance(p))
        check_scalar(values.log_likelihood, "p(x|z)")
        check_scalar(values.log_prior - values.log_posterior, "q(z|x) or p(z)")
        return values

    return over_samples(one, z)


def over_samples(function: Callable[[Any], Any], values: Any) -> Any:
    """`function` of each sample, along the leading axis."""
    if jax.tree.leaves(values)[0].shape[0] > 1:
        return jax.vmap(function)(values)
    # XLA's CPU backend transposes around an axis of length one: 12% of a training step of 784-500-20.
    return jax.tree.map(lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], values)))


def make_terms(
    q: Distribution, prior: Distribution, z: Any, at: Densities, *, kl: Float[Array, ""] | None = None
) -> Terms:
    """The `Terms` of a loss; `kl` where it is not the samples' mean."""
    log_weights = at.log_weights()
    return Terms(
        reconstruction=jnp.mean(at.log_likelihood),
        kl=jnp.mean(at.log_posterior - at.log_prior) if kl is None else kl,
        kl_per_dimension=kl_per_dimension(q, prior),
        log_weights=log_weights,
        effective_sample_size=1.0 / jnp.sum(jax.nn.softmax(log_weights) ** 2),
        scale=None if at.variance is None else jnp.sqrt(jnp.mean(at.variance)),
        z=z,
        # What is no pytree cannot leave a vmap.
        posterior=None if jax.tree_util.all_leaves([q]) else q,
    )


def _mean_variance(p: Distribution) -> Float[Array, ""] | None:
    if not is_gaussian(p):
        return None
    return jnp.sum(p.scale_tril**2) / p.mean.size if isinstance(p, MultivariateNormal) else jnp.mean(p.scale**2)
