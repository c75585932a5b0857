"""Checks that losses and estimates share; all run at trace time."""

import operator
from typing import Any

import jax

from ..distributions import Distribution


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """`value` as an int; raises `ValueError` unless it is a whole number of at least `minimum`."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool) or count < minimum:
        raise ValueError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    return count


def check_one_example(q: Distribution, prior: Distribution, key: jax.Array) -> None:
    """Raises `ValueError` unless samples of q(z|x) and of the prior have one shape.

    A batch passed as one example gives a q with an extra axis, which broadcasts against the prior into a number
    that looks like a loss.
    """
    q_shape, prior_shape = (jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(d.sample, key)) for d in (q, prior))
    if q_shape != prior_shape:
        raise ValueError(
            f"a sample of q(z|x) has shape {q_shape}, but one of the prior has {prior_shape}. A loss takes ONE example "
            "x; for a batch use losses.over_batch(loss)(params, keys, xs, ...)"
        )


def check_scalar(log_density: Any, name: str) -> None:
    """Raises `ValueError` unless a log-density is a scalar: a mean over pixels would pass for a loss."""
    if log_density.shape != ():
        raise ValueError(
            f"log_prob of {name} must be a scalar, the sum over the event; it has shape {log_density.shape}. A NumPyro "
            "distribution needs .to_event(n)"
        )
