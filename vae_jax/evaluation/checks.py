"""What every figure of a set of examples asks of its arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

from ..checks import check_passes, check_rows, failed_check
from ..losses.example import examples_of
from ..model import VAE, Params


def check_examples(keys: Key[Array, " n"], xs: Any, what: str, minimum: int = 1) -> int:
    """n; raises `ValueError` unless `xs` passes `check_rows` and has as many examples as there are keys."""
    number = check_rows(xs, "xs", minimum)
    if np.shape(keys)[:1] != (number,):
        raise ValueError(
            f"{what} needs one key for each example: got keys of shape {np.shape(keys)} for {number} examples"
        )
    return number


def real_sample(q: Any, what: str) -> jax.ShapeDtypeStruct:
    """Returns shape and type of a sample of q(z|x); raises `ValueError` unless it is one array of real numbers."""
    z = jax.eval_shape(q.sample, jax.eval_shape(lambda: jax.random.key(0)))
    if not isinstance(z, jax.ShapeDtypeStruct) or not jnp.issubdtype(z.dtype, jnp.floating):
        raise ValueError(f"{what} needs a z that is one array of real numbers; a sample of {type(q).__name__} is {z}")
    return z


def check_support(params: Params, xs: Any, vae: VAE) -> None:
    """Raises `ValueError` where one of concrete `xs` lies outside the support of p(x|z)."""
    if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, xs))):
        check_passes(_outside_support(params, xs, vae))


@jax.jit
def _outside_support(params: Params, xs: Any, vae: VAE) -> Any:
    def densities(xs: Any) -> Any:
        at, key = examples_of(vae, params), jax.random.key(0)  # of no effect on what is checked

        def one(x: Any) -> Any:
            of_x = at(key, x)
            return of_x.densities(*of_x.sample(key))

        return jax.vmap(one)(xs)

    return failed_check(densities)(xs)
