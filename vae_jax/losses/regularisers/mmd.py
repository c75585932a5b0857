"""The maximum mean discrepancy between what is encoded and the prior."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...names import check_name
from ...precision import at_least_float32
from ..terms import Terms
from .regularizer import Regularizer

_Points = Float[Array, "number d"]


def mmd(weight: int | float, kernel: str = "imq") -> Regularizer:
    """Returns w MMD²(q(z), p(z)), to be added to the loss, without units; q(z) is the aggregate posterior.

    MMD² = E k(z, z') − 2 E k(z, y) + E k(y, y'), with z, z' ~ q(z) and y, y' ~ p(z) independent. The estimate takes
    one z of each of the minibatch's examples and as many y, and no pair of one example, so that it is unbiased and may
    be negative. Any q and p over real z of d elements will do; a p(z) that is not reparameterised, as a mixture is not,
    learns nothing from it. Added to the negative ELBO it is the loss of InfoVAE with λ − 1 = w
    and α = 0; with β = 0, that of the Wasserstein auto-encoder.

    Args:
      weight: w.
      kernel: "imq", c/(c + ‖z − y‖²) with c = 2d; "rbf", exp(−‖z − y‖²/(2d)).

    Raises:
      ValueError: for a weight that is not finite, an unknown kernel; from the returned function, for a z that is no
        array of real numbers, or a batch of one.

    Source: Tolstikhin et al. 2018, arXiv:1711.01558, algorithm 2; Zhao, Song and Ermon 2019, arXiv:1706.02262,
    section 3.2.1; the estimate: Gretton et al. 2012, Journal of Machine Learning Research 13, lemma 6.
    """
    check_name(kernel, "kernel", _KERNELS)
    if not math.isfinite(weight):
        raise ValueError(f"mmd: weight must be finite, got {weight!r}")

    def add(terms: Terms) -> Float[Array, ""]:
        if not all(
            isinstance(z, jax.Array) and jnp.issubdtype(z.dtype, jnp.floating) for z in (terms.z, terms.z_prior)
        ):
            raise ValueError("mmd needs a z that is one array of real numbers")
        size = len(terms.z)
        if size < 2:
            raise ValueError("mmd needs a batch of at least two examples")
        z, y = (points.reshape(size, -1) for points in at_least_float32(terms.z[:, 0], terms.z_prior))
        similarity = _KERNELS[kernel]
        pairs = similarity(z, z) + similarity(y, y) - similarity(z, y) - similarity(y, z)
        return weight * (jnp.sum(pairs) - jnp.trace(pairs)) / (size * (size - 1))

    return Regularizer(add)


def _squared_distances(z: _Points, y: _Points) -> Float[Array, "number number"]:
    return jnp.sum((z[:, None] - y[None]) ** 2, axis=-1)


def _imq(z: _Points, y: _Points) -> Float[Array, "number number"]:
    return 1 / (1 + _squared_distances(z, y) / (2 * z.shape[1]))


def _rbf(z: _Points, y: _Points) -> Float[Array, "number number"]:
    return jnp.exp(-_squared_distances(z, y) / (2 * z.shape[1]))


_KERNELS: dict[str, Callable[[_Points, _Points], Float[Array, "number number"]]] = {"imq": _imq, "rbf": _rbf}
