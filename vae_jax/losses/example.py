"""The model at one example: what every loss and estimate begins with."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .. import threefry
from ..distributions import MultivariateNormal, has_costly_inverse, is_gaussian, kl_per_dimension
from ..distributions.protocol import stated_reparameterized
from ..keys import check_key
from ..model import VAE, Params
from .checks import check_event, check_one_example, check_scalar
from .terms import Estimator, Terms

# The last of the keys that a key can be split into: losses take the first.
_OF_PRIOR = 2**32 - 1


class Densities(NamedTuple):
    """Of one sample or each of K, in nats: log p(x|z_k), log p(z_k), log q(z_k|x); and the mean variance of a Gaussian
    p(x|z) (None for others), which decides the weight of its squared error (E5)."""

    log_likelihood: Float[Array, "*K"]
    log_prior: Float[Array, "*K"]
    log_posterior: Float[Array, "*K"]
    variance: Float[Array, "*K"] | None

    def log_weights(self, beta: Any = 1.0) -> Float[Array, "*K"]:
        """log p(x|z_k) + β (log p(z_k) − log q(z_k|x))."""
        return self.log_likelihood - beta * (self.log_posterior - self.log_prior)


@dataclasses.dataclass(frozen=True)
class Example:
    """x, q(z|x), p(z), and z -> p(x|z) of one example; x and z may be pytrees."""

    # Any `Distribution`s; typed so that what particular ones have beyond the protocol can be used.
    x: Any
    q: Any
    prior: Any
    decode: Callable[[Any], Any]
    prior_key: Key[Array, ""]

    def sample(self, key: Key[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        """Returns z ~ q(z|x) and log q(z|x), which a flow has at no cost from the noise that z was made of."""
        if has_costly_inverse(self.q):
            return self.q.transform(self.q.noise(key))
        z = self.q.sample(key)
        return z, self.q.log_prob(z)

    def densities(self, z: Any, log_posterior: Float[Array, ""] | None = None) -> Densities:
        """Returns the densities at ONE z; log q(z|x) is computed where it is not given.

        Raises:
          ValueError: for an x of another shape than p(x|z)'s events, or a log-density that is not a scalar.
        """
        p = self.decode(z)
        log_q = self.q.log_prob(z) if log_posterior is None else log_posterior
        values = Densities(p.log_prob(self.x), self.prior.log_prob(z), log_q, _mean_variance(p))
        check_scalar(values.log_likelihood, "p(x|z)")
        check_scalar(values.log_prior - values.log_posterior, "q(z|x) or p(z)")
        check_event(p, self.x)
        return values

    def terms(self, z: Any, at: Densities, estimator: str, *, kl: Float[Array, ""] | None = None) -> Terms:
        """Returns a loss's `Terms` from its samples z and their densities; `kl` where it is not the samples' mean."""
        log_weights = at.log_weights()
        return Terms(
            reconstruction=jnp.mean(at.log_likelihood),
            kl=jnp.mean(at.log_posterior - at.log_prior) if kl is None else kl,
            kl_per_dimension=kl_per_dimension(self.q, self.prior),
            log_weights=log_weights,
            effective_sample_size=_effective_sample_size(log_weights),
            scale=None if at.variance is None else jnp.sqrt(jnp.mean(at.variance)),
            z=z,
            z_prior=self._sample_prior(),
            # What is no pytree cannot leave a vmap.
            posterior=None if jax.tree_util.all_leaves([self.q]) else self.q,
            estimator=Estimator(estimator),
        )

    def _sample_prior(self) -> Any:
        # Of a mixture's sample a part of the gradient is missing, that of the choice of a component.
        z = self.prior.sample(self.prior_key)
        return z if stated_reparameterized(self.prior) else jax.lax.stop_gradient(z)


def examples_of(vae: VAE, params: Params) -> Callable[[Key[Array, ""], Any], Example]:
    """Returns (key, example) -> `Example`, for the model of `params`.

    The prior is made here, once for all examples, unless it is conditional: a VampPrior's is as costly as an encoder.

    Raises, from the returned function:
      ValueError: for a batch in place of one example.
      TypeError: where `key` is a raw uint32 key.
    """
    shared = vae.prior(params) if vae.given is None else None

    def at(key: Key[Array, ""], example: Any) -> Example:
        check_key(key)
        x, of_x = vae.at(example)
        prior = of_x.prior(params) if shared is None else shared
        q = of_x.encode(params, x)
        check_one_example(q, prior)
        return Example(x, q, prior, lambda z: of_x.decode(params, z), threefry.fold_in(key, _OF_PRIOR))

    return at


def over_samples(function: Callable[[Any], Any], values: Any) -> Any:
    """Returns `function` of each sample, along the leading axis."""
    if jax.tree.leaves(values)[0].shape[0] > 1:
        return jax.vmap(function)(values)
    # XLA's CPU backend transposes around an axis of length one: 12% of a training step of 784-500-20.
    return jax.tree.map(lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], values)))


def _effective_sample_size(log_weights: Float[Array, " K"]) -> Float[Array, ""]:
    peak = jnp.max(log_weights)
    weights = jnp.exp(log_weights - jnp.where(peak == -jnp.inf, 0, peak))
    return jnp.sum(weights) ** 2 / jnp.where(peak == -jnp.inf, 1, jnp.sum(weights**2))


def _mean_variance(p: Any) -> Float[Array, ""] | None:
    if not is_gaussian(p):
        return None
    return jnp.sum(p.scale_tril**2) / p.mean.size if isinstance(p, MultivariateNormal) else jnp.mean(p.scale**2)
