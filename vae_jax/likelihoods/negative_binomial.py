"""Counts that vary more than Poisson's."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import distributions
from ..names import check_name
from ..parts import Family, Shape, part
from .bounded_exp import bounded_exp
from .poisson import count_mean, log_mean

_LOG_DISPERSIONS = (-9.0, 14.0)


@part
def negative_binomial(dispersion: str = "shared") -> Family:
    """Returns p(x|z) = Π NB(μ(z), θ), of variance μ + μ²/θ, a `NegativeBinomial`; x are whole numbers from 0 on.

    The network puts out log μ, which is held between −30 and 20; log θ is held between −9 and 14, and begins at 0.
    Where the total n of the counts is given, as `Sized` says, μ = n softmax(·) of the numbers, as in the source: log p
    is then conditional on n.

    Args:
      dispersion: "shared" for a learned θ of each element, shared by all examples; "each" for a θ(z) that the network
        puts out.

    Raises:
      ValueError: for an unknown `dispersion`.

    Source: Lopez et al. 2018, Nature Methods 15(12), with θ by gene or by gene and cell.
    """
    check_name(dispersion, "dispersion", ("shared", "each"))
    if dispersion == "shared":
        return Family(
            outputs=lambda shape: shape,
            build=lambda own, numbers, shape, given: _build(numbers, own["log_dispersion"], given),
            init=_init,
            bias=log_mean,
        )
    return Family(
        outputs=lambda shape: (*shape, 2),
        build=lambda own, numbers, shape, given: _build(numbers[..., 0], numbers[..., 1], given),
        bias=lambda mean: np.stack([log_mean(mean), np.zeros_like(mean)], axis=-1),
    )


def _init(key: Key[Array, ""], shape: Shape) -> dict[str, Array]:
    return {"log_dispersion": jnp.zeros(shape)}


def _build(numbers: Float[Array, "*event"], log_dispersion: Any, given: Any) -> distributions.NegativeBinomial:
    return distributions.NegativeBinomial(count_mean(numbers, given), bounded_exp(log_dispersion, *_LOG_DISPERSIONS))
