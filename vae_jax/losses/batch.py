"""From a loss of one example to a loss of a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..model import Params

BatchTerm = Callable[[Any], Float[Array, ""]]


def over_batch(
    loss: Callable[..., tuple[Array, Any]],
    *,
    replace: BatchTerm | None = None,
    add: Sequence[BatchTerm] = (),
    axis_name: str | None = None,
) -> Callable[..., tuple[Array, Any]]:
    """The loss of a batch: `loss` vmapped over keys and examples, and its mean.

    Args:
      loss: a per-example loss, (params, key, x, ...) -> (scalar, terms). `x` may be a pytree, (x, c) say.
      replace: a function of the global batch's terms whose value takes the place of the mean of `loss`
        (`free_bits` is one).
      add: functions of the global batch's terms whose values are added.
      axis_name: the mapped axis (`pmap`, `shard_map`, `vmap`) over which the batch is spread. The value is then the
        global batch's on every device, and the terms are gathered before `replace` and `add` see them, so that no
        result depends on the number of devices; the gradients are to be averaged over the axis, as
        `training.train_step` does.

    Returns:
      (params, keys[B], xs[B], ...) -> (scalar, terms with a leading axis B). Further arguments go to `loss` as they
      are, the same for every example.

    Raises:
      ValueError: from the returned function, where `keys` and `xs` have different lengths.
    """

    def batch_loss(params: Params, keys: Key[Array, " batch"], xs: Any, **kwargs: Any) -> tuple[Float[Array, ""], Any]:
        _check_lengths(keys, xs)
        values, terms = jax.vmap(lambda key, x: loss(params, key, x, **kwargs))(keys, xs)
        value = jnp.mean(values) if axis_name is None else jax.lax.pmean(jnp.mean(values), axis_name)
        if replace is not None or add:
            batch = terms if axis_name is None else jax.lax.all_gather(terms, axis_name, tiled=True)
            value = (value if replace is None else replace(batch)) + sum(term(batch) for term in add)
        return value, terms

    # For who would divide the batch: microbatches see no whole one.
    batch_loss.of_whole_batch = replace is not None or bool(add)  # pyright: ignore[reportFunctionMemberAccess]
    return batch_loss


def _check_lengths(keys: Any, xs: Any) -> None:
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves((keys, xs))}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            "over_batch: keys and every array of xs need one leading axis of the same length; got shapes "
            f"{[leaf.shape for leaf in jax.tree.leaves((keys, xs))]}"
        )
