"""What every gradient estimator is made of, sample by sample, each by one plain derivative, in float64."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from vae_jax import VAE, oracles
from vae_jax.distributions import Bernoulli, DiagonalNormal

SEED = 34  # of the key that every loss is given


class Parts(NamedTuple):
    """Of K samples z_k: the log-densities [K], and the derivatives [K, parameters] that estimators combine.

    joint: ∂θ of log p(x|z_k) + β log p(z_k), z_k still; path: ∂z of log p(x|z) + β (log p(z) − log q(z)), pulled back
    through z_k(φ); score: ∂φ log q(z_k), z_k still.
    """

    z: np.ndarray
    log_likelihood: np.ndarray
    log_prior: np.ndarray
    log_q: np.ndarray
    joint: np.ndarray
    path: np.ndarray
    score: np.ndarray

    def log_weights(self, beta: float = 1.0) -> np.ndarray:
        return self.log_likelihood + beta * (self.log_prior - self.log_q)


class Model(NamedTuple):
    vae: VAE
    params: Any
    x: jax.Array


@functools.cache
def build(kind: str) -> Model:
    """Call under `jax.enable_x64(True)`, of which the parameters then are."""
    x = jax.random.normal(jax.random.key(1), (3,))
    if kind == "linear_gaussian":
        oracle = oracles.linear_gaussian(jax.random.key(0), latent_dim=2, event_dim=3)
        return Model(oracle.vae, oracle.params, x)
    params, x = bernoulli_mlp.init(jax.random.key(5)), (x > 0).astype(x.dtype)
    if kind == "bernoulli_mlp":
        return Model(bernoulli_mlp, params, x)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.float32).astype(leaf.dtype), params)
    return Model(in_float32_too, rounded, jnp.append(x, jnp.zeros(NUM_DARK)))


def parts(kind: str, num_samples: int, *, beta: float = 1.0, key: Any = None) -> Parts:
    """Of the samples that the losses draw: sample k is from split(key, K)[k]."""
    vae, params, x = build(kind)
    keys = jax.random.split(jax.random.key(SEED) if key is None else key, num_samples)
    return Parts(*map(np.asarray, _parts(vae, num_samples)(params, keys, x, beta)))


@functools.cache
def _parts(vae: VAE, num_samples: int):
    @jax.jit
    def compute(params, keys, x, beta):
        def of_one(key):
            draw = lambda params: vae.encode(params, x).sample(key)
            likelihood = lambda params, z: vae.decode(params, z).log_prob(x)
            prior = lambda params, z: vae.prior(params).log_prob(z)
            log_q = lambda params, z: vae.encode(params, x).log_prob(z)
            joint = lambda params, z: likelihood(params, z) + beta * prior(params, z)
            z, pull_back = jax.vjp(draw, params)
            slope = jax.grad(lambda z: joint(params, z) - beta * log_q(params, z))(z)
            gradients = (jax.grad(joint)(params, z), pull_back(slope)[0], jax.grad(log_q)(params, z))
            flat = (ravel_pytree(gradient)[0] for gradient in gradients)
            return z, likelihood(params, z), prior(params, z), log_q(params, z), *flat

        return jax.vmap(of_one)(keys)

    return compute


def flat(gradient: Any) -> np.ndarray:
    return np.asarray(ravel_pytree(gradient)[0])


def log_mean_exp(l: np.ndarray) -> float:
    top = np.max(l)
    return top + np.log(np.mean(np.exp(l - top)))


def softmax(l: np.ndarray) -> np.ndarray:
    weights = np.exp(l - np.max(l))
    return weights / weights.sum()


def _init(key: jax.Array) -> Any:
    keys = jax.random.split(key, 7)
    shapes = {"in": (4, 3), "mean": (2, 4), "log_scale": (2, 4), "hidden": (4, 2), "out": (3, 4), "prior": (2,)}
    draws = zip(keys, shapes.items(), strict=False)
    params = {name: 0.5 * jax.random.normal(key, shape) for key, (name, shape) in draws}
    # One parameter that is in p and in q.
    return params | {"shared": 0.3 * jax.random.normal(keys[6], (2,))}


def _encode(params: Any, x: jax.Array) -> DiagonalNormal:
    hidden = jnp.tanh(params["in"] @ x)
    scale = jnp.exp(0.3 * params["log_scale"] @ hidden + params["shared"])
    return DiagonalNormal(params["mean"] @ hidden, scale)


bernoulli_mlp = VAE(
    init=_init,
    encode=_encode,
    decode=lambda params, z: Bernoulli(params["out"] @ jnp.tanh(params["hidden"] @ z)),
    prior=lambda params: DiagonalNormal(params["prior"], jnp.exp(-params["shared"])),
)


class Float32Noise(DiagonalNormal):
    """Its samples are the same in float32 and in float64."""

    def noise(self, key: jax.Array) -> jax.Array:
        return jax.random.normal(key, self.mean.shape, jnp.float32).astype(self.mean.dtype)


NUM_DARK = 216  # pixels of even odds; their log-density, -150 nats, is a weight that float32 cannot hold


def _encode_bright(params: Any, x: jax.Array) -> Float32Noise:
    q = _encode(params, x[:-NUM_DARK])
    return Float32Noise(q.mean, q.scale)


def _decode_all(params: Any, z: jax.Array) -> Bernoulli:
    return Bernoulli(jnp.append(bernoulli_mlp.decode(params, z).logits, jnp.zeros(NUM_DARK, z.dtype)))


in_float32_too = VAE(bernoulli_mlp.init, _encode_bright, _decode_all, bernoulli_mlp.prior)
