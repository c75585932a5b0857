"""Models whose latent is summed over: every state of binary variables, or a fine grid of one real variable."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..distributions import Bernoulli, DiagonalNormal, standard_normal
from ..keys import check_key
from ..model import VAE, Params
from .oracle import Oracle, check_example, exactly
from .quadrature import exact_renyi, normal_quadrature

_GRID = np.linspace(-10.0, 10.0, 4001)


@dataclasses.dataclass(frozen=True)
class TabulatedPosterior:
    """p(z|x) on a table of states, whose probabilities sum to one.

    Attributes:
      log_joint: z -> log p(x, z).
      log_evidence: log p(x).
      states: the table, [n, latent].
      log_masses: of each state; of a real latent, its cell's.
      width: of a cell of a real latent, 0 for a discrete one.
    """

    log_joint: Callable[[Array], Float[Array, ""]]
    log_evidence: Float[Array, ""]
    states: Float[Array, "n latent"]
    log_masses: Float[Array, " n"]
    width: float
    reparameterized: ClassVar[bool] = False

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.states.shape[1:]

    @property
    def mean(self) -> Float[Array, " latent"]:
        """E[z|x]."""
        return jnp.matmul(jnp.exp(self.log_masses), self.states, precision="highest")

    def log_prob(self, value: Float[Array, " latent"]) -> Float[Array, ""]:
        """log p(z|x) = log p(x, z) − log p(x)."""
        return self.log_joint(value) - self.log_evidence

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latent"]:
        """A state; of a real latent, a uniform draw from its cell."""
        state_key, cell_key = jax.random.split(key)
        state = self.states[jax.random.categorical(state_key, self.log_masses)]
        return state + self.width * jax.random.uniform(cell_key, state.shape, state.dtype, -0.5, 0.5)


def discrete(key: Key[Array, ""], *, latent_dim: int, event_dim: int) -> Oracle:
    """z_d ~ Bernoulli(σ(π_d)), x|z ~ N(Wz + μ, σ²I), q(z|x) = Π_d Bernoulli(σ((Ax + b)_d)): latents to enumerate.

    q is not reparameterised: a model for the score function and VIMCO. The columns of the W drawn here are orthogonal,
    so that the posterior factorises, with the log-odds π_d + W_dᵀ(x − μ)/σ² − ‖W_d‖²/2σ², affine in x, and is in q's
    family; `with_exact_posterior` holds for such W.

    Raises:
      ValueError: where latent_dim > event_dim, for which no such W exists, or above 12, for 4,096 states.
    """
    check_key(key)
    if not latent_dim <= min(event_dim, 12):
        raise ValueError(f"discrete needs latent_dim <= event_dim and <= 12, got {latent_dim} and {event_dim}")
    states = (np.arange(2**latent_dim)[:, None] >> np.arange(latent_dim)) & 1

    def init(key: Key[Array, ""]) -> Params:
        keys = jax.random.split(key, 6)
        directions = jnp.linalg.qr(jax.random.normal(keys[0], (event_dim, latent_dim)))[0]
        decoder = {
            "weight": directions * (1.0 + jax.random.uniform(keys[1], (latent_dim,)))[None],
            "mean": jax.random.normal(keys[2], (event_dim,)),
            "log_scale": jnp.asarray(-0.3),
            "prior": 0.5 * jax.random.normal(keys[3], (latent_dim,)),
        }
        encoder = {
            "weight": 0.3 * jax.random.normal(keys[4], (latent_dim, event_dim)),
            "mean": 0.3 * jax.random.normal(keys[5], (latent_dim,)),
        }
        return {"decoder": decoder, "encoder": encoder}

    def encode(params: Params, x: Float[Array, "..."]) -> Bernoulli:
        check_example(x, event_dim)
        return Bernoulli(params["encoder"]["weight"] @ x + params["encoder"]["mean"])

    def decode(params: Params, z: Float[Array, " latent"]) -> DiagonalNormal:
        decoder = params["decoder"]
        return DiagonalNormal(decoder["weight"] @ z + decoder["mean"], jnp.exp(decoder["log_scale"]))

    def prior(params: Params) -> Bernoulli:
        return Bernoulli(params["decoder"]["prior"])

    def with_exact_posterior(params: Params) -> Params:
        decoder = params["decoder"]
        precision = jnp.exp(-2 * decoder["log_scale"])
        weight = precision * decoder["weight"].T
        half = 0.5 * precision * jnp.sum(decoder["weight"] ** 2, axis=0)
        encoder = {"weight": weight, "mean": decoder["prior"] - weight @ decoder["mean"] - half}
        return {"decoder": decoder, "encoder": encoder}

    def table(params: Params) -> tuple[Float[Array, "n latent"], float]:
        return jnp.asarray(states, params["decoder"]["mean"].dtype), 0.0

    def under_q(params: Params, x: Array) -> tuple[Float[Array, "n latent"], Float[Array, " n"]]:
        z = table(params)[0]
        return z, jnp.exp(jax.vmap(encode(params, x).log_prob)(z))

    vae = VAE(init, encode, decode, prior)
    return _oracle(key, vae, table, under_q, with_exact_posterior)


def one_dimensional(key: Key[Array, ""], *, event_dim: int = 2) -> Oracle:
    """z ~ N(0, 1), x|z ~ N(μ + az + c tanh 2z, σ²I), q(z|x) = N(Aᵀx + b, s²): a bent line, by quadrature.

    The evidence is a trapezoid sum over z in [−10, 10]; expectations under q are sums of 601 terms, 12 standard
    deviations to either side. No q of this family is the posterior, so `with_exact_posterior` is None.
    """
    check_key(key)

    def init(key: Key[Array, ""]) -> Params:
        keys = jax.random.split(key, 4)
        decoder = {
            "line": jax.random.normal(keys[0], (event_dim,)),
            "bend": jax.random.normal(keys[1], (event_dim,)),
            "mean": 0.3 * jax.random.normal(keys[2], (event_dim,)),
            "log_scale": jnp.asarray(-0.3),
        }
        encoder = {
            "weight": 0.3 * jax.random.normal(keys[3], (event_dim,)),
            "mean": jnp.asarray(0.1),
            "log_scale": jnp.asarray(-0.4),
        }
        return {"decoder": decoder, "encoder": encoder}

    def encode(params: Params, x: Float[Array, "..."]) -> DiagonalNormal:
        encoder = params["encoder"]
        check_example(x, event_dim)
        mean = encoder["weight"] @ x + encoder["mean"]
        return DiagonalNormal(mean[..., None], jnp.exp(encoder["log_scale"])[None])

    def decode(params: Params, z: Float[Array, " 1"]) -> DiagonalNormal:
        decoder = params["decoder"]
        mean = decoder["mean"] + decoder["line"] * z + decoder["bend"] * jnp.tanh(2 * z)
        return DiagonalNormal(mean, jnp.exp(decoder["log_scale"]))

    def table(params: Params) -> tuple[Float[Array, "n 1"], float]:
        return jnp.asarray(_GRID, params["decoder"]["mean"].dtype)[:, None], float(_GRID[1] - _GRID[0])

    def under_q(params: Params, x: Array) -> tuple[Float[Array, "n 1"], Float[Array, " n"]]:
        q = encode(params, x)
        return normal_quadrature(q.mean, q.scale)

    return _oracle(key, VAE(init, encode, decode, lambda params: standard_normal(1)), table, under_q, None)


def _oracle(
    key: Key[Array, ""],
    vae: VAE,
    table: Callable[[Params], tuple[Array, float]],
    under_q: Callable[[Params, Array], tuple[Array, Array]],
    with_exact_posterior: Callable[[Params], Params] | None,
) -> Oracle:
    """The exact answers, from a table of z for sums over p and one with probabilities for sums over q."""

    def log_joint(params: Params, x: Any, z: Any) -> Float[Array, ""]:
        return vae.decode(params, z).log_prob(x) + vae.prior(params).log_prob(z)

    def log_masses(params: Params, x: Any) -> Float[Array, " n"]:
        states, width = table(params)
        return jax.vmap(lambda z: log_joint(params, x, z))(states) + (math.log(width) if width else 0.0)

    def log_evidence(params: Params, x: Any) -> Float[Array, ""]:
        return jax.nn.logsumexp(log_masses(params, x))

    def posterior(params: Params, x: Any) -> TabulatedPosterior:
        states, width = table(params)
        masses = log_masses(params, x)
        evidence = jax.nn.logsumexp(masses)
        return TabulatedPosterior(lambda z: log_joint(params, x, z), evidence, states, masses - evidence, width)

    def log_weights(params: Params, x: Any) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        q = vae.encode(params, x)
        states, probabilities = under_q(params, x)
        return jax.vmap(lambda z: log_joint(params, x, z) - q.log_prob(z))(states), probabilities

    def renyi(params: Params, x: Any, num_samples: int, alpha: float) -> Float[Array, ""]:
        return exact_renyi(*log_weights(params, x), num_samples, alpha)

    def iwae(params: Params, x: Any, num_samples: int) -> Float[Array, ""]:
        return renyi(params, x, num_samples, 0.0)

    def elbo(params: Params, x: Any) -> Float[Array, ""]:
        return renyi(params, x, 1, 1.0)

    params = jax.jit(vae.init)(key)
    return exactly(Oracle(vae, params, log_evidence, posterior, elbo, with_exact_posterior, iwae, renyi))
