"""Gradient estimators of bounds, each one surrogate with stopped coefficients.

With the log-weights l_k of the samples stopped, every estimator of the gradient of a bound V(l) is a choice of weights
on ∂ log p(x, z_k) at a fixed z_k, on the path z_k(φ) under a fixed q, and on ∂φ log q(z_k|x) at a fixed z_k.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from .. import threefry
from ..checks import check_count
from ..distributions import Distribution, has_closed_form_kl, is_reparameterized, kl_divergence
from ..model import VAE, Params
from ..names import check_name
from .bounds import GRADIENTS, Bound, LogWeights
from .checks import without_kl
from .example import Example, examples_of, over_samples
from .samples import Samples, draw
from .terms import Terms

Baseline = str | ArrayLike | None

_ON_THE_PATH = GRADIENTS[:3]


@without_kl
def negative_bound(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    bound: Bound,
    num_samples: int = 50,
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """Returns minus `bound` for ONE example x, in nats, and its `Terms`.

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example.
      vae: the model.
      bound: of `losses.elbo`, `iwae`, `renyi`, `miwae`, `piwae` or `ciwae`, or a `losses.Bound` of one's own.
      num_samples: K, the samples of all groups.
      gradient: one of `bound.gradients`. "pathwise" is the derivative of the bound, of any order. The others are first
        derivatives; with l the log-weights, V the bound and z_k stopped where not said otherwise,
        "sticking_the_landing": Σ_k ∂V/∂l_k ∂l_k along the path, under a fixed q;
        "doubly_reparameterized": that with ∂V/∂l_k − ∂²V/∂l_k² as the path's weight;
        "score_function": Σ_k (V(l) − baseline_k) ∂φ log q(z_k) + ∂V;
        "vimco": that, with V at the mean of the others in the place of l_k as the baseline;
        "naive": ∂V alone, which is wrong for φ (E9).
      baseline: for "score_function": None for 0, one number near the bound, or "leave_one_out" for V of the other
        samples of the group.

    Raises:
      ValueError: for a batch in place of one example, an illegal combination or argument, a gradient along the path
        where q is not reparameterised, or a log-density that is not a scalar.
      TypeError: for a raw uint32 key; for a second derivative of another gradient than "pathwise".

    Source: of the bounds, see each; Roeder et al. 2017, arXiv:1703.09194; Tucker et al. 2019, arXiv:1810.04152;
    Mnih and Rezende 2016, arXiv:1602.06725; Kool, van Hoof and Welling 2019, Buy 4 REINFORCE samples, get a baseline
    for free.
    """
    return estimate(params, key, x, vae=vae, bound=bound, num_samples=num_samples, gradient=gradient, baseline=baseline)


def estimate(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    bound: Bound,
    num_samples: int,
    gradient: str,
    baseline: Baseline,
    beta: Any = 1.0,
) -> tuple[Float[Array, ""], Terms]:
    """`negative_bound`, of log-weights whose log q(z|x) − log p(z) has the weight β."""
    num_samples = check_count(num_samples, "num_samples")
    if num_samples % bound.num_groups:
        raise ValueError(
            f"num_samples={num_samples} cannot be divided into num_groups={bound.num_groups} groups of the same size; "
            "it counts the samples of all groups"
        )
    _check_combination(bound, gradient, baseline, num_samples // bound.num_groups)
    at = examples_of(vae, params)(key, x)
    _check_path(at.q, gradient)
    samples = draw(at, threefry.split(key, num_samples))
    if gradient == "pathwise" and bound.theta_in_groups:
        return _bound_itself(at, bound, samples, beta)
    if gradient in _ON_THE_PATH:
        return _along_the_path(at, bound, gradient, samples, beta)
    return _by_the_score(at, bound, gradient, baseline, samples, beta)


def _bound_itself(at: Example, bound: Bound, samples: Samples, beta: Any) -> tuple[Float[Array, ""], Terms]:
    densities = samples.moving()
    if bound.kl is None:
        return -bound(densities.log_weights(beta)), at.terms(samples.z, densities, "pathwise")
    analytic = bound.kl == "analytic" or (bound.kl == "auto" and has_closed_form_kl(at.q, at.prior))
    terms = at.terms(samples.z, densities, "pathwise", kl=kl_divergence(at.q, at.prior) if analytic else None)
    return -terms.reconstruction + beta * terms.kl, terms


def _along_the_path(
    at: Example, bound: Bound, gradient: str, samples: Samples, beta: Any
) -> tuple[Float[Array, ""], Terms]:
    still = samples.at_fixed_z()
    log_weights = jax.lax.stop_gradient(still.log_weights(beta))
    for_theta, for_phi = jax.grad(bound)(log_weights), jax.grad(bound.of_groups)(log_weights)
    factors = jnp.ones_like(log_weights)
    if gradient == "doubly_reparameterized":
        second = _in_groups(bound, lambda l: jnp.diagonal(jax.hessian(bound.value)(l)), log_weights)
        used = for_phi != 0
        factors = jnp.where(used, 1 - second / jnp.where(used, for_phi, 1), 0)
    # With every gradient stopped these are the same numbers as `still`, and XLA computes them once.
    moving = samples.moving() if gradient == "pathwise" else samples.at_fixed_q(factors)
    if bound.theta_in_groups:
        surrogate = jnp.sum(for_phi * moving.log_weights(beta))
    else:
        # The derivative at a fixed z is θ's: it cancels between `moving` and `still`, whatever it is with respect to.
        joint = still.log_likelihood + beta * still.log_prior
        surrogate = jnp.sum(for_phi * (moving.log_weights(beta) - joint) + for_theta * joint)
    return -with_gradient_of(bound(log_weights), surrogate), at.terms(samples.z, moving, gradient)


def _by_the_score(
    at: Example, bound: Bound, gradient: str, baseline: Baseline, samples: Samples, beta: Any
) -> tuple[Float[Array, ""], Terms]:
    densities = samples.at_fixed_z()
    log_weights = jax.lax.stop_gradient(densities.log_weights(beta))
    score = -beta * jax.grad(bound.of_groups)(log_weights)
    if gradient != "naive":
        score += _in_groups(bound, lambda l: _signals(bound, gradient, baseline, l), log_weights)
    joint = densities.log_likelihood + beta * densities.log_prior
    surrogate = jnp.sum(jax.grad(bound)(log_weights) * joint) + jnp.sum(score * densities.log_posterior)
    return -with_gradient_of(bound(log_weights), surrogate), at.terms(samples.z, densities, gradient)


def _in_groups(bound: Bound, function: Any, log_weights: LogWeights) -> LogWeights:
    """`function` of each group's log-weights, over the number of groups."""
    groups = log_weights.reshape(bound.num_groups, -1)
    return over_samples(function, groups).ravel() / bound.num_groups


