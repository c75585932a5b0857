"""Laws of pure functions of one example."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..distributions import Distribution


def check_transformations(distribution: Distribution, key: Key[Array, ""], *, tolerance: float = 1e-5) -> None:
    """Checks that `sample` and `log_prob` are the same under `jax.jit` and `jax.vmap` as they are called.

    Args:
      distribution: of one unbatched variable.
      key: a typed PRNG key.
      tolerance: of their differences, relative to 1 + the size.

    Raises:
      AssertionError: naming the method and the transformation.
    """
    value = distribution.sample(key)
    plain = distribution.log_prob(value)

    @jax.jit
    def transformed(key: Key[Array, ""], value: Any) -> tuple[Any, ...]:
        values = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], value)
        batch = jax.vmap(distribution.sample)(jax.random.clone(key)[None]), jax.vmap(distribution.log_prob)(values)
        return distribution.sample(key), distribution.log_prob(value), *jax.tree.map(lambda leaf: leaf[0], batch)

    sample, log_prob, sample_of_batch, log_prob_of_batch = transformed(jax.random.clone(key), value)
    pairs = {
        "sample under jit": (sample, value),
        "sample under vmap": (sample_of_batch, value),
        "log_prob under jit": (log_prob, plain),
        "log_prob under vmap": (log_prob_of_batch, plain),
    }
    if plain.shape != ():
        raise AssertionError(f"log_prob is no scalar, but has shape {plain.shape}")
    for what, (found, expected) in pairs.items():
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            if not np.allclose(a, b, rtol=tolerance, atol=tolerance):
                raise AssertionError(f"{what} is {a}, and {b} as it is called")


def check_independence(function: Callable[[Any], Any], xs: Any) -> None:
    """Checks that what a function of a batch makes of an example does not depend on the others.

    A batch of copies of an example must give what the batch gave of it. Batch normalisation breaks this law, and with
    it every bound: log p(x) is of one example.

    Args:
      function: a batch of examples -> a pytree of arrays with a leading axis.
      xs: at least two examples.

    Raises:
      AssertionError: naming the row that depends on others.
    """
    whole = function(xs)
    for row in range(jax.tree.leaves(xs)[0].shape[0]):
        alone = function(jax.tree.map(lambda leaf, row=row: jnp.broadcast_to(leaf[row], leaf.shape), xs))
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(alone), strict=True):
            if not np.allclose(a[row], b[row], rtol=1e-4, atol=1e-5):
                raise AssertionError(f"what is made of example {row} depends on the other examples of its batch")
