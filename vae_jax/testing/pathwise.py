"""The law of gradients of samples."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from ..distributions import Distribution


def check_pathwise_gradient(
    make: Callable[[Any], Distribution],
    parameters: Any,
    key: Key[Array, ""],
    *,
    function: Callable[[Any], Float[Array, ""]] | None = None,
    num_samples: int = 4000,
) -> None:
    """Checks that the gradient of E_q[f(z)] along the samples is that of the score function (E9, E12, E14).

    E[∂f(z)/∂θ] = E[f(z) ∂ log q(z)/∂θ], z = g(e; θ) on the left and held fixed on the right; both from the same
    samples, by their difference and its standard error. A right distribution fails once in a million parameters.

    Args:
      make: parameters -> q, reparameterised, over one array of real numbers.
      parameters: a pytree of arrays.
      key: a typed PRNG key.
      function: f; by default Σ sin(z) over the elements, of which each has another phase.
      num_samples: of which both means are.

    Raises:
      AssertionError: with the difference and its standard error, for the first parameter that is wrong.
    """
    f = _default if function is None else function
    flat, unravel = ravel_pytree(parameters)

    def difference(key: Any) -> Float[Array, " parameters"]:
        z = make(unravel(flat)).sample(key)
        along = jax.grad(lambda flat: f(make(unravel(flat)).sample(jax.random.clone(key))))(flat)
        by_score = jax.grad(lambda flat: make(unravel(flat)).log_prob(z))(flat)
        return along - (f(z) - f(jnp.zeros_like(z))) * by_score

    values = np.asarray(jax.jit(jax.vmap(difference))(jax.random.split(key, num_samples)), np.float64)
    means, errors = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(num_samples)
    wrong = np.flatnonzero(~(np.abs(means) <= 5 * errors + 1e-5))
    if wrong.size:
        leaves = jax.tree_util.tree_leaves_with_path(parameters)
        names = [jax.tree_util.keystr(path) for path, leaf in leaves for _ in range(leaf.size)]
        at = wrong[0]
        raise AssertionError(
            f"the gradient of samples with respect to {names[at]} differs from the score function's by {means[at]} ± "
            f"{errors[at]}"
        )


def _default(z: Any) -> Float[Array, ""]:
    flat = jnp.ravel(z)
    return jnp.sum(jnp.sin(flat + jnp.arange(flat.size)))
