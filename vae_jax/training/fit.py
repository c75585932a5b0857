"""Training in a notebook."""

import operator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from ..checks import check_passes, check_rows, failed_check
from ..data import batch_indices
from ..keys import check_key, example_keys
from .loop import non_finite, run_keys
from .step import LossFn, TrainState, init_state, train_steps, with_step

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
      NonFiniteError: for a loss or a gradient that is not finite, with the step and the rows of its batch.
      ValueError: for arrays of different lengths, a list of examples, values that are not finite or outside the
        support of p(x|z), or a batch larger than the data.
      TypeError: for a raw uint32 key.
    """
    state, curve = fit_state(
        loss_fn,
        init_state(params, optimizer),
        key,
        xs,
        optimizer=optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
    )
    return state.params, curve


def fit_state(
    loss_fn: LossFn,
    state: TrainState,
    key: Key[Array, ""],
    xs: Any,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int,
) -> tuple[TrainState, Float[np.ndarray, " num_steps"]]:
    """Makes `num_steps` updates more: `fit` from `init_state(params, optimizer)`, or from where an earlier call ended.

    Called again with the state that it returned, it goes on to the bits of one longer call: the optimiser's state, the
    order of the examples and all noise are those of the state's step.

    Args:
      loss_fn: as in `fit`.
      state: where to start; left as it is.
      key: as in `fit`, the same in every call.
      xs: as in `fit`.
      optimizer: the one that the state is of.
      num_steps: updates to make from here on.
      batch_size: B.

    Returns:
      The state after the last update, and the losses of these updates.

    Raises:
      NonFiniteError, ValueError, TypeError: as `fit`; ValueError also for the state of another optimiser.
    """
    check_key(key)
    num_examples = check_rows(xs, "xs")
    if jax.tree.structure(jax.eval_shape(optimizer.init, state.params)) != jax.tree.structure(state.opt_state):
        raise ValueError("the state is not of this optimizer: make one with training.init_state(params, optimizer)")
    order_key, noise_key = run_keys(key)
    step = int(state.step)
    _check_support(loss_fn, state.params, xs, min(batch_size, num_examples))
    run = jax.jit(partial(train_steps, loss_fn=loss_fn, optimizer=optimizer), donate_argnums=0)
    state, end = jax.tree.map(jnp.copy, state), step + num_steps
    pending, curve = [], []

    def read(stop: int, index: np.ndarray, metrics: dict[str, jax.Array]) -> np.ndarray:
        host = {name: np.asarray(metrics[name]) for name in ("loss", "gradient_norm")}
        for error in non_finite(stop, index, host)[1]:
            raise error
        return host["loss"]

    while step < end:
        # A call ends where it would in one longer `fit`: a scan of another length may be compiled to other bits.
        stop = min(end, (step // _STEPS_PER_CALL + 1) * _STEPS_PER_CALL)
        index = batch_indices(order_key, num_examples=num_examples, batch_size=batch_size, start=step, stop=stop)
        state, metrics = run(state, noise_key, xs, index)
        pending.append((stop, index, metrics))
        if len(pending) > 1:  # read while the next is computed
            curve.append(read(*pending.pop(0)))
        step = stop
    curve.extend(read(*chunk) for chunk in pending)
    return state, np.concatenate(curve or [np.empty(0, np.float32)])


def _check_support(loss_fn: LossFn, params: Any, xs: Any, batch_size: int) -> None:
    """Raises `ValueError` where an x lies outside p(x|z)'s support, looking at all of them once."""
    loss = with_step(loss_fn)

    @jax.jit
    def check(rows: Int[Array, " batch"], batch: Any) -> Any:
        keys = example_keys(jax.random.key(0), 0, rows)
        return failed_check(loss)(params, keys, batch, jnp.int32(0))

    num_examples = len(jax.tree.leaves(xs)[0])
    for start in range(0, num_examples, max(1, batch_size)):
        rows = np.arange(batch_size, dtype=np.int32) + min(start, num_examples - batch_size)
        check_passes(check(rows, jax.tree.map(operator.itemgetter(rows), xs)))
