"""The bounds by name, with what each has to be told, at one example; call under `jax.enable_x64(True)`."""

import functools
from typing import Any

import jax
import numpy as np

from tests.estimator_parts import SEED, build
from vae_jax import losses, oracles

BOUNDS = tuple(losses.legal_combinations())
# What a bound has to be told.
TOLD: dict[str, dict] = {"renyi": {"alpha": 0.5}, "miwae": {"num_groups": 2}, "piwae": {"num_groups": 2}}
TOLD["ciwae"] = {"elbo_weight": 0.3}


def loss_of(bound: str) -> Any:
    return getattr(losses, f"negative_{bound}")


def evaluate(bound: str, *, kind: str = "bernoulli_mlp", key: Any = None, **options) -> tuple[float, losses.Terms, Any]:
    """The loss, its terms and its gradient."""
    vae, params, x = build(kind)
    options = {"kl": "monte_carlo"} | options if bound == "elbo" else options
    loss = lambda params: loss_of(bound)(params, jax.random.key(SEED) if key is None else key, x, vae=vae, **options)
    (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return value, terms, gradient


def assert_same(first: Any, second: Any, rtol: float = 1e-9) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@functools.cache
def near_posterior():
    """A q somewhat wider than the posterior, so that no weight is far above the rest: (oracle, params, x, log p(x))."""
    with jax.enable_x64(False), jax.ensure_compile_time_eval():  # in float32, whoever asks first
        oracle = oracles.ppca(jax.random.key(0), latent_dim=2, event_dim=3)
        params = oracle.with_exact_posterior(oracle.params)
        encoder = params["encoder"] | {"log_scale": params["encoder"]["log_scale"] + 0.3}
        params, x = params | {"encoder": encoder}, jax.random.normal(jax.random.key(1), (3,))
        return oracle, params, x, float(oracle.log_evidence(params, x))
