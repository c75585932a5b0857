"""The law of missing entries."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..distributions import Distribution, Masked

_STORED = (np.nan, np.inf, -np.inf, -7.25, 1e30)
_STORED_WHOLE = (-7, 10**6)


def check_masked(make: Callable[[Any], Distribution], parameters: Any, value: Any, *, tolerance: float = 1e-5) -> None:
    """Checks that the log-density of a `Masked` value is that of its observed elements, whatever the others hold.

    With all elements observed it is log p(value); with some, the sum of the log-densities of each of them alone. What
    is stored under the mask, NaN, infinity and numbers outside any support, changes no bit of it, nor of its gradient
    with respect to the parameters.

    Args:
      make: parameters -> distribution, whose elements are independent.
      parameters: a pytree of arrays.
      value: one event, an array of at least two elements.
      tolerance: of the sums, relative to 1 + the sum of the sizes of their terms.

    Raises:
      AssertionError: naming what is wrong, with the figures.

    Source of the density: Nazábal et al. 2020, arXiv:1807.03653, section 2.1.
    """
    value, parameters = np.asarray(value), jax.tree.map(jnp.asarray, parameters)
    log_prob = jax.jit(jax.value_and_grad(lambda parameters, stored, at: make(parameters).log_prob(Masked(stored, at))))
    of = lambda observed, stored=value: log_prob(parameters, stored, observed.reshape(value.shape))
    alone = np.array([of(only)[0] for only in np.eye(value.size, dtype=bool)], np.float64)
    limit = tolerance * (1 + np.abs(alone).sum())
    whole, plain = of(np.ones(value.size, bool))[0], make(parameters).log_prob(jnp.asarray(value))
    if not abs(whole - plain) <= limit:
        raise AssertionError(f"with all elements observed log_prob is {whole}, and {plain} without a mask")
    even = np.arange(value.size) % 2 == 0
    for observed in (even, ~even, np.zeros(value.size, bool)):
        found, expected = of(observed), alone[observed].sum()
        if not abs(found[0] - expected) <= limit:
            raise AssertionError(
                f"log_prob is {found[0]}, and the observed elements' alone add up to {expected}; observed: {observed}"
            )
        for number in _STORED if np.issubdtype(value.dtype, np.floating) else _STORED_WHOLE:
            stored = np.where(observed.reshape(value.shape), value, np.asarray(number, value.dtype))
            for a, b in zip(jax.tree.leaves(of(observed, stored)), jax.tree.leaves(found), strict=True):
                if not np.array_equal(a, b):
                    raise AssertionError(
                        f"with {number} under the mask, log_prob or its gradient has {a} where it had {b}"
                    )
