"""A variational autoencoder as four pure functions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from .distributions import DiagonalNormal, MultivariateNormal
from .keys import check_key

Params = Any


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class VAE:
    """Four pure functions, written with whatever one likes, each for ONE example; batch with `jax.vmap`.

    It is static to JAX: a VAE passes unmarked through `jit`, `vmap` and `grad`, and equal ones compile once.
    A VAE with `given` is conditional: its other three functions take c as one more argument, and an example is
    whatever `given` makes x and c from. Every loss and estimate takes it as it takes any other.

    Attributes:
      init: key -> params, a pytree of arrays holding θ and φ.
      encode: (params, x) -> q(z|x), or (params, x, c) -> q(z|x, c).
      decode: (params, z) -> p(x|z), or (params, z, c) -> p(x|z, c).
      prior: (params,) -> p(z), or (params, c) -> p(z|c).
      given: example -> (x, c) in a conditional VAE; None where an example is x itself.
    """

    init: Callable[..., Params]
    # Any `Distribution`; typed so that what a particular one has beyond the protocol can be used.
    encode: Callable[..., Any]
    decode: Callable[..., Any]
    prior: Callable[..., Any]
    given: Callable[[Any], tuple[Any, Any]] | None = None

    def at(self, example: Any) -> tuple[Any, "VAE"]:
        """Returns x and the VAE of x: of an `example` that holds c too, with c closed over."""
        if self.given is None:
            return example, self
        x, c = self.given(example)
        return x, condition(self, c)


def condition(vae: VAE, c: Any) -> VAE:
    """Returns the VAE of x given this one c: q(z|x, c), p(x|z, c) and p(z|c) with `c` closed over."""
    return VAE(
        init=vae.init,
        encode=lambda params, x: vae.encode(params, x, c),
        decode=lambda params, z: vae.decode(params, z, c),
        prior=lambda params: vae.prior(params, c),
    )


def reparameterize(
    key: Key[Array, ""], mean: Float[Array, "*event"], scale: Float[Array, "..."]
) -> Float[Array, "*event"]:
    """z = μ + Se with e ~ N(0, I): a draw from N(μ, SSᵀ) as a differentiable function of μ and S (E10).

    Args:
      key: a typed PRNG key, `jax.random.key(seed)`.
      mean: μ, of the latent's shape.
      scale: S, not a variance: standard deviations of the mean's shape (or one scalar), or, for a mean [d], the
        Cholesky factor [d, d] of the covariance.

    Raises:
      ValueError: where the shape of `scale` is none of these, or a concrete one is not positive or no Cholesky factor.
      TypeError: where `key` is a raw uint32 key.

    Source: Kingma and Welling 2014, arXiv:1312.6114, section 2.4; Rezende et al. 2014, arXiv:1401.4082.
    """
    check_key(key)
    full = np.ndim(mean) == 1 and np.ndim(scale) == 2
    return (MultivariateNormal(mean, scale) if full else DiagonalNormal(mean, scale)).sample(key)
