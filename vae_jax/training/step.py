"""The training step, a pure function of (state, key, batch, index)."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from ..keys import example_keys
from ..losses import BatchLoss
from ..precision import at_least_float32

LossFn = Callable[..., tuple[Array, Any]]
Metrics = dict[str, Float[Array, ""]]


class TrainState(NamedTuple):
    """All that changes in training, a pytree of arrays. No key is among it: keys are derived from `step`.

    Attributes:
      step: updates made, int32.
      params: θ and φ.
      opt_state: the optimiser's state.
      average: an exponential moving average of the parameters, in float32 at least, or None.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    average: Any = None


def init_state(params: Any, optimizer: optax.GradientTransformation, *, average: bool = False) -> TrainState:
    """The state before the first step; `average` keeps a weight average, which starts at `params`."""
    # Copies: a training loop donates the state, and the caller's params must outlive it. Of a strong type: a weak one
    # becomes strong in the first step, and the second would compile again.
    copy = lambda: jax.tree.map(lambda leaf: jnp.array(leaf, jnp.result_type(leaf), copy=True), params)
    # In bfloat16 an average of decay 0.999 would stop half-way: what it is still to move by is rounded to 0.
    start = jax.tree.map(_wide, copy()) if average else None
    return TrainState(jnp.zeros((), jnp.int32), copy(), optimizer.init(copy()), start)


def train_step(
    state: TrainState,
    key: Key[Array, ""],
    batch: Any,
    index: Int[Array, " batch"],
    *,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    axis_name: str | None = None,
    average_decay: float | None = None,
    microbatches: int = 1,
    skip_nonfinite: bool = False,
) -> tuple[TrainState, Metrics]:
    """One update of the parameters by the gradient of `loss_fn`.

    The same function runs under `jit`, `pmap`, `shard_map`, `jit` with `NamedSharding` and `vmap(axis_name=…)`.

    Args:
      state: from `init_state`, or from the last step.
      key: the run's key, the same at every step; example i draws from fold_in(fold_in(key, step), index[i]).
      batch: a pytree of arrays [B, ...]: this device's examples.
      index: their rows in the data set, int32 [B].
      loss_fn: (params, keys[B], batch, step) -> (loss, terms), or without the step.
      optimizer: any optax transformation.
      axis_name: the mapped axis over which gradients and metrics are averaged.
      average_decay: d of the weight average a ← d a + (1 − d) params, where the state has one, with
        d ≤ (1 + step) / (10 + step) at the start, so that the first parameters are soon forgotten.
      microbatches: parts of this device's batch whose gradients are computed one after another and averaged, for a
        batch that memory does not hold at once. The result is the whole batch's, since noise belongs to the examples.
      skip_nonfinite: whether a step whose loss or gradient is not finite leaves all as it is but `step`.

    Returns:
      The next state, and metrics: "loss", "gradient_norm", and the mean of every scalar-per-example field of `terms`.

    Raises:
      ValueError: for microbatches that do not divide the batch, or of a loss that is no `losses.BatchLoss`, or one of
        the whole batch.
    """
    if (state.average is None) != (average_decay is None):
        raise ValueError("a state with a weight average needs average_decay, and one without has no use for it")
    value_and_grad = jax.value_and_grad(with_step(loss_fn), has_aux=True)

    def measure(index: Any, batch: Any) -> tuple[Any, Metrics]:
        keys = example_keys(key, state.step, index)
        (loss, terms), gradients = value_and_grad(state.params, keys, batch, state.step)
        return gradients, {"loss": _wide(loss), **_means(terms, len(index))}

    gradients, metrics = (
        measure(index, batch) if microbatches == 1 else _in_parts(measure, loss_fn, microbatches)(index, batch)
    )
    if axis_name is not None:
        gradients, metrics = jax.lax.pmean((gradients, metrics), axis_name)
    metrics["gradient_norm"] = optax.tree.norm(jax.tree.map(_wide, gradients))
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if average_decay is not None:
        number = state.step.astype(float)
        rate = 1.0 - jnp.minimum(average_decay, (1.0 + number) / (10.0 + number))
        average = jax.tree.map(functools.partial(_follow, rate), average, params)
    after = TrainState(state.step + 1, params, opt_state, average)
    if skip_nonfinite:
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        keep = lambda new, old: jnp.where(finite, new, old)
        after = jax.tree.map(keep, after, state._replace(step=state.step + 1))
    return after, metrics


