"""Schedules of the learning rate and of β, and the optimiser they drive."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import optax

from ..checks import check_count
from ..expressions import Role, make
from ..names import check_name

OPTIMIZERS = Role(
    "optimizer",
    optax.GradientTransformation,
    {
        "adabelief": optax.adabelief,
        "adam": optax.adam,
        "adamax": optax.adamax,
        "adamw": optax.adamw,
        "lion": optax.lion,
        "rmsprop": optax.rmsprop,
        "sgd": optax.sgd,
    },
)
LEARNING_RATE_SCHEDULES = ("constant", "cosine", "linear")


def learning_rate_schedule(name: str, *, learning_rate: float, num_steps: int, warmup_steps: int = 0) -> optax.Schedule:
    """A linear rise from 0 over `warmup_steps`, then "constant", or "cosine" or "linear" decay to 0 at `num_steps`.

    Raises:
      ValueError: for an unknown name, or a warm-up that leaves no step.
    """
    check_name(name, "learning-rate schedule", LEARNING_RATE_SCHEDULES)
    if not 0 <= warmup_steps < num_steps:
        raise ValueError(f"warmup_steps must be at least 0 and below num_steps {num_steps}, got {warmup_steps}")
    rest = num_steps - warmup_steps
    after = {
        "constant": lambda: optax.constant_schedule(learning_rate),
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, rest),
        "linear": lambda: optax.linear_schedule(learning_rate, 0.0, rest),
    }[name]()
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup_steps), after], [warmup_steps])


def linear_beta(anneal_steps: int, beta: int | float = 1.0) -> optax.Schedule:
    """Returns the schedule of a β that rises from 0 to `beta` over `anneal_steps` and stays there.

    Raises:
      ValueError: for fewer than one step, or a β that is negative or not finite.

    Source: Sønderby et al. 2016, arXiv:1602.02282.
    """
    return _rising(anneal_steps, beta, cycles=1, rising=1.0)


def cyclical_beta(anneal_steps: int, beta: int | float = 1.0, num_cycles: int = 4) -> optax.Schedule:
    """Returns the schedule of a β in `num_cycles` equal cycles within `anneal_steps`, and of `beta` afterwards.

    Each cycle rises from 0 to `beta` in its first half and stays there in its second.

    Raises:
      ValueError: for fewer than one step a cycle, or a β that is negative or not finite.

    Source: Fu et al. 2019, arXiv:1903.10145, with R = 0.5.
    """
    return _rising(anneal_steps, beta, cycles=num_cycles, rising=0.5)


BETA_SCHEDULES = Role("β schedule", Callable, {"linear": linear_beta, "cyclical": cyclical_beta})


def beta_schedule(beta: int | float | str) -> optax.Schedule:
    """Returns β of the KL as a function of the step: "0.5", a constant, or an expression, "linear(1000, beta=4.0)".

    Raises:
      ValueError: for an unknown schedule or argument, with the nearest, or a β that is negative or not finite.
    """
    try:
        constant = float(beta)
    except ValueError:
        return make(beta, BETA_SCHEDULES)
    return optax.constant_schedule(_checked(constant))


def _checked(beta: int | float) -> float:
    if not isinstance(beta, int | float) or not 0 <= beta < math.inf:
        raise ValueError(f"beta must be at least 0 and finite, got {beta}")
    return beta


def _rising(anneal_steps: int, beta: int | float, *, cycles: int, rising: float) -> optax.Schedule:
    beta, cycles = _checked(beta), check_count(cycles, "num_cycles")
    anneal_steps = check_count(anneal_steps, "anneal_steps", cycles)
    per_cycle, left = divmod(anneal_steps, cycles)

    def schedule(step):
        # step · cycles modulo anneal_steps, of terms that an int32 holds beyond 5e8 steps too.
        position = step % per_cycle * cycles - step // per_cycle * left
        position = jnp.where(step < anneal_steps, jnp.mod(position, anneal_steps) / anneal_steps, 1.0)
        return beta * jnp.minimum(position / rising, 1.0)

    return schedule


def make_optimizer(
    optimizer: str, learning_rate: optax.ScalarOrSchedule, *, clip_norm: float | None = None
) -> optax.GradientTransformation:
    """Returns an optimiser of Optax, after clipping of the gradient's global norm to `clip_norm` where given.

    Args:
      optimizer: an expression, "adam" or "adamw(weight_decay=0.01)", of those in `training.OPTIMIZERS`.
      learning_rate: a number or a schedule.
      clip_norm: the largest global norm of a gradient.

    Raises:
      ValueError: for an unknown name or argument (with the nearest), or a `clip_norm` that is not positive.
    """
    transformation = make(optimizer, OPTIMIZERS, learning_rate=learning_rate)
    if clip_norm is None:
        return transformation
    if not 0 < clip_norm < math.inf:
        raise ValueError(f"clip_norm must be positive and finite, got {clip_norm}")
    return optax.chain(optax.clip_by_global_norm(clip_norm), transformation)
