"""Oracles that many tests share: each is made once in a worker, when a test first asks, not at import."""

import functools

import jax

from vae_jax import oracles
from vae_jax.oracles import Oracle


@functools.cache
def ppca(seed: int = 0, *, latent_dim: int = 2, event_dim: int = 3) -> Oracle:
    return _made(oracles.ppca, seed, latent_dim=latent_dim, event_dim=event_dim)


@functools.cache
def linear_gaussian(seed: int = 0, *, latent_dim: int = 2, event_dim: int = 3) -> Oracle:
    return _made(oracles.linear_gaussian, seed, latent_dim=latent_dim, event_dim=event_dim)


def _made(make, seed: int, **sizes: int) -> Oracle:
    # In float32 and of concrete arrays, whoever asks first: a test in float64, or a function that is being traced.
    with jax.enable_x64(False), jax.ensure_compile_time_eval():
        return make(jax.random.key(seed), **sizes)
