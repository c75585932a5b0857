"""Gaussians with a full covariance."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..distributions import MultivariateNormal
from ..parts import Family, Shape, part, scale_of


@part
def full() -> Family:
    """Returns q(z|x) = N(μ(x), S(x) S(x)ᵀ), a `MultivariateNormal` over a vector z.

    S has σ on its diagonal. Beside "mean", μ, and "log_variance", log σ², the network puts out "below_diagonal", the
    d(d − 1)/2 other elements of S row by row, which start at 0.

    Raises, where the model is built:
      ValueError: for a z that is no vector.

    Source: Kingma and Welling 2019, arXiv:1906.02691, section 2.5.1.
    """
    return Family(_outputs, _build, zeros=("below_diagonal",))


def _outputs(shape: Shape) -> dict[str, Shape]:
    if len(shape) != 1:
        raise ValueError(f"full is over a vector z, and the latent shape is {shape}; diagonal takes any shape")
    below = {"below_diagonal": (shape[0] * (shape[0] - 1) // 2,)} if shape[0] > 1 else {}
    return {"mean": shape, "log_variance": shape, **below}


def _build(own: Any, numbers: dict[str, Array], shape: Shape, given: Any) -> MultivariateNormal:
    scale_tril = jnp.diag(scale_of(numbers["log_variance"]))
    if "below_diagonal" in numbers:
        scale_tril = scale_tril.at[np.tril_indices(shape[0], -1)].set(numbers["below_diagonal"])
    return MultivariateNormal(numbers["mean"], scale_tril)
