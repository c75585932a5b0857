"""Linear-Gaussian models: everything in closed form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..distributions import DiagonalNormal, MultivariateNormal, standard_normal
from ..keys import check_key
from ..model import VAE, Params
from .oracle import Oracle, check_example, exactly
from .quadrature import exact_renyi, normal_quadrature

_Matrix = Float[Array, "_ _"]


def linear_gaussian(key: Key[Array, ""], *, latent_dim: int, event_dim: int) -> Oracle:
    """z ~ N(0, I), x|z ~ N(Wz + μ, Ψ), q(z|x) = N(Ax + b, SSᵀ), with full covariances Ψ and SSᵀ.

    The evidence is N(x; μ, WWᵀ + Ψ); the posterior is N(VWᵀΨ⁻¹(x − μ), V) with V = (I + WᵀΨ⁻¹W)⁻¹; and the ELBO is
    log N(x; Wm + μ, Ψ) − ½ tr(SᵀWᵀΨ⁻¹WS) − KL(N(m, SSᵀ) ‖ N(0, I)) with m = Ax + b.

    The parameters hold a matrix `noise` for Ψ's Cholesky factor and `scale` for S, both with the *logarithm* of the
    positive diagonal on theirs and ignored above it, so that every array of floats is a legal parameter.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, equations 2.113–2.117.
    """
    check_key(key)

    def init(key: Key[Array, ""]) -> Params:
        keys = jax.random.split(key, 6)
        decoder = {
            "weight": jax.random.normal(keys[0], (event_dim, latent_dim)),
            "mean": jax.random.normal(keys[1], (event_dim,)),
            "noise": 0.3 * jax.random.normal(keys[2], (event_dim, event_dim)),
        }
        encoder = {
            "weight": 0.3 * jax.random.normal(keys[3], (latent_dim, event_dim)),
            "mean": 0.3 * jax.random.normal(keys[4], (latent_dim,)),
            "scale": 0.3 * jax.random.normal(keys[5], (latent_dim, latent_dim)) - 0.5 * jnp.eye(latent_dim),
        }
        return {"decoder": decoder, "encoder": encoder}

    def encode(params: Params, x: Float[Array, "..."]) -> MultivariateNormal:
        check_example(x, event_dim)
        encoder = params["encoder"]
        return MultivariateNormal(encoder["weight"] @ x + encoder["mean"], _factor(encoder["scale"]))

    def decode(params: Params, z: Float[Array, " latent"]) -> MultivariateNormal:
        decoder = params["decoder"]
        return MultivariateNormal(decoder["weight"] @ z + decoder["mean"], _factor(decoder["noise"]))

    def with_exact_posterior(params: Params) -> Params:
        decoder = params["decoder"]
        weight, scale = _posterior(decoder["weight"], _factor(decoder["noise"]))
        log_diagonal = scale - jnp.diag(jnp.diag(scale)) + jnp.diag(jnp.log(jnp.diag(scale)))
        encoder = {"weight": weight, "mean": -weight @ decoder["mean"], "scale": log_diagonal}
        return {"decoder": decoder, "encoder": encoder}

    return _oracle(key, VAE(init, encode, decode, _prior(latent_dim)), with_exact_posterior)


def ppca(key: Key[Array, ""], *, latent_dim: int, event_dim: int) -> Oracle:
    """Probabilistic PCA: z ~ N(0, I), x|z ~ N(Wz + μ, σ²I), q(z|x) = N(Ax + b, diag s²), with one learned σ.

    The posterior is N(V Wᵀ(x − μ)/σ², V) with V = σ²(WᵀW + σ²I)⁻¹. The columns of the W drawn here are orthogonal, as
    in the maximum-likelihood solution up to a rotation, so that V is diagonal and the posterior in the family of q. For
    any other W the nearest q has the posterior's mean and the variances 1 / (V⁻¹)_dd.

    Raises:
      ValueError: where latent_dim > event_dim, for which no such W exists.

    Source: Tipping and Bishop 1999, Journal of the Royal Statistical Society B 61(3), equations 5–8; Lucas et al.
    2019, arXiv:1911.02469.
    """
    check_key(key)
    if latent_dim > event_dim:
        raise ValueError(f"ppca needs latent_dim <= event_dim, got {latent_dim} > {event_dim}")

    def init(key: Key[Array, ""]) -> Params:
        keys = jax.random.split(key, 6)
        directions = jnp.linalg.qr(jax.random.normal(keys[0], (event_dim, latent_dim)))[0]
        lengths = 1.0 + jax.random.uniform(keys[1], (1, latent_dim))
        decoder = {
            "weight": directions * lengths,
            "mean": jax.random.normal(keys[2], (event_dim,)),
            "log_scale": jnp.asarray(-0.3),
        }
        encoder = {
            "weight": 0.3 * jax.random.normal(keys[3], (latent_dim, event_dim)),
            "mean": 0.3 * jax.random.normal(keys[4], (latent_dim,)),
            "log_scale": 0.3 * jax.random.normal(keys[5], (latent_dim,)) - 0.5,
        }
        return {"decoder": decoder, "encoder": encoder}

    def encode(params: Params, x: Float[Array, "..."]) -> DiagonalNormal:
        check_example(x, event_dim)
        encoder = params["encoder"]
        return DiagonalNormal(encoder["weight"] @ x + encoder["mean"], jnp.exp(encoder["log_scale"]))

    def decode(params: Params, z: Float[Array, " latent"]) -> DiagonalNormal:
        decoder = params["decoder"]
        return DiagonalNormal(decoder["weight"] @ z + decoder["mean"], jnp.exp(decoder["log_scale"]))

    def with_exact_posterior(params: Params) -> Params:
        decoder = params["decoder"]
        noise = jnp.exp(decoder["log_scale"]) * jnp.eye(event_dim)
        weight, _ = _posterior(decoder["weight"], noise)
        precisions = 1.0 + jnp.sum(decoder["weight"] ** 2, axis=0) * jnp.exp(-2 * decoder["log_scale"])
        encoder = {"weight": weight, "mean": -weight @ decoder["mean"], "log_scale": -0.5 * jnp.log(precisions)}
        return {"decoder": decoder, "encoder": encoder}

    return _oracle(key, VAE(init, encode, decode, _prior(latent_dim)), with_exact_posterior)


def _oracle(key: Key[Array, ""], vae: VAE, with_exact_posterior: Callable[[Params], Params]) -> Oracle:
    """The closed forms, read off the model itself: p(x|z) is affine in z, q(z|x) Gaussian."""

    def likelihood(params: Params) -> tuple[_Matrix, Float[Array, " event"], _Matrix]:
        p = vae.decode(params, jnp.zeros_like(vae.prior(params).mean))
        return params["decoder"]["weight"], params["decoder"]["mean"], _as_factor(p)

    def log_evidence(params: Params, x: Float[Array, " event"]) -> Float[Array, ""]:
        weight, mean, noise = likelihood(params)
        covariance = weight @ weight.T + noise @ noise.T
        return MultivariateNormal(mean, jnp.linalg.cholesky(covariance)).log_prob(x)

    def posterior(params: Params, x: Float[Array, " event"]) -> MultivariateNormal:
        weight, mean, noise = likelihood(params)
        regression, scale = _posterior(weight, noise)
        return MultivariateNormal(regression @ (x - mean), scale)

    def elbo(params: Params, x: Float[Array, " event"]) -> Float[Array, ""]:
        weight, mean, noise = likelihood(params)
        q = vae.encode(params, x)
        m, scale = q.mean, _as_factor(q)
        whitened = jax.scipy.linalg.solve_triangular(noise, weight @ scale, lower=True)
        reconstruction = MultivariateNormal(weight @ m + mean, noise).log_prob(x) - 0.5 * jnp.sum(whitened**2)
        log_det = jnp.sum(jnp.log(jnp.diag(scale)))
        kl = 0.5 * (jnp.sum(scale**2) + jnp.sum(m**2) - m.size) - log_det
        return reconstruction - kl

    def renyi(params: Params, x: Float[Array, " event"], num_samples: int, alpha: float) -> Float[Array, ""]:
        q, prior = vae.encode(params, x), vae.prior(params)
        nodes, probabilities = normal_quadrature(q.mean, _as_factor(q)[0])
        log_weight = lambda z: vae.decode(params, z).log_prob(x) + prior.log_prob(z) - q.log_prob(z)
        return exact_renyi(jax.vmap(log_weight)(nodes), probabilities, num_samples, alpha)

    def iwae(params: Params, x: Float[Array, " event"], num_samples: int) -> Float[Array, ""]:
        return renyi(params, x, num_samples, 0.0)

    params = jax.jit(vae.init)(key)
    one_latent = vae.prior(params).event_shape == (1,)
    of_samples = (iwae, renyi) if one_latent else (None, None)
    return exactly(Oracle(vae, params, log_evidence, posterior, elbo, with_exact_posterior, *of_samples))


def _prior(latent_dim: int) -> Callable[[Params], DiagonalNormal]:
    return lambda params: standard_normal(latent_dim)


def _posterior(weight: _Matrix, noise: _Matrix) -> tuple[_Matrix, _Matrix]:
    """(VWᵀΨ⁻¹, chol V) with V = (I + WᵀΨ⁻¹W)⁻¹ and Ψ = noise noiseᵀ."""
    precision_weight = jax.scipy.linalg.cho_solve((noise, True), weight)
    covariance = jnp.linalg.inv(jnp.eye(weight.shape[1]) + weight.T @ precision_weight)
    return covariance @ precision_weight.T, jnp.linalg.cholesky(covariance)


def _factor(raw: _Matrix) -> _Matrix:
    """A Cholesky factor from any square matrix: its lower part, with the exponential of its diagonal."""
    return jnp.tril(raw, -1) + jnp.diag(jnp.exp(jnp.diag(raw)))


def _as_factor(d: DiagonalNormal | MultivariateNormal) -> _Matrix:
    return d.scale_tril if isinstance(d, MultivariateNormal) else jnp.diag(jnp.broadcast_to(d.scale, d.mean.shape))
