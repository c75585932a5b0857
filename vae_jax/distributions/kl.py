"""Kullback–Leibler divergences in closed form (E6)."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..precision import at_least_float32
from .normal import DiagonalNormal, MultivariateNormal
from .protocol import Distribution, density_classes


class _Rule(NamedTuple):
    function: Callable[..., Array]
    factorises: bool


_RULES: dict[tuple[type, type], _Rule] = {}


def register_kl(q_type: type, p_type: type, *, factorises: bool = False) -> Callable[[Callable], Callable]:
    """Decorates a function (q, p) -> KL(q ‖ p) in nats, to be used for this pair of types.

    It is used for their subclasses too, save those with a `log_prob` of their own: of several rules that of the class
    nearest to q's, then to p's.

    With `factorises` the function returns the KL of each dimension, which is summed where a total is wanted.
    """

    def register(function: Callable) -> Callable:
        _RULES[q_type, p_type] = _Rule(function, factorises)
        return function

    return register


def has_closed_form_kl(q: Distribution, p: Distribution) -> bool:
    """Whether `kl_divergence(q, p)` knows this pair."""
    return _find(q, p) is not None


def kl_divergence(q: Distribution, p: Distribution) -> Float[Array, ""]:
    """KL(q ‖ p) = E_q[log q(z) − log p(z)] in closed form, in nats, summed over the event (E6).

    Raises:
      ValueError: where no closed form is registered for the pair, or the event shapes differ.
    """
    return jnp.sum(_rule(q, p).function(q, p))


def kl_per_dimension(q: Distribution, p: Distribution) -> Float[Array, "..."] | None:
    """The KL of each dimension, in nats; None unless q and p factorise with a closed form (E6)."""
    if not has_closed_form_kl(q, p) or not (rule := _rule(q, p)).factorises:
        return None
    return rule.function(q, p)


def _find(q: Distribution, p: Distribution) -> _Rule | None:
    pairs = itertools.product(density_classes(q), density_classes(p))
    return next((_RULES[pair] for pair in pairs if pair in _RULES), None)


def _rule(q: Distribution, p: Distribution) -> _Rule:
    rule = _find(q, p)
    if rule is None:
        raise ValueError(
            f'no closed form is known for KL({type(q).__name__} ‖ {type(p).__name__}): use kl="monte_carlo" '
            "in the loss, or add one with distributions.register_kl"
        )
    q_shape, p_shape = getattr(q, "event_shape", None), getattr(p, "event_shape", None)
    if q_shape != p_shape:
        raise ValueError(f"KL between events of different shapes: q has {q_shape}, p has {p_shape}")
    return rule


@register_kl(DiagonalNormal, DiagonalNormal, factorises=True)
def _diagonal_diagonal(q: DiagonalNormal, p: DiagonalNormal) -> Float[Array, "*event"]:
    q_mean, q_scale, p_mean, p_scale = at_least_float32(q.mean, q.scale, p.mean, p.scale)
    ratio = jnp.broadcast_to(q_scale / p_scale, q.event_shape)
    # Not log(ratio), which is −∞, with a NaN for its gradient, where the ratio of two good scales underflows.
    log_ratio = jnp.broadcast_to(jnp.log(q_scale) - jnp.log(p_scale), q.event_shape)
    return 0.5 * (ratio**2 - 1.0 + ((q_mean - p_mean) / p_scale) ** 2) - log_ratio


@register_kl(MultivariateNormal, MultivariateNormal)
def _full_full(q: MultivariateNormal, p: MultivariateNormal) -> Float[Array, ""]:
    q_mean, q_tril, p_mean, p_tril = at_least_float32(q.mean, q.scale_tril, p.mean, p.scale_tril)
    whitened = jax.scipy.linalg.solve_triangular(p_tril, jnp.column_stack([q_tril, q_mean - p_mean]), lower=True)
    log_det_ratio = jnp.sum(jnp.log(jnp.diag(p_tril)) - jnp.log(jnp.diag(q_tril)))
    return 0.5 * (jnp.sum(whitened**2) - q_mean.size) + log_det_ratio


@register_kl(MultivariateNormal, DiagonalNormal)
def _full_diagonal(q: MultivariateNormal, p: DiagonalNormal) -> Float[Array, ""]:
    return _full_full(q, _as_full(p))


@register_kl(DiagonalNormal, MultivariateNormal)
def _diagonal_full(q: DiagonalNormal, p: MultivariateNormal) -> Float[Array, ""]:
    return _full_full(_as_full(q), p)


def _as_full(d: DiagonalNormal) -> MultivariateNormal:
    return MultivariateNormal(d.mean, jnp.diag(jnp.broadcast_to(d.scale, d.event_shape)))
