"""Bounds on log p(x) from below and above, by annealed importance sampling."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import parallel
from ..checks import check_count
from ..distributions import Distribution
from ..distributions.protocol import stated_reparameterized
from ..extras import needed_for
from ..keys import check_key
from ..losses.example import Example, examples_of
from ..model import VAE, Params
from ..names import check_name
from .checks import check_examples, check_support

_STARTS = ("prior", "posterior")
# Beskos et al. 2013, Bernoulli 19(5A): the most efficient acceptance of HMC tends to 0.651 in high dimensions.
_TARGET_ACCEPTANCE = 0.65
_PILOT_CHAINS = 8
_PILOT_TRANSITIONS = 100
_FIRST_STEP_SIZE = 0.5
_GAIN = 0.5

_LogDensity = Callable[[Any], Float[Array, ""]]


class AnnealedEvidence(NamedTuple):
    """Estimates for each of n examples, in nats.

    Attributes:
      value: log (1/K) Σ w_k over the chains, a stochastic lower bound on log p(x).
      standard_error: of `value`, by the delta method over the chains; NaN for K = 1.
      effective_sample_size: (Σ w)² / Σ w², between 1 and K; near 1, neither of the two above is to be trusted.
      acceptance: the mean probability that a transition was accepted; NaN for one temperature, which has none.
    """

    value: Float[Array, " n"]
    standard_error: Float[Array, " n"]
    effective_sample_size: Float[Array, " n"]
    acceptance: Float[Array, " n"]


class BidirectionalEvidence(NamedTuple):
    """Bounds on log p(x) of n simulated examples, in nats.

    The chains behind one `upper` share their start, so their spread is not its error: take errors over examples,
    mean(upper − lower) ± std(upper − lower) / √n for one.

    Attributes:
      xs: the examples, x ~ p(x).
      lower: a stochastic lower bound, `AnnealedEvidence.value`.
      lower_standard_error: of `lower`, by the delta method over the chains; NaN for one chain.
      lower_acceptance: the mean acceptance of the chains from the start to p(z|x).
      upper: −log (1/K) Σ 1/w_k over the chains from p(z|x) back, a stochastic upper bound.
      upper_acceptance: their mean acceptance.
    """

    xs: Any
    lower: Float[Array, " n"]
    lower_standard_error: Float[Array, " n"]
    lower_acceptance: Float[Array, " n"]
    upper: Float[Array, " n"]
    upper_acceptance: Float[Array, " n"]


class _Schedule(NamedTuple):
    """T increments of β, and the transitions between them: T − 1 inverse temperatures β with their step sizes."""

    increments: Float[Array, " T"]
    temperatures: Float[Array, " between"]
    step_sizes: Float[Array, " between"]


def annealed_log_evidence(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    num_leapfrog: int = 10,
    start: str = "prior",
    chunk_size: int = 500,
    mesh: jax.sharding.Mesh | None = None,
) -> AnnealedEvidence:
    """log p(x) of each example by annealed importance sampling, in nats.

    Along π_β(z) ∝ p₀(z)^(1−β) p(x, z)^β with 0 = β_0 < … < β_T = 1, from z_0 ~ p₀ and z_t from z_{t−1} by a
    transition of Hamiltonian Monte Carlo that leaves π_{β_t} invariant,
    log w = Σ_t (β_t − β_{t−1}) (log p(x, z_{t−1}) − log p₀(z_{t−1})).

    E[w] = p(x), for any T and any step sizes. So `value`, the log of a mean of w, is a lower bound in expectation, and
    with high probability: it exceeds log p(x) + b with probability at most exp(−b). The step sizes, one for each
    temperature and example, come from a pilot run of its own chains and are frozen: chains that adapted to their own
    history would lose this. β is sigmoidal in t, dense near both ends. z is taken to range over all reals.

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`.
      xs: n examples, with a leading axis.
      vae: the model.
      num_temperatures: T, at least 1; T = 1 is importance sampling from p₀.
      num_chains: K, at least 1, independent of each other.
      num_leapfrog: steps of a transition's trajectory.
      start: p₀: "prior" for p(z), "posterior" for the approximate one, q(z|x).
      chunk_size: chains computed at once.
      mesh: the devices among which the examples are divided; by default one computes all.

    Raises:
      ValueError: for a count below 1, an unknown `start`, keys and examples of different number, examples that are not
        finite, or a discrete latent.
      TypeError: for raw uint32 keys.

    Source: Neal 2001, Statistics and Computing 11, arXiv:physics/9803008; HMC: Neal 2011, arXiv:1206.1901; for
    decoders, and the schedule: Wu, Burda, Salakhutdinov and Grosse 2017, arXiv:1611.04273.
    """
    options = _check_options(num_temperatures, num_chains, num_leapfrog, start, chunk_size)
    check_examples(keys, xs, "annealed_log_evidence")
    check_support(params, xs, vae)
    return _annealed(*parallel.replicate((params, keys, xs), mesh), vae=vae, mesh=mesh, **options)


def bidirectional_log_evidence(
    params: Params,
    keys: Key[Array, " n"],
    *,
    vae: VAE,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    num_leapfrog: int = 10,
    start: str = "prior",
    chunk_size: int = 500,
    mesh: jax.sharding.Mesh | None = None,
) -> BidirectionalEvidence:
    """Bounds on log p(x) from both sides, in nats, for data that the model simulates: z ~ p(z), x ~ p(x|z) for a key.

    That z is an exact draw from p(z|x). Annealing from it back to p₀, through the transitions of
    `annealed_log_evidence` in reverse, gives weights with E[1/w | x] = 1/p(x), and `upper` = −log (1/K) Σ 1/w_k. Given
    x, E[lower] <= log p(x) <= E[upper], and each is on the wrong side by more than b with probability at most exp(−b).
    For one x `upper` may lie below `lower`; mean(upper − lower) bounds the error of either on such data, and closes as
    T grows. How far real data are like them is for the user to judge.

    Args:
      params: the model's parameters.
      keys: one typed key per example to simulate.
      vae: the model.
      num_temperatures: T, at least 1.
      num_chains: K, at least 1, for either direction.
      num_leapfrog: steps of a transition's trajectory.
      start: p₀: "prior" for p(z), "posterior" for the approximate one, q(z|x).
      chunk_size: chains computed at once.
      mesh: the devices among which the examples are divided; by default one computes all.

    Raises:
      ValueError: for a count below 1, an unknown `start`, no axis of keys, a conditional VAE, or a discrete latent.
      TypeError: for raw uint32 keys.

    Source: Grosse, Ghahramani and Adams 2015, arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273.
    """
    options = _check_options(num_temperatures, num_chains, num_leapfrog, start, chunk_size)
    if np.ndim(keys) == 0:
        raise ValueError("bidirectional_log_evidence needs an axis of keys, one for each example to simulate")
    if vae.given is not None:
        raise ValueError(
            "bidirectional_log_evidence simulates x, and a conditional VAE's x needs a c: give it one with "
            "vae=vae_jax.condition(vae, c)"
        )
    return _bidirectional(*parallel.replicate((params, keys), mesh), vae=vae, mesh=mesh, **options)


def _check_options(
    num_temperatures: int, num_chains: int, num_leapfrog: int, start: str, chunk_size: int
) -> dict[str, Any]:
    check_name(start, "start", _STARTS)
    return {
        "num_temperatures": check_count(num_temperatures, "num_temperatures"),
        "num_chains": check_count(num_chains, "num_chains"),
        "num_leapfrog": check_count(num_leapfrog, "num_leapfrog"),
        "start": start,
        "chunk_size": check_count(chunk_size, "chunk_size"),
    }


_STATIC = ("num_temperatures", "num_chains", "num_leapfrog", "start", "chunk_size", "mesh")


@partial(jax.jit, static_argnames=_STATIC)
def _annealed(params, keys, xs, *, mesh: jax.sharding.Mesh | None, **options: Any) -> AnnealedEvidence:
    # Reduced-precision matrix products would break both the weights and the Metropolis correction.
    with jax.default_matmul_precision("highest"):
        return parallel.over_devices(partial(_annealed_examples, **options), mesh)(params, keys, xs)


def _annealed_examples(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    num_temperatures: int,
    num_chains: int,
    num_leapfrog: int,
    start: str,
    chunk_size: int,
) -> AnnealedEvidence:
    at = examples_of(vae, params)

    def one(example: tuple[Key[Array, ""], Any]) -> AnnealedEvidence:
        key, x = example
        base, log_ratio = _path(at(key, x), start)
        pilot_key, z_key, chains_key = jax.random.split(key, 3)
        schedule = _pilot(pilot_key, base, log_ratio, num_temperatures, num_leapfrog)
        z = jax.vmap(base.sample)(jax.random.split(z_key, num_chains))
        anneal = partial(_anneal, base=base, log_ratio=log_ratio, num_leapfrog=num_leapfrog)
        log_weights, acceptance = jax.vmap(anneal, (0, 0, None))(jax.random.split(chains_key, num_chains), z, schedule)
        return AnnealedEvidence(*_log_mean(log_weights), jnp.mean(acceptance))

    return jax.lax.map(one, (keys, xs), batch_size=max(1, chunk_size // num_chains))


@partial(jax.jit, static_argnames=_STATIC)
def _bidirectional(params, keys, *, mesh: jax.sharding.Mesh | None, **options: Any) -> BidirectionalEvidence:
    with jax.default_matmul_precision("highest"):
        return parallel.over_devices(partial(_simulated_examples, **options), mesh)(params, keys)


def _simulated_examples(
    params: Params,
    keys: Key[Array, " n"],
    *,
    vae: VAE,
    num_temperatures: int,
    num_chains: int,
    num_leapfrog: int,
    start: str,
    chunk_size: int,
) -> BidirectionalEvidence:
    prior = vae.prior(params)
    at = examples_of(dataclasses.replace(vae, prior=lambda params: prior), params)

    def one(key: Key[Array, ""]) -> BidirectionalEvidence:
        check_key(key)
        exact_key, x_key, pilot_key, z_key, chains_key = jax.random.split(key, 5)
        exact_z = prior.sample(exact_key)
        x = vae.decode(params, exact_z).sample(x_key)
        base, log_ratio = _path(at(key, x), start)
        # It sees x but not the exact z, from which the chains back would otherwise be no longer invariant.
        schedule = _pilot(pilot_key, base, log_ratio, num_temperatures, num_leapfrog)
        z = jax.vmap(base.sample)(jax.random.split(z_key, num_chains))
        starts = jax.tree.map(lambda leaf, e: jnp.stack([leaf, jnp.broadcast_to(e, leaf.shape)]), z, exact_z)
        schedules = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), schedule)
        anneal = partial(_anneal, base=base, log_ratio=log_ratio, num_leapfrog=num_leapfrog)
        both_ways = jax.vmap(jax.vmap(anneal, (0, 0, None)))
        log_weights, acceptance = both_ways(jax.random.split(chains_key, (2, num_chains)), starts, schedules)
        lower, error, _ = _log_mean(log_weights[0])
        upper = -_log_mean(-log_weights[1])[0]
        return BidirectionalEvidence(x, lower, error, jnp.mean(acceptance[0]), upper, jnp.mean(acceptance[1]))

    return jax.lax.map(one, keys, batch_size=max(1, chunk_size // (2 * num_chains)))


def _path(of_x: Example, start: str) -> tuple[Distribution, _LogDensity]:
    """p₀, and z -> log p(x, z) − log p₀(z)."""
    # A mixture is a continuous prior that is not reparameterised; a reparameterised q(z|x) then shows that z is real.
    if not stated_reparameterized(of_x.prior) and not stated_reparameterized(of_x.q):
        raise ValueError(
            "annealing moves z by Hamiltonian Monte Carlo, which needs a continuous latent: neither q(z|x) nor the "
            "prior is reparameterised. Use log_evidence, or state `reparameterized = True` on the class of one that is"
        )
    if start == "posterior":
        return of_x.q, lambda z: of_x.densities(z).log_weights()
    return of_x.prior, lambda z: of_x.densities(z).log_likelihood


def _temperatures(num_temperatures: int) -> np.ndarray:
    """β_t = (σ(4(2t/T − 1)) − σ(−4)) / (σ(4) − σ(−4)), t = 0…T, in float64."""
    beta = 1 / (1 + np.exp(-np.linspace(-4, 4, num_temperatures + 1)))
    return (beta - beta[0]) / (beta[-1] - beta[0])


def _transition(
    key: Key[Array, ""], z: Any, log_density: _LogDensity, step_size: Float[Array, ""], num_leapfrog: int
) -> tuple[Any, Float[Array, ""]]:
    """One transition of HMC, with its probability of acceptance."""
    with needed_for("annealing"):
        from blackjax.mcmc import hmc  # takes half a second, which `import vae_jax.evaluation` must not

    jitter_key, hmc_key = jax.random.split(key)
    # A step size of random length keeps a trajectory from ending, time and again, where it began.
    step_size = step_size * jax.random.uniform(jitter_key, (), step_size.dtype, 0.8, 1.2)
    leaves = jax.tree.leaves(z)
    inverse_mass = jnp.ones(sum(leaf.size for leaf in leaves), jnp.result_type(*leaves))
    kernel: Any = hmc.build_kernel()  # which is annotated with floats for arrays
    state, info = kernel(hmc_key, hmc.init(z, log_density), log_density, step_size, inverse_mass, num_leapfrog)
    return state.position, info.acceptance_rate


def _anneal(
    key: Key[Array, ""],
    z: Any,
    schedule: _Schedule,
    *,
    base: Distribution,
    log_ratio: _LogDensity,
    num_leapfrog: int,
) -> tuple[Float[Array, ""], Float[Array, " between"]]:
    """log w of one chain, and the acceptances. HMC is reversible, so a schedule from its end is the way back."""

    def step(carry, at):
        z, log_weight = carry
        number, increment, beta, step_size = at
        log_density = lambda z: base.log_prob(z) + beta * log_ratio(z)
        z, acceptance = _transition(jax.random.fold_in(key, number), z, log_density, step_size, num_leapfrog)
        return (z, log_weight + increment * log_ratio(z)), acceptance

    numbers = jnp.arange(len(schedule.temperatures))
    first = schedule.increments[0] * log_ratio(z)
    per_step = (numbers, schedule.increments[1:], schedule.temperatures, schedule.step_sizes)
    (_, log_weight), acceptances = jax.lax.scan(step, (z, first), per_step)
    return log_weight, acceptances


def _pilot(
    key: Key[Array, ""], base: Distribution, log_ratio: _LogDensity, num_temperatures: int, num_leapfrog: int
) -> _Schedule:
    """Step sizes that some chains of their own found on their way, by stochastic approximation.

    A short schedule is walked more slowly, so that the step size has the time to follow.
    """
    z_key, key = jax.random.split(key)
    z = jax.vmap(base.sample)(jax.random.split(z_key, _PILOT_CHAINS))
    dtype = jax.eval_shape(log_ratio, jax.tree.map(lambda leaf: leaf[0], z)).dtype
    beta = _temperatures(num_temperatures)
    temperatures = beta[1:-1].astype(dtype)
    repeats = -(-_PILOT_TRANSITIONS // num_temperatures)

    def step(carry, at):
        z, log_step_size = carry
        number, beta = at
        log_density = lambda z: base.log_prob(z) + beta * log_ratio(z)
        keys = jax.random.split(jax.random.fold_in(key, number), _PILOT_CHAINS)
        move = lambda key, z: _transition(key, z, log_density, jnp.exp(log_step_size), num_leapfrog)
        z, acceptance = jax.vmap(move)(keys, z)
        log_step_size = log_step_size + _GAIN * (jnp.mean(acceptance) - _TARGET_ACCEPTANCE)
        return (z, log_step_size), log_step_size

    slowly = jnp.repeat(jnp.asarray(temperatures), repeats)
    first = jnp.asarray(math.log(_FIRST_STEP_SIZE), dtype)
    _, log_step_sizes = jax.lax.scan(step, (z, first), (jnp.arange(len(slowly)), slowly))
    return _Schedule(
        jnp.asarray(np.diff(beta), dtype), jnp.asarray(temperatures), jnp.exp(log_step_sizes[repeats - 1 :: repeats])
    )


def _log_mean(log_weights: Float[Array, " K"]) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """log (1/K) Σ w, its standard error by the delta method, and (Σ w)² / Σ w²."""
    num_chains = len(log_weights)
    inverse_ess = jnp.sum(jax.nn.softmax(log_weights) ** 2)
    relative_variance = jnp.maximum(num_chains * inverse_ess - 1, 0) / (num_chains - 1 or jnp.nan)
    value = jax.nn.logsumexp(log_weights) - math.log(num_chains)
    return value, jnp.sqrt(relative_variance), 1 / inverse_ess
