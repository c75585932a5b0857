"""From a loss of one example to a loss of a batch."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..model import Params

BatchTerm = Callable[[Any], Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class BatchLoss:
    """A loss of a batch: (params, keys[B], xs[B], ...) -> (scalar, terms), called as a function.

    Attributes:
      function: what is called.
      is_mean: whether the value is a mean over examples, so that it is also the mean of those of the batch's parts.
    """

    function: Callable[..., tuple[Array, Any]]
    is_mean: bool

    def __call__(self, params: Params, keys: Key[Array, " batch"], xs: Any, *args: Any, **kwargs: Any) -> Any:
        return self.function(params, keys, xs, *args, **kwargs)


def over_batch(
    loss: Callable[..., tuple[Array, Any]],
    *,
    replace: BatchTerm | None = None,
    add: Sequence[BatchTerm] = (),
    axis_name: str | None = None,
) -> BatchLoss:
    """Returns the loss of a batch: `loss` vmapped over keys and examples, and its mean.

    It is (params, keys[B], xs[B], ...) -> (scalar, terms with a leading axis B). Further arguments go to `loss` as they
    are, the same for every example.

    Args:
      loss: a per-example loss, (params, key, x, ...) -> (scalar, terms). `x` may be a pytree, (x, c) say.
      replace: a function of the global batch's terms whose value takes the place of the mean of `loss`
        (`free_bits` is one).
      add: functions of the global batch's terms whose values are added.
      axis_name: the mapped axis (`pmap`, `shard_map`, `vmap`) over which the batch is spread. The value is then the
        global batch's on every device, and the terms are gathered before `replace` and `add` see them, so that no
        result depends on the number of devices; the gradients are to be averaged over the axis, as
        `training.train_step` does.

    Raises, from the returned function:
      ValueError: where `keys` and `xs` have different lengths, or there are none; for `replace` or `add` with another
        gradient than "pathwise", which their functions of the terms would not have.
    """
    return BatchLoss(partial(_over_batch, loss, replace, tuple(add), axis_name), replace is None and not add)


def mean_over_examples(loss: Callable[..., tuple[Array, Any]]) -> BatchLoss:
    """Returns a batch's loss of one's own, declared to be a mean over its examples, which microbatches ask for."""
    return BatchLoss(loss, True)


def _over_batch(
    loss: Callable[..., tuple[Array, Any]],
    replace: BatchTerm | None,
    add: tuple[BatchTerm, ...],
    axis_name: str | None,
    params: Params,
    keys: Key[Array, " batch"],
    xs: Any,
    **kwargs: Any,
) -> tuple[Float[Array, ""], Any]:
    _check_lengths(keys, xs)
    values, terms = jax.vmap(lambda key, x: loss(params, key, x, **kwargs))(keys, xs)
    value = jnp.mean(values) if axis_name is None else jax.lax.pmean(jnp.mean(values), axis_name)
    if replace is not None or add:
        _check_estimator(terms)
        batch = terms if axis_name is None else jax.lax.all_gather(terms, axis_name, tiled=True)
        value = (value if replace is None else replace(batch)) + sum(term(batch) for term in add)
    return value, terms


def _check_lengths(keys: Any, xs: Any) -> None:
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves((keys, xs))}
    if len(lengths) != 1 or lengths in ({()}, {(0,)}):
        raise ValueError(
            "over_batch: keys and every array of xs need one leading axis of the same length, at least 1; got shapes "
            f"{[leaf.shape for leaf in jax.tree.leaves((keys, xs))]}"
        )


def _check_estimator(terms: Any) -> None:
    estimator = getattr(terms, "estimator", None)
    if estimator is not None and estimator.name != "pathwise":
        raise ValueError(
            f"`add` and `replace` (free_bits is one) go with gradient='pathwise' alone, not with {estimator.name!r}: "
            "they are functions of the terms, whose derivatives are not that estimator's"
        )