def _signals(bound: Bound, gradient: str, baseline: Baseline, log_weights: LogWeights) -> LogWeights:
    """Of each sample of a group: V, less what a baseline knows of it from the others alone."""
    size = log_weights.shape[0]
    if gradient == "vimco" or isinstance(baseline, str):
        others = log_weights[(np.arange(size)[:, None] + np.arange(1, size)) % size]  # row k: all but l_k
        if gradient == "vimco":
            others = jnp.concatenate([jnp.mean(others, axis=1, keepdims=True), others], axis=1)
        return bound.value(log_weights) - jax.vmap(bound.value)(others)

    def signals(l: LogWeights) -> LogWeights:
        whole = jnp.full_like(l, bound.value(l))
        return whole + bound.elbo_weight * (l / size - jnp.mean(l)) if bound.elbo_weight else whole

    if baseline is None:
        return signals(log_weights)
    return signals(log_weights) - signals(jnp.full_like(log_weights, jax.lax.stop_gradient(baseline)))


def _check_combination(bound: Bound, gradient: str, baseline: Baseline, group_size: int) -> None:
    """Raises `ValueError`, naming what is legal, for an estimator that has no meaning for the bound."""
    check_name(gradient, "gradient", GRADIENTS)
    if gradient not in bound.gradients:
        raise ValueError(f"negative_{bound.name} has no gradient {gradient!r}; it has {', '.join(bound.gradients)}")
    if bound.kl == "analytic" and gradient != "pathwise":
        raise ValueError(f"kl='analytic' goes with gradient='pathwise'; {gradient!r} needs 'auto' or 'monte_carlo'")
    if baseline is not None and gradient != "score_function":
        raise ValueError(f"gradient={gradient!r} takes no baseline; gradient='score_function' does")
    if isinstance(baseline, str):
        check_name(baseline, "baseline", ("leave_one_out",))
    elif baseline is not None and jnp.shape(baseline) != ():
        raise ValueError(f"baseline must be one number for the example, or 'leave_one_out'; got {jnp.shape(baseline)}")
    if (isinstance(baseline, str) or gradient == "vimco") and group_size < 2:
        raise ValueError(
            "a leave-one-out baseline needs at least two samples in every group; use more num_samples, or "
            "gradient='score_function' with baseline=None or a number"
        )


def _check_path(q: Distribution, gradient: str) -> None:
    """Raises `ValueError` where an estimator needs z as a differentiable function of φ, and it is none."""
    if gradient in _ON_THE_PATH and not is_reparameterized(q):
        raise ValueError(
            f"gradient={gradient!r} differentiates through z, but {type(q).__name__} is not reparameterised; use "
            "'score_function' or 'vimco'"
        )


@jax.custom_jvp
def with_gradient_of(value: Float[Array, ""], surrogate: Float[Array, ""]) -> Float[Array, ""]:
    """Returns `value`, with the first derivative of `surrogate`; a second one raises `TypeError`.

    Nothing of the surrogate is in the value: one of a thousand times its size would cost three digits of it, and an
    infinite one all of them.
    """
    return value


@with_gradient_of.defjvp
def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
    value, surrogate = primals
    return value, _once(surrogate) * tangents[1]


@jax.custom_jvp
def _once(surrogate: Float[Array, ""]) -> Float[Array, ""]:
    """1, which refuses to be differentiated."""
    return jnp.ones_like(surrogate)


@_once.defjvp
def _(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "this loss has a first derivative only: its gradient is an estimator, whose derivative is not the second "
        "derivative of the bound. Use gradient='pathwise' where Hessians are needed"
    )
