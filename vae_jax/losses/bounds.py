"""Bounds on the evidence as functions of the log-weights."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..checks import check_count
from ..names import check_name

LogWeights = Float[Array, " K"]

GRADIENTS = ("pathwise", "sticking_the_landing", "doubly_reparameterized", "score_function", "vimco", "naive")
_KL_KINDS = ("auto", "analytic", "monte_carlo")
# Beyond it exp(s l) is 0 or 1 for every l that float32 tells apart; 10³⁹ is infinite in float32.
_LARGEST_POWER = 1e30


@dataclasses.dataclass(frozen=True)
class Bound:
    """The mean over M groups of V(l), l being the log-weights of a group's samples; for `negative_bound`.

    Every gradient estimator follows from V. Equal bounds of one V compile once.

    Attributes:
      value: V: l[K] -> a scalar in nats, for any K ≥ 1, in operations of `jax.numpy`. V(l) ≤ log p(x) in expectation
        makes it a lower bound; V of equal log-weights should be their value.
      name: as in `negative_<name>`.
      num_groups: M, into which the samples are divided.
      theta_in_groups: whether θ's gradient is of that mean too; else it is of V of all samples, and so is the value.
      twice_differentiable: whether V is, which the doubly reparameterised gradient needs.
      elbo_weight: λ, where V(l) is λ times the mean of l and something else. The other samples' part of that mean is
        then left out of a sample's learning signal, which has K² times the variance with it.
      kl: how the KL of an ELBO is had, as in `negative_elbo`; None for all other bounds.
    """

    value: Callable[[LogWeights], Float[Array, ""]]
    name: str = "bound"
    num_groups: int = 1
    theta_in_groups: bool = True
    twice_differentiable: bool = True
    elbo_weight: float = 0.0
    kl: str | None = None

    def __post_init__(self) -> None:
        check_count(self.num_groups, "num_groups")
        if self.kl is not None:
            check_name(self.kl, "kl", _KL_KINDS)

    @property
    def gradients(self) -> tuple[str, ...]:
        """The legal estimators."""
        return tuple(name for name in GRADIENTS if self.twice_differentiable or name != "doubly_reparameterized")

    def of_groups(self, log_weights: LogWeights) -> Float[Array, ""]:
        """The mean over the groups of V."""
        if self.num_groups == 1:
            return self.value(log_weights)
        return jnp.mean(jax.vmap(self.value)(log_weights.reshape(self.num_groups, -1)))

    def __call__(self, log_weights: LogWeights) -> Float[Array, ""]:
        """The bound: its value, of which θ's gradient is."""
        return self.of_groups(log_weights) if self.theta_in_groups else self.value(log_weights)


def elbo(kl: str = "auto") -> Bound:
    """Returns the ELBO, the mean of l; see `negative_elbo` for `kl`.

    Source: Kingma and Welling 2014, arXiv:1312.6114, equations 3 and 7.
    """
    return Bound(_PowerMean(0.0), "elbo", elbo_weight=1.0, kl=kl)


def iwae() -> Bound:
    """Returns the importance-weighted bound log (1/K) Σ_k exp l_k; see `negative_iwae`.

    Source: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8.
    """
    return Bound(_PowerMean(1.0), "iwae")


def renyi(alpha: float) -> Bound:
    """Returns 1/(1−α) log (1/K) Σ_k exp((1−α) l_k), the ELBO at α = 1; see `negative_renyi`.

    Raises:
      ValueError: for an α that is no number.

    Source: Li and Turner 2016, arXiv:1602.02311, equations 5 and 9.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or math.isnan(alpha):
        raise ValueError(f"alpha must be a Python number, finite or ±inf, got {alpha!r}")
    smooth = not math.isinf(alpha)
    return Bound(_PowerMean(1.0 - alpha), "renyi", twice_differentiable=smooth, elbo_weight=float(alpha == 1))


def miwae(num_groups: int = 8) -> Bound:
    """Returns the mean of M IWAE bounds; see `negative_miwae`.

    Source: Rainforth et al. 2018, arXiv:1802.04537, equation 8.
    """
    return Bound(_PowerMean(1.0), "miwae", num_groups)


def piwae(num_groups: int = 8) -> Bound:
    """Returns the IWAE bound of all samples for θ, and the mean of M of them for φ; see `negative_piwae`.

    Source: Rainforth et al. 2018, arXiv:1802.04537, section 5.
    """
    return Bound(_PowerMean(1.0), "piwae", num_groups, theta_in_groups=False)


def ciwae(elbo_weight: float = 0.5) -> Bound:
    """Returns λ ELBO + (1 − λ) IWAE bound; see `negative_ciwae`.

    Raises:
      ValueError: for a λ outside [0, 1].

    Source: Rainforth et al. 2018, arXiv:1802.04537, equation 9.
    """
    if not 0 <= elbo_weight <= 1:
        raise ValueError(f"elbo_weight must lie in [0, 1], got {elbo_weight!r}")
    return Bound(_Mixture(float(elbo_weight)), "ciwae", elbo_weight=float(elbo_weight))


def legal_combinations() -> dict[str, tuple[str, ...]]:
    """Returns, for each bound, a name as in `negative_<name>`, the gradients it has.

    "renyi" is for a finite α. The wake-sleep and thermodynamic objectives define their own gradients. Of all,
    "score_function" takes a baseline.
    """
    return {bound.name: bound.gradients for bound in (elbo(), iwae(), renyi(0.5), miwae(), piwae(), ciwae())}


@dataclasses.dataclass(frozen=True)
class _PowerMean:
    """1/s log (1/K) Σ_k exp(s l_k): for s = 0 the mean of l, for s = ∞ and −∞ their largest and smallest."""

    power: float

    def __call__(self, log_weights: LogWeights) -> Float[Array, ""]:
        extreme = (jnp.max if self.power >= 0 else jnp.min)(log_weights)
        if math.isinf(self.power):
            return extreme
        # A shift alone: what it adds to the value it takes from the sum. An infinite one is the value itself.
        extreme = jax.lax.stop_gradient(extreme)
        infinite = jnp.isinf(extreme)
        shifted = jnp.where(infinite, 0, log_weights - jnp.where(infinite, 0, extreme))
        if self.power == 0:
            return extreme + jnp.mean(shifted)
        power = max(-_LARGEST_POWER, min(self.power, _LARGEST_POWER))
        # Of numbers below 0, so that near s = 0, where all exp(s l) are 1 to rounding, no digits cancel.
        below = jnp.mean(jnp.expm1(power * shifted))
        near = below > -0.5
        mean = jnp.where(near, 1, jnp.mean(jnp.exp(power * shifted)))
        return extreme + jnp.where(near, jnp.log1p(jnp.where(near, below, 0)), jnp.log(mean)) / power


@dataclasses.dataclass(frozen=True)
class _Mixture:
    """λ times the mean of l, and 1 − λ times its log-mean-exp."""

    elbo_weight: float

    def __call__(self, log_weights: LogWeights) -> Float[Array, ""]:
        if self.elbo_weight in (0, 1):  # 0 · −∞ is no number
            return _PowerMean(1.0 - self.elbo_weight)(log_weights)
        return self.elbo_weight * _PowerMean(0.0)(log_weights) + (1 - self.elbo_weight) * _PowerMean(1.0)(log_weights)
