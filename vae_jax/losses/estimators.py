"""Gradient estimators, each one surrogate with stopped coefficients.

With l_k = log w_k of the samples stopped, every estimator of the gradient of a bound is a choice of a_k on
∂θ log p(x, z_k), of a weight on the path z_k(φ) under a frozen q, and of c_k on ∂φ log q(z_k|x), z_k stopped.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from ..distributions import Distribution, is_reparameterized
from ..keys import check_key
from ..model import VAE, Params
from ..names import check_name
from .checks import check_count, check_one_example
from .samples import Densities, densities, make_terms, over_samples
from .terms import Terms

LogWeights = Float[Array, " K"]
Baseline = str | ArrayLike | None

GRADIENTS = ("pathwise", "sticking_the_landing", "doubly_reparameterized", "score_function", "vimco", "naive")
_ON_THE_PATH = GRADIENTS[:3]


@dataclasses.dataclass(frozen=True)
class Bound:
    """A bound as a function of the log-weights l[K], and what its gradient estimators are made of.

    Attributes:
      name: as in `negative_<name>`.
      value: l -> the bound.
      theta: l -> a, the weights of ∂θ log p(x, z_k): ∂value/∂l.
      doubly: l -> r, by which the weights of the path change where the score is reparameterised too; None where it
        cannot be.
      signal: l -> s, the learning signals: E[Σ_k s_k ∂φ log q(z_k) + ∂φ value] is the gradient.
      others: l -> a guess of each s_k from the other samples alone, the leave-one-out baseline.
      vimco: l -> VIMCO's guess; None where the bound has none.
      phi: l -> b, the weights of the path; None where they are a.
      num_groups: M, into which the samples are divided.
    """

    name: str
    value: Callable[[LogWeights], Float[Array, ""]]
    theta: Callable[[LogWeights], LogWeights]
    doubly: Callable[[LogWeights], LogWeights] | None
    signal: Callable[[LogWeights], LogWeights]
    others: Callable[[LogWeights], LogWeights]
    vimco: Callable[[LogWeights], LogWeights] | None = None
    phi: Callable[[LogWeights], LogWeights] | None = None
    num_groups: int = 1

    @property
    def gradients(self) -> tuple[str, ...]:
        """The legal estimators."""
        without = {"vimco": self.vimco, "doubly_reparameterized": self.doubly}
        return tuple(name for name in GRADIENTS if without.get(name, name) is not None)


def bound_loss(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    bound: Bound,
    num_samples: int,
    gradient: str,
    baseline: Baseline = None,
    beta: Any = 1.0,
) -> tuple[Float[Array, ""], Terms]:
    """(−bound, terms), whose gradient is what the estimator defines.

    Raises:
      ValueError: for an illegal combination or argument, a batch in place of one example, a gradient along the path
        where q is not reparameterised, or a log-density that is not a scalar.
      TypeError: for a raw uint32 key.
    """
    check_key(key)
    num_samples = check_count(num_samples, "num_samples")
    if num_samples % bound.num_groups:
        raise ValueError(
            f"num_samples={num_samples} cannot be divided into num_groups={bound.num_groups} groups of the same size; "
            "it counts the samples of all groups"
        )
    check_combination(bound.name, bound.gradients, gradient, baseline, num_samples // bound.num_groups)
    q, prior = vae.encode(params, x), vae.prior(params)
    check_one_example(q, prior, key)
    check_path(q, gradient)
    z = over_samples(q.sample, jax.random.split(key, num_samples))
    # The same numbers with every gradient stopped: XLA computes them once.
    frozen = jax.lax.stop_gradient(params)
    still = jax.lax.stop_gradient(z)
    q_frozen = vae.encode(frozen, x)
    if gradient in _ON_THE_PATH:
        at, surrogate, log_weights = _along_path(params, frozen, x, vae, bound, gradient, q, q_frozen, z, still, beta)
    else:
        at = densities(vae, params, x, q, still)
        log_weights = jax.lax.stop_gradient(at.log_weights(beta))
        score = -beta * _phi(bound)(log_weights)
        if gradient != "naive":
            score += bound.signal(log_weights) - _baselines(bound, gradient, baseline, log_weights)
        joint = at.log_likelihood + beta * at.log_prior
        surrogate = jnp.sum(bound.theta(log_weights) * joint) + jnp.sum(score * at.log_posterior)
    return -with_gradient_of(bound.value(log_weights), surrogate), make_terms(q, prior, z, at)


def _along_path(
    params: Params,
    frozen: Params,
    x: Any,
    vae: VAE,
    bound: Bound,
    gradient: str,
    q: Distribution,
    q_frozen: Distribution,
    z: Any,
    still: Any,
    beta: Any,
) -> tuple[Densities, Float[Array, ""], LogWeights]:
    density = q if gradient == "pathwise" else q_frozen
    if gradient == "doubly_reparameterized" and bound.doubly is not None:
        first = densities(vae, frozen, x, q_frozen, still).log_weights(beta)
        z = over_samples(lambda pair: _scale_gradient(*pair), (z, jax.lax.stop_gradient(bound.doubly(first))))
    at = densities(vae, params, x, density, z)
    log_weights = jax.lax.stop_gradient(at.log_weights(beta))
    if bound.phi is None:
        return at, jnp.sum(bound.theta(log_weights) * at.log_weights(beta)), log_weights
    # θ and φ have bounds of their own: one surrogate each.
    for_theta = densities(vae, params, x, q_frozen, still)
    for_phi = densities(vae, frozen, x, density, z)
    joint = for_theta.log_likelihood + for_theta.log_prior
    return (
        at,
        jnp.sum(bound.theta(log_weights) * joint) + jnp.sum(bound.phi(log_weights) * for_phi.log_weights()),
        log_weights,
    )


def _phi(bound: Bound) -> Callable[[LogWeights], LogWeights]:
    return bound.theta if bound.phi is None else bound.phi


def _baselines(bound: Bound, gradient: str, baseline: Baseline, log_weights: LogWeights) -> Any:
    if gradient == "vimco" and bound.vimco is not None:
        return bound.vimco(log_weights)
    if baseline is None:
        return 0.0
    if isinstance(baseline, str):
        return bound.others(log_weights)
    # An array stands for the log-weights that it expects.
    return bound.signal(jnp.full_like(log_weights, jax.lax.stop_gradient(baseline)))


def check_combination(name: str, legal: Sequence[str], gradient: str, baseline: Baseline, group_size: int) -> None:
    """Raises `ValueError`, naming what is legal, for an estimator that has no meaning for the bound."""
    check_name(gradient, "gradient", GRADIENTS)
    if gradient not in legal:
        raise ValueError(f"negative_{name} has no gradient {gradient!r}; it has {', '.join(legal)}")
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


def check_path(q: Distribution, gradient: str) -> None:
    """Raises `ValueError` where an estimator needs z as a differentiable function of φ, and it is none."""
    if gradient in _ON_THE_PATH and not is_reparameterized(q):
        raise ValueError(
            f"gradient={gradient!r} differentiates through z, but {type(q).__name__} is not reparameterised; use "
            "'score_function' or 'vimco'"
        )


def with_gradient_of(value: Float[Array, ""], surrogate: Float[Array, ""]) -> Float[Array, ""]:
    """`value`, with the gradient of `surrogate`.

    Not value − surrogate + surrogate: a surrogate of a thousand times the value would cost three digits of it.
    """
    return jax.lax.stop_gradient(value) + (surrogate - jax.lax.stop_gradient(surrogate))


@jax.custom_vjp
def _scale_gradient(z: Any, factor: Float[Array, ""]) -> Any:
    """z; its gradient times `factor`. On z rather than on the parameters, whose gradients would be per example."""
    return z


_scale_gradient.defvjp(
    lambda z, factor: (z, factor),
    lambda factor, cotangent: (jax.tree.map(lambda leaf: leaf * factor, cotangent), jnp.zeros_like(factor)),
)
