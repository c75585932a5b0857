"""The evidence lower bound (E3, E4, E7, E11–E13)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..distributions import (
    DiagonalNormal,
    Distribution,
    MultivariateNormal,
    has_closed_form_kl,
    is_reparameterized,
    kl_divergence,
    kl_per_dimension,
)
from ..keys import check_key
from ..model import VAE, Params
from ..names import check_name
from .checks import check_count, check_one_example, check_scalar
from .terms import Terms

_GRADIENTS = ("pathwise",)
_KL_KINDS = ("auto", "analytic", "monte_carlo")


def negative_elbo(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_samples: int = 1,
    beta: float | Float[Array, ""] = 1.0,
    kl: str = "auto",
    gradient: str = "pathwise",
) -> tuple[Float[Array, ""], Terms]:
    """−L(x) for ONE example x, in nats: −E_q[log p(x|z)] + β KL(q(z|x) ‖ p(z)) (E7, E13).

    The expectation is a mean over z_s = g(x, e_s), e_s ~ N(0, I), s = 1…num_samples: unbiased for any number of
    samples (E11), and so is its gradient (E12).

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example, of the event's shape.
      vae: the model.
      num_samples: S, at least 1.
      beta: weight of the KL (β-VAE, Higgins et al. 2017; KL annealing, Bowman et al. 2016, arXiv:1511.06349);
        below 1 the value bounds nothing.
      kl: "analytic" for the closed form (E4), "monte_carlo" for the mean of log q(z_s|x) − log p(z_s) (E3), "auto"
        for the closed form where there is one.
      gradient: "pathwise" differentiates through z_s (E12).

    Returns:
      The loss, a scalar, and its `Terms`.

    Raises:
      ValueError: for a batch in place of one example, an illegal argument, a q that is not reparameterised,
        kl="analytic" without a closed form, or a log-density that is not a scalar.
      TypeError: for a raw uint32 key.

    Source: Kingma and Welling 2014, arXiv:1312.6114, equations 3 and 7; Rezende et al. 2014, arXiv:1401.4082.
    """
    check_key(key)
    num_samples = check_count(num_samples, "num_samples")
    check_name(kl, "kl", _KL_KINDS)
    check_name(gradient, "gradient", _GRADIENTS)
    q, prior = vae.encode(params, x), vae.prior(params)
    check_one_example(q, prior, key)
    if not is_reparameterized(q):
        raise ValueError(f'gradient="pathwise" differentiates through z, but {type(q).__name__} is not reparameterised')

    z = _over_samples(q.sample, jax.random.split(key, num_samples))
    log_likelihoods, variances = _over_samples(partial(_log_likelihood, vae, params, x), z)
    log_ratios = _over_samples(partial(_log_ratio, q, prior), z)
    log_weights = log_likelihoods - log_ratios

    analytic = kl == "analytic" or (kl == "auto" and has_closed_form_kl(q, prior))
    kl_value = kl_divergence(q, prior) if analytic else jnp.mean(log_ratios)
    reconstruction = jnp.mean(log_likelihoods)
    terms = Terms(
        reconstruction=reconstruction,
        kl=kl_value,
        kl_per_dimension=kl_per_dimension(q, prior),
        log_weights=log_weights,
        effective_sample_size=_effective_sample_size(log_weights),
        scale=None if variances is None else jnp.sqrt(jnp.mean(variances)),
        z=z,
        # What is no pytree cannot leave a vmap.
        posterior=None if jax.tree_util.all_leaves([q]) else q,
    )
    return -reconstruction + beta * kl_value, terms


def _over_samples(function: Callable[[Any], Any], values: Any) -> Any:
    """`function` of each sample, along the leading axis."""
    if jax.tree.leaves(values)[0].shape[0] > 1:
        return jax.vmap(function)(values)
    # XLA's CPU backend transposes around an axis of length one: 12% of a training step of 784-500-20.
    return jax.tree.map(lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], values)))


def _log_likelihood(vae: VAE, params: Params, x: Any, z: Any) -> tuple[Float[Array, ""], Float[Array, ""] | None]:
    """log p(x|z), and the mean variance of a Gaussian p(x|z): what decides the weight of its squared error (E5)."""
    p = vae.decode(params, z)
    log_likelihood = p.log_prob(x)
    check_scalar(log_likelihood, "p(x|z)")
    return log_likelihood, _mean_variance(p)


def _log_ratio(q: Distribution, prior: Distribution, z: Any) -> Float[Array, ""]:
    """log q(z|x) − log p(z)."""
    log_ratio = q.log_prob(z) - prior.log_prob(z)
    check_scalar(log_ratio, "q(z|x) or p(z)")
    return log_ratio


def _mean_variance(p: Distribution) -> Float[Array, ""] | None:
    if isinstance(p, DiagonalNormal):
        return jnp.mean(p.scale**2)
    if isinstance(p, MultivariateNormal):
        return jnp.sum(p.scale_tril**2) / p.mean.size
    return None


def _effective_sample_size(log_weights: Float[Array, " K"]) -> Float[Array, ""]:
    return 1.0 / jnp.sum(jax.nn.softmax(log_weights) ** 2)
