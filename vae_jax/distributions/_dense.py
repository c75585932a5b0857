"""The dense layers of the networks inside flows."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def product(vector: Float[Array, " in"], matrix: Float[Array, "in out"]) -> Float[Array, " out"]:
    # In full float32: log q is that of this z, and accelerators' default product has ten bits.
    return jnp.matmul(vector, matrix, precision="highest")


def draw_dense(key: Key[Array, ""], in_size: int, out_size: int) -> dict[str, Any]:
    """Returns a `kernel` [in, out] by Glorot's uniform rule, and a `bias` [out] of zeros."""
    return {
        "kernel": jax.nn.initializers.glorot_uniform()(key, (in_size, out_size)),
        "bias": jnp.zeros(out_size),
    }
