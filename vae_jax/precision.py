"""The floating type in which sums, means and densities are computed: float32 at least."""

import jax
import jax.numpy as jnp


def at_least_float32(*values: jax.typing.ArrayLike) -> list[jax.Array]:
    """Returns arrays of one floating type: float64 where one is, else float32.

    A sum of 784 terms in bfloat16 has steps of four, and one in float16 overflows at 65,504.
    """
    arrays = [jnp.asarray(value) for value in values]
    dtype = jnp.float64 if any(array.dtype == jnp.float64 for array in arrays) else jnp.float32
    return [array.astype(dtype) for array in arrays]
