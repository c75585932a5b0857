"""Training in a notebook."""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ..data import batch_indices
from ..keys import check_key
from ..rows import count_rows
from .step import LossFn, init_state, train_steps

_STEPS_PER_CALL = 1000


def fit(
    loss_fn: LossFn,
    params: Any,
    key: Key[Array, ""],
    xs: Any,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int,
) -> tuple[Any, Float[np.ndarray, " num_steps"]]:
    """Minimises a batch loss over data in memory, on the default device.

    Args:
      loss_fn: (params, keys[B], xs[B]) -> (loss, terms), or with the step as a fourth argument:
        `functools.partial(losses.over_batch(losses.negative_elbo), vae=vae)` for one.
      params: where to start; left as it is.
      key: a typed PRNG key, for the batch order and all noise.
      xs: an array [N, ...], or a pytree of such.
      optimizer: any optax transformation.
      num_steps: updates to make.
      batch_size: B.

    Returns:
      The trained parameters and the learning curve: the loss of every step's batch.

    Raises:
      ValueError: for arrays of different lengths, a list of examples, or a batch larger than the data.
      TypeError: for a raw uint32 key.
    """
    check_key(key)
    order_key, noise_key = jax.random.split(key)
    num_examples = count_rows(xs, "xs")
    run = jax.jit(partial(train_steps, loss_fn=loss_fn, optimizer=optimizer), donate_argnums=0)
    state, curve = init_state(params, optimizer), []
    for start in range(0, num_steps, _STEPS_PER_CALL):
        stop = min(start + _STEPS_PER_CALL, num_steps)
        index = batch_indices(order_key, num_examples=num_examples, batch_size=batch_size, start=start, stop=stop)
        state, metrics = run(state, noise_key, xs, index)
        curve.append(metrics["loss"])
    return state.params, np.concatenate([np.asarray(losses) for losses in curve] or [np.empty(0, np.float32)])