def train_steps(
    state: TrainState, key: Key[Array, ""], data: Any, index: Int[Array, "steps batch"], **options: Any
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """Consecutive `train_step`s in one `lax.scan`, their batches gathered from `data` by the rows of `index`.

    `options` are those of `train_step`. Returns the state and each step's metrics.
    """

    def body(state: TrainState, rows: Int[Array, " batch"]) -> tuple[TrainState, Metrics]:
        batch = jax.tree.map(lambda array: array[rows], data)
        return train_step(state, key, batch, rows, **options)

    return jax.lax.scan(body, state, index)


def train_batches(
    state: TrainState, key: Key[Array, ""], batches: Any, index: Int[Array, "steps batch"], **options: Any
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """`train_steps` on batches gathered before, a pytree of arrays [steps, batch, ...]: the rows of `index`."""

    def body(state: TrainState, batch_and_rows: tuple[Any, Int[Array, " batch"]]) -> tuple[TrainState, Metrics]:
        return train_step(state, key, *batch_and_rows, **options)

    return jax.lax.scan(body, state, (batches, index))


def _in_parts(measure: Callable[..., Any], loss_fn: LossFn, number: int) -> Callable[..., Any]:
    """The mean of `measure` over `number` equal parts of a batch, one after another."""
    check_microbatches(loss_fn)

    def average(index: Any, batch: Any) -> Any:
        size = len(index)
        if size % number:
            raise ValueError(f"a device's batch of {size} cannot be divided into {number} microbatches of one size")
        # Part j has the examples j, j + number, …: of a batch that lies on several devices, a share of each one's.
        parts = jax.tree.map(lambda a: a.reshape(size // number, number, *a.shape[1:]).swapaxes(0, 1), (index, batch))
        shapes = jax.eval_shape(measure, index, batch)
        zeros = jax.tree.map(lambda leaf: _wide(jnp.zeros(leaf.shape, leaf.dtype)), shapes)
        add = lambda total, part: (jax.tree.map(lambda sum, leaf: sum + _wide(leaf), total, measure(*part)), None)
        totals = jax.lax.scan(add, zeros, parts)[0]
        return jax.tree.map(lambda total, leaf: (total / number).astype(leaf.dtype), totals, shapes)

    return average


def check_microbatches(loss_fn: LossFn) -> None:
    """Raises `ValueError` for a loss that is not known to be a mean over its examples."""
    while isinstance(loss_fn, functools.partial):
        loss_fn = loss_fn.func
    if not isinstance(loss_fn, BatchLoss):
        raise ValueError(
            "microbatches are for a loss that is a mean over examples, which this function does not say: make it with "
            "losses.over_batch and functools.partial, or declare it with losses.mean_over_examples"
        )
    if not loss_fn.is_mean:
        raise ValueError(
            "microbatches are for a loss that is a mean over examples; this one has `add` or `replace`, functions of "
            "the whole batch, which parts do not show. Use more devices, or a smaller batch"
        )


def with_step(loss_fn: LossFn) -> LossFn:
    """`over_batch`'s losses take no step; those with schedules do, as a fourth argument without a default."""
    parameters = inspect.signature(_plain(loss_fn)).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    any_number = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    if any_number or (len(positional) > 3 and (positional[3].default is inspect.Parameter.empty)):
        return loss_fn
    return lambda params, keys, batch, step: loss_fn(params, keys, batch)


def _plain(loss_fn: LossFn) -> LossFn:
    """Returns `loss_fn` with the function of every `BatchLoss` in its place, for the signature."""
    if isinstance(loss_fn, functools.partial):
        return functools.partial(_plain(loss_fn.func), *loss_fn.args, **loss_fn.keywords)
    return _plain(loss_fn.function) if isinstance(loss_fn, BatchLoss) else loss_fn


def _wide(leaf: jax.typing.ArrayLike) -> Array:
    return at_least_float32(leaf)[0]


def _follow(rate: Float[Array, ""], average: Array, param: Array) -> Array:
    """Returns rate · param + (1 − rate) · average, in the average's type."""
    rate = rate.astype(average.dtype)
    return rate * param.astype(average.dtype) + (1.0 - rate) * average


def _means(terms: Any, batch_size: int) -> Metrics:
    if not hasattr(terms, "_asdict"):
        return {}
    return {
        name: jnp.mean(_wide(value))
        for name, value in terms._asdict().items()
        if getattr(value, "shape", None) == (batch_size,) and jnp.issubdtype(value.dtype, jnp.floating)
    }
