"""Schedules of the learning rate and of β, and the optimiser they drive."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import optax

from ..names import check_name

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adabelief": optax.adabelief,
    "adam": optax.adam,
    "adamax": optax.adamax,
    "adamw": optax.adamw,
    "lion": optax.lion,
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
}
LEARNING_RATE_SCHEDULES = ("constant", "cosine", "linear")
BETA_SCHEDULES = ("constant", "linear", "cyclical")


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


def beta_schedule(name: str, *, beta: float, anneal_steps: int, num_cycles: int = 4) -> optax.Schedule:
    """β of the KL as a function of the step.

    "constant": β. "linear": from 0 to β over `anneal_steps`, then β. "cyclical": `num_cycles` equal cycles in
    `anneal_steps`, each rising from 0 to β in its first half and staying there in its second; β afterwards.

    Raises:
      ValueError: for an unknown name, or fewer than one step a cycle.

    Source: Sønderby et al. 2016, arXiv:1602.02282 (linear); Fu et al. 2019, arXiv:1903.10145, with R = 0.5 (cyclical).
    """
    check_name(name, "β schedule", BETA_SCHEDULES)
    if name == "constant":
        return optax.constant_schedule(beta)
    cycles = num_cycles if name == "cyclical" else 1
    rising = 0.5 if name == "cyclical" else 1.0
    if cycles < 1 or anneal_steps < cycles:
        raise ValueError(f"{name} β needs anneal_steps >= num_cycles >= 1, got {anneal_steps} and {cycles}")

    per_cycle, left = divmod(anneal_steps, cycles)

    def schedule(step):
        # step · cycles modulo anneal_steps, of terms that an int32 holds beyond 5e8 steps too.
        position = step % per_cycle * cycles - step // per_cycle * left
        position = jnp.where(step < anneal_steps, jnp.mod(position, anneal_steps) / anneal_steps, 1.0)
        return beta * jnp.minimum(position / rising, 1.0)

    return schedule


def make_optimizer(
    name: str, learning_rate: optax.ScalarOrSchedule, *, clip_norm: float | None = None, **options: float
) -> optax.GradientTransformation:
    """An optimiser by name, after clipping of the gradient's global norm to `clip_norm` where given.

    Args:
      name: a key of `training.OPTIMIZERS`.
      learning_rate: a number or a schedule.
      clip_norm: the largest global norm of a gradient.
      **options: passed to the optax function (`b1`, `eps`, `weight_decay`, …).

    Raises:
      ValueError: for an unknown name (with the nearest) or a `clip_norm` that is not positive.
    """
    check_name(name, "optimizer", OPTIMIZERS)
    optimizer = OPTIMIZERS[name](learning_rate, **options)
    if clip_norm is None:
        return optimizer
    if not 0 < clip_norm < math.inf:
        raise ValueError(f"clip_norm must be positive and finite, got {clip_norm}")
    return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
