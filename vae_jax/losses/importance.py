"""Bounds of several samples: importance-weighted, Rényi's, and Rainforth's combinations."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..model import VAE, Params
from .checks import check_count, without_kl
from .estimators import Baseline, Bound, LogWeights, bound_loss
from .terms import Terms


def log_mean_exp(log_weights: Float[Array, "*group K"]) -> Float[Array, "*group"]:
    """log (1/K) Σ_k exp l_k, over the last axis."""
    return jax.nn.logsumexp(log_weights, axis=-1) - math.log(log_weights.shape[-1])


@without_kl
def negative_iwae(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_samples: int = 50,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """−log (1/K) Σ_k w_k for ONE example x, in nats, w_k = p(x, z_k) / q(z_k|x), z_k ~ q.

    A lower bound of log p(x) in expectation, which rises with K to log p(x); the negative ELBO for K = 1.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      num_samples: K, at least 1; at least 2 for leave-one-out baselines.
      gradient: one of `legal_combinations()["iwae"]`. All are unbiased but "naive", and "sticking_the_landing", whose
        φ-gradient is biased for K > 1.
      baseline: for "score_function": None, "leave_one_out", or one number near the bound.

    Raises:
      ValueError: as `negative_elbo`; for an estimator or baseline without meaning here; and for a `beta` or an analytic
        `kl`, which go with the ELBO alone.

    Source: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8; the estimators: Roeder et al. 2017,
    arXiv:1703.09194; Tucker et al. 2019, arXiv:1810.04152, equation 8; Mnih and Rezende 2016, arXiv:1602.06725.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return bound_loss(params, key, x, vae=vae, bound=renyi_bound(0.0, name="iwae"), **options)


