"""Bounds of several samples: importance-weighted, Rényi's, and Rainforth's combinations."""

from typing import Any

from jaxtyping import Array, Float, Key

from ..model import VAE, Params
from . import bounds
from .checks import without_kl
from .estimators import Baseline, negative_bound
from .terms import Terms


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
    """Returns −log (1/K) Σ_k w_k for ONE example x, in nats, w_k = p(x, z_k) / q(z_k|x), z_k ~ q, and its `Terms`.

    A lower bound of log p(x) in expectation, which rises with K to log p(x); the negative ELBO for K = 1.

    The arguments are those of `negative_bound`. All gradients are unbiased but "naive", and "sticking_the_landing",
    whose φ-gradient is biased for K > 1.

    Raises:
      ValueError: as `negative_bound`, and for a `beta` or an analytic `kl`, which go with the ELBO alone.

    Source: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return negative_bound(params, key, x, vae=vae, bound=bounds.iwae(), **options)


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
    """Returns −1/(1−α) log (1/K) Σ_k w_k^{1−α} for ONE example x, in nats, and its `Terms`: the Rényi objective.

    `alpha` is α, any Python number or ±∞; the other arguments are those of `negative_bound`. α = 0 is the IWAE bound;
    α = 1 the ELBO; α = ∞ and −∞ the smallest and the largest log w_k. For α > 1 it falls with K; for α < 0 the value
    from finitely many samples bounds nothing. An infinite α has no doubly reparameterised gradient.

    Raises:
      ValueError: as `negative_iwae`, and for an α that is no number.

    Source: Li and Turner 2016, arXiv:1602.02311, equations 5 and 9.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return negative_bound(params, key, x, vae=vae, bound=bounds.renyi(alpha), **options)


@without_kl
def negative_miwae(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_groups: int = 8,
    num_samples: int = 64,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """Returns minus the mean of M IWAE bounds of K samples each, in nats, for ONE example x, and its `Terms`.

    `num_groups` is M and `num_samples` M·K, the samples of all groups; the other arguments are those of
    `negative_bound`. A leave-one-out baseline is within a group.

    Raises:
      ValueError: as `negative_iwae`, and where num_samples is no multiple of num_groups.

    Source: Rainforth et al. 2018, arXiv:1802.04537, equation 8.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return negative_bound(params, key, x, vae=vae, bound=bounds.miwae(num_groups), **options)


@without_kl
def negative_piwae(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_groups: int = 8,
    num_samples: int = 64,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """Returns minus the IWAE bound of all M·K samples, in nats, for ONE example x, and its `Terms`.

    φ's gradient is that of `negative_miwae`: θ gains from the tighter bound, φ from the better signal-to-noise ratio of
    the looser one. Arguments and errors are those of `negative_miwae`.

    Source: Rainforth et al. 2018, arXiv:1802.04537, section 5.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return negative_bound(params, key, x, vae=vae, bound=bounds.piwae(num_groups), **options)


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
    """Returns −(λ ELBO + (1−λ) IWAE bound), in nats, for ONE example x, both from the same K samples, and its `Terms`.

    `elbo_weight` is λ (the paper's β), in [0, 1]; the other arguments are those of `negative_bound`.

    Raises:
      ValueError: as `negative_iwae`, and for an `elbo_weight` outside [0, 1].

    Source: Rainforth et al. 2018, arXiv:1802.04537, equation 9.
    """
    options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline}
    return negative_bound(params, key, x, vae=vae, bound=bounds.ciwae(elbo_weight), **options)
