"""Objectives whose gradients are defined rather than derived: reweighted wake-sleep, and the thermodynamic one."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import threefry
from ..checks import check_count
from ..distributions import masked_like
from ..model import VAE, Params
from ..names import check_name
from .bounds import iwae
from .checks import check_scalar, without_kl
from .estimators import with_gradient_of
from .example import examples_of
from .samples import draw
from .terms import Terms


@dataclasses.dataclass(frozen=True)
class Objective:
    """An objective by value, which has its own estimator of the gradient.

    Attributes:
      loss: (params, key, x, vae=…, num_samples=…) -> (value, terms).
    """

    loss: Callable[..., tuple[Array, Terms]]


def wake_sleep(phi: str = "wake") -> Objective:
    """Returns the objective of `negative_wake_sleep`; raises `ValueError` for an unknown `phi`.

    Source: Bornschein and Bengio 2015, arXiv:1406.2751.
    """
    check_name(phi, "phi", _PHI)
    return Objective(functools.partial(negative_wake_sleep, phi=phi))


def thermodynamic(partition: tuple[float, ...] = (0.0, 0.01, 0.1, 0.3, 1.0)) -> Objective:
    """Returns the objective of `negative_thermodynamic`; raises `ValueError` for a partition not from 0 to 1.

    Source: Masrani, Le and Wood 2019, arXiv:1907.00031.
    """
    _check_partition(partition)
    return Objective(functools.partial(negative_thermodynamic, partition=tuple(partition)))


_PHI = ("wake", "sleep", "both")


@without_kl
def negative_wake_sleep(
    params: Params, key: Key[Array, ""], x: Any, *, vae: VAE, num_samples: int = 10, phi: str = "wake"
) -> tuple[Float[Array, ""], Terms]:
    """Reweighted wake-sleep for ONE example x: the value is minus the IWAE bound, in nats.

    Its gradients, with w̃ the normalised weights of K samples of q:
      θ: −Σ_k w̃_k ∂θ log p(x, z_k) (wake), the IWAE bound's;
      φ, "wake": −Σ_k w̃_k ∂φ log q(z_k|x), which lowers KL(p(z|x) ‖ q(z|x)) and is biased for finite K;
      φ, "sleep": −∂φ log q(z'|x') at a dream z' ~ p(z), x' ~ p(x|z'), which lowers the mean over p(x) of that KL;
      φ, "both": the mean of the two.

    A dream lacks what x lacks, where x is `Masked`. q need not be reparameterised. φ are the parameters that q depends
    on.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      num_samples: K, at least 1.
      phi: "wake", "sleep" or "both".

    Raises:
      ValueError: as `negative_iwae`, and for an unknown `phi`.

    Source: Bornschein and Bengio 2015, arXiv:1406.2751, equations 7–9.
    """
    num_samples = check_count(num_samples, "num_samples")
    check_name(phi, "phi", _PHI)
    at = examples_of(vae, params)(key, x)
    z_key, dream_key, image_key = threefry.split(key, 3)
    samples = draw(at, threefry.split(z_key, num_samples))
    densities = samples.at_fixed_z()
    log_weights, bound = jax.lax.stop_gradient(densities.log_weights()), iwae()
    weights = jax.grad(bound)(log_weights)
    surrogate = jnp.sum(weights * (densities.log_likelihood + densities.log_prior))
    share = {"wake": 1.0, "sleep": 0.0, "both": 0.5}[phi]
    if share > 0:
        surrogate += share * jnp.sum(weights * densities.log_posterior)
    if share < 1:
        dream = jax.lax.stop_gradient(at.prior.sample(dream_key))
        image = jax.lax.stop_gradient(masked_like(at.decode(dream).sample(image_key), at.x))
        log_q = vae.at(x)[1].encode(params, image).log_prob(dream)
        check_scalar(log_q, "q(z|x)")
        surrogate += (1 - share) * log_q
    return -with_gradient_of(bound(log_weights), surrogate), at.terms(
        jax.lax.stop_gradient(samples.z), densities, "wake_sleep"
    )


@without_kl
def negative_thermodynamic(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_samples: int = 10,
    partition: Sequence[float] = (0.0, 0.01, 0.1, 0.3, 1.0),
) -> tuple[Float[Array, ""], Terms]:
    """Minus the thermodynamic variational objective for ONE example x, in nats.

    A left Riemann sum of log p(x) = ∫₀¹ E_{π_β}[log w] dβ along π_β ∝ q^{1−β} p^β,
    Σ_i (β_{i+1} − β_i) E_{π_{β_i}}[log w],
    with each expectation by self-normalised importance weights w^β of the same K samples. A lower bound in the limit
    of many samples, the ELBO for the partition (0, 1). Its gradient is the covariance estimator, for which q need not
    be reparameterised.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      num_samples: K, at least 1.
      partition: 0 = β_0 < … < β_P = 1.

    Raises:
      ValueError: as `negative_iwae`, and for a partition that does not rise from 0 to 1.

    Source: Masrani, Le and Wood 2019, arXiv:1907.00031, equations 9 and 12.
    """
    num_samples = check_count(num_samples, "num_samples")
    betas = _check_partition(partition)
    at = examples_of(vae, params)(key, x)
    samples = draw(at, threefry.split(key, num_samples))
    densities = samples.at_fixed_z()
    log_weights = jax.lax.stop_gradient(densities.log_weights())
    left, widths = np.asarray(betas[:-1])[:, None], np.diff(betas)[:, None]
    weights = jax.nn.softmax(left * log_weights[None, :], axis=1)  # of π_β, a row for each β
    means = jnp.sum(weights * log_weights[None, :], axis=1, keepdims=True)
    covariances = weights * (log_weights[None, :] - means)
    # ∂E_{π_β}[log w] = E_{π_β}[∂ log w] + Cov_{π_β}(∂ log π̃_β, log w), π̃_β = q^{1−β} p^β not normalised.
    joint = jnp.sum(widths * (weights + left * covariances), axis=0)
    score = jnp.sum(widths * ((1 - left) * covariances - weights), axis=0)
    surrogate = jnp.sum(joint * (densities.log_likelihood + densities.log_prior))
    surrogate += jnp.sum(score * densities.log_posterior)
    return -with_gradient_of(jnp.sum(widths * means), surrogate), at.terms(
        jax.lax.stop_gradient(samples.z), densities, "thermodynamic"
    )


def _check_partition(partition: Sequence[float]) -> list[float]:
    betas = [float(beta) for beta in partition]
    if len(betas) < 2 or (betas[0], betas[-1]) != (0.0, 1.0) or not all(a < b for a, b in itertools.pairwise(betas)):
        raise ValueError(f"partition must rise from 0 to 1, got {tuple(partition)}")
    return betas