@without_kl
def negative_renyi(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    alpha: float,
    num_samples: int = 50,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """−1/(1−α) log (1/K) Σ_k w_k^{1−α} for ONE example x, in nats: the variational Rényi objective.

    α = 0 is the IWAE bound; α → 1 the ELBO; α = ∞ and −∞ the smallest and the largest log w_k. For α > 1 it falls with
    K; for α < 0 the value from finitely many samples bounds nothing.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      alpha: α, a Python float: any number or ±∞.
      num_samples: K, at least 1; at least 2 for leave-one-out baselines.
      gradient: one of `legal_combinations()["renyi"]`; an infinite α has no doubly reparameterised one.
      baseline: for "score_function": None, "leave_one_out", or one number near the bound.

    Raises:
      ValueError: as `negative_iwae`, and for an α that is no number.

    Source: Li and Turner 2016, arXiv:1602.02311, equations 5 and 9.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or math.isnan(alpha):
        raise ValueError(f"alpha must be a Python number, finite or ±inf, got {alpha!r}")
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return bound_loss(params, key, x, vae=vae, bound=renyi_bound(float(alpha)), **options)


@without_kl
def negative_miwae(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_samples: int = 64,
    num_groups: int = 8,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """Minus the mean of M IWAE bounds of K samples each, in nats, for ONE example x.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      num_samples: M·K, the samples of all groups.
      num_groups: M.
      gradient: one of `legal_combinations()["miwae"]`.
      baseline: for "score_function": None, "leave_one_out" (within a group), or one number near the bound.

    Raises:
      ValueError: as `negative_iwae`, and where num_samples is no multiple of num_groups.

    Source: Rainforth et al. 2018, arXiv:1802.04537, equation 8.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    bound = grouped_bound(check_count(num_groups, "num_groups"))
    return bound_loss(params, key, x, vae=vae, bound=bound, **options)


@without_kl
def negative_piwae(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_samples: int = 64,
    num_groups: int = 8,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """Minus the IWAE bound of all M·K samples, in nats, for ONE example x; φ's gradient is that of `negative_miwae`.

    θ gains from the tighter bound, φ from the better signal-to-noise ratio of the looser one.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      num_samples: M·K, the samples of all groups.
      num_groups: M.
      gradient: one of `legal_combinations()["piwae"]`.
      baseline: for "score_function": None, "leave_one_out" (within a group), or one number near the bound.

    Raises:
      ValueError: as `negative_miwae`.

    Source: Rainforth et al. 2018, arXiv:1802.04537, section 5.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    bound = grouped_bound(check_count(num_groups, "num_groups"), partial=True)
    return bound_loss(params, key, x, vae=vae, bound=bound, **options)


@without_kl
def negative_ciwae(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    elbo_weight: float = 0.5,
    num_samples: int = 50,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """−(λ ELBO + (1−λ) IWAE bound), in nats, for ONE example x, both from the same K samples.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      elbo_weight: λ (the paper's β), in [0, 1].
      num_samples: K, at least 1; at least 2 for leave-one-out baselines.
      gradient: one of `legal_combinations()["ciwae"]`.
      baseline: for "score_function": None, "leave_one_out", or one number near the bound.

    Raises:
      ValueError: as `negative_iwae`, and for a λ outside [0, 1].

    Source: Rainforth et al. 2018, arXiv:1802.04537, equation 9.
    """
    if not 0 <= elbo_weight <= 1:
        raise ValueError(f"elbo_weight must lie in [0, 1], got {elbo_weight!r}")
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return bound_loss(params, key, x, vae=vae, bound=convex_bound(float(elbo_weight)), **options)


def renyi_bound(alpha: float, *, name: str = "renyi") -> Bound:
    """1/(1−α) log-mean-exp of (1−α) l; the mean of l at α = 1."""
    if alpha == 1:
        return elbo_bound(name)
    if math.isinf(alpha):
        pick = jnp.argmin if alpha > 0 else jnp.argmax
        value = jnp.min if alpha > 0 else jnp.max
        weights = lambda l: jax.nn.one_hot(pick(l), l.shape[0], dtype=l.dtype)
        others = lambda l: jax.vmap(value)(_leave_one_out(l))
        return Bound(name, value, weights, None, lambda l: jnp.full_like(l, value(l)), others)
    value = lambda l: log_mean_exp((1 - alpha) * l) / (1 - alpha)
    weights = lambda l: jax.nn.softmax((1 - alpha) * l)
    return Bound(
        name,
        value,
        weights,
        doubly=lambda l: alpha + (1 - alpha) * weights(l),
        signal=lambda l: jnp.full_like(l, value(l)),
        others=lambda l: jax.vmap(value)(_leave_one_out(l)),
        vimco=(lambda l: jax.vmap(value)(_mean_in_place(l))) if alpha == 0 else None,
    )


def elbo_bound(name: str = "elbo") -> Bound:
    """The mean of l."""
    return Bound(
        name,
        jnp.mean,
        lambda l: jnp.full_like(l, 1 / l.shape[0]),
        doubly=jnp.ones_like,
        signal=lambda l: l / l.shape[0],
        others=lambda l: (jnp.sum(l) - l) / (l.shape[0] * (l.shape[0] - 1)),
    )


def grouped_bound(num_groups: int, *, partial: bool = False) -> Bound:
    """The mean over groups of their IWAE bounds; `partial` keeps it for φ alone, and all samples' bound for θ."""
    one, groups = renyi_bound(0.0), lambda l: l.reshape(num_groups, -1)

    def in_groups(function: Any) -> Any:
        return lambda l: (jax.vmap(function)(groups(l)) / num_groups).ravel()

    weights = in_groups(one.theta)
    return Bound(
        "piwae" if partial else "miwae",
        one.value if partial else lambda l: jnp.mean(log_mean_exp(groups(l))),
        one.theta if partial else weights,
        doubly=lambda l: num_groups * weights(l),
        signal=in_groups(one.signal),
        others=in_groups(one.others),
        vimco=in_groups(one.vimco),
        phi=weights if partial else None,
        num_groups=num_groups,
    )


def convex_bound(elbo_weight: float) -> Bound:
    """λ times the mean of l and 1 − λ times its log-mean-exp."""
    elbo, iwae = elbo_bound(), renyi_bound(0.0)

    def mix(part: str) -> Any:
        first, second = getattr(elbo, part), getattr(iwae, part)
        return lambda l: elbo_weight * first(l) + (1 - elbo_weight) * second(l)

    def doubly(l: LogWeights) -> LogWeights:
        # (λ/K + (1−λ) v²) / (λ/K + (1−λ) v), v the normalised weights, and its limit 0 where both vanish.
        average, v = elbo_weight / l.shape[0], iwae.theta(l)
        below = average + (1 - elbo_weight) * v
        return jnp.where(below > 0, (average + (1 - elbo_weight) * v**2) / jnp.where(below > 0, below, 1), 0)

    return Bound("ciwae", mix("value"), mix("theta"), doubly, mix("signal"), mix("others"))


def _leave_one_out(log_weights: LogWeights) -> Float[Array, "K others"]:
    """Row k: the log-weights of the other samples."""
    size = log_weights.shape[0]
    others = (np.arange(size)[:, None] + np.arange(1, size)) % size
    return log_weights[others]


def _mean_in_place(log_weights: LogWeights) -> Float[Array, "K K"]:
    """Row k: the log-weights with the mean of the others in the place of l_k (VIMCO's geometric mean)."""
    size = log_weights.shape[0]
    means = (jnp.sum(log_weights) - log_weights) / (size - 1)
    return jnp.where(jnp.eye(size, dtype=bool), means[:, None], log_weights[None, :])
