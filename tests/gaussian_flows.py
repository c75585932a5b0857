"""Flows whose distribution is known exactly."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vae_jax import VAE
from vae_jax.distributions import InverseAutoregressiveFlow, MultivariateNormal, standard_normal


def as_flow(gaussian: MultivariateNormal, shape: tuple[int, ...]) -> InverseAutoregressiveFlow:
    """One step that makes z = μ + Se of the noise e, as the Gaussian does, but over an event of another shape.

    z_0 = 2 diag(S) e, every gate is ½, and m = 2μ + (S − diag S) diag(S)⁻¹ z_0.
    """
    size, diagonal = gaussian.mean.size, jnp.diag(gaussian.scale_tril)
    below = jnp.tril(gaussian.scale_tril, -1) / diagonal[None]
    output = {
        "kernel": jnp.zeros((1, 2 * size)),
        "direct": jnp.concatenate([below.T, jnp.zeros((size, size))], axis=1),
        "bias": jnp.concatenate([2 * gaussian.mean, jnp.full(size, -2.0)]),  # a gate is sigmoid(s + 2)
    }
    layer = {"hidden": ({"kernel": jnp.zeros((size, 1)), "bias": jnp.zeros(1)},), "output": output}
    scale = (2 * diagonal).reshape(shape)
    return InverseAutoregressiveFlow(jnp.zeros(shape), scale, jnp.zeros((1, 1)), (layer,))


def with_flow(vae: VAE, shape: tuple[int, ...]) -> VAE:
    """The VAE of q(z|x) a `MultivariateNormal` and a standard normal prior, with that flow and z of another shape."""

    def decode(params: Any, z: Array) -> Any:
        assert z.shape == shape
        return vae.decode(params, jnp.ravel(z))

    encode = lambda params, x: as_flow(vae.encode(params, x), shape)
    return VAE(vae.init, encode, decode, lambda params: standard_normal(shape))
