"""The order of examples: stateless, a permutation from (key, epoch)."""

import jax
import numpy as np
from jaxtyping import Array, Int, Key


def batch_indices(
    key: Key[Array, ""], *, num_examples: int, batch_size: int, start: int, stop: int
) -> Int[np.ndarray, "steps batch"]:
    """The rows of the batches of steps start…stop−1, int32.

    Every epoch is a fresh permutation cut into num_examples // batch_size batches; what is left over is dropped, other
    examples in each epoch. Any step's batch can be had without those before it.

    Raises:
      ValueError: for a batch larger than the data.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(f"a batch of {batch_size} cannot be drawn from {num_examples} examples")
    per_epoch = num_examples // batch_size
    # On the host: a permutation computed on an accelerator would wait for the steps in flight there. RandomState, since
    # its streams are frozen for ever; those of numpy's newer generators are not.
    seed = np.asarray(jax.random.key_data(key)).ravel()
    index = np.empty((stop - start, batch_size), np.int32)
    for epoch in range(start // per_epoch, -(-stop // per_epoch)):
        order = np.random.RandomState(np.append(seed, epoch)).permutation(num_examples)
        batches = order[: per_epoch * batch_size].reshape(per_epoch, batch_size)
        first, last = max(start, epoch * per_epoch), min(stop, (epoch + 1) * per_epoch)
        index[first - start : last - start] = batches[first - epoch * per_epoch : last - epoch * per_epoch]
    return index


def spread_rows(num_examples: int, most: int) -> Int[np.ndarray, " rows"]:
    """`most` rows evenly spread over a data set, or all of them where there are fewer."""
    return np.linspace(0, num_examples - 1, min(num_examples, most)).astype(np.int32)
