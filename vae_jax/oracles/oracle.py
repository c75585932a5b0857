"""A model whose every quantity is known exactly."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from ..model import VAE, Params


class Oracle(NamedTuple):
    """A VAE and the exact answers for it, each a pure, differentiable function of (params, one x). All in nats.

    Attributes:
      vae: the model.
      params: parameters drawn at random, with a q(z|x) away from the posterior.
      log_evidence: log p(x), a log *density* for continuous x, so it may be positive.
      posterior: p(z|x).
      elbo: L(x) = log p(x) − KL(q(z|x) ‖ p(z|x)), with q(z|x) that of `params` (E1); `jax.grad` of it is the exact
        gradient.
      with_exact_posterior: params -> params of the same p whose q(z|x) is, for every x, p(z|x) or the nearest of q's
        family to it, in KL(q ‖ p); None where there is no closed form.
      iwae: (params, x, K) -> the IWAE bound of K samples, the expectation itself; None where it is not known.
      renyi: (params, x, K, α) -> the Rényi objective of K samples for a finite α, as `iwae`, which it is for α = 0.
    """

    vae: VAE
    params: Params
    log_evidence: Callable[[Params, Any], Float[Array, ""]]
    posterior: Callable[[Params, Any], Any]
    elbo: Callable[[Params, Any], Float[Array, ""]]
    with_exact_posterior: Callable[[Params], Params] | None
    iwae: Callable[[Params, Any, int], Float[Array, ""]] | None = None
    renyi: Callable[[Params, Any, int, float], Float[Array, ""]] | None = None


def check_example(x: Array, event_dim: int) -> None:
    """Raises `ValueError` unless `x` is one example: a square batch would meet W the wrong way round."""
    if np.shape(x) != (event_dim,):
        raise ValueError(f"encode takes ONE example of shape {(event_dim,)}, not {np.shape(x)}; batch with jax.vmap")


def exactly(oracle: Oracle) -> Oracle:
    """Returns the oracle with all its matrix products in full float32, which is not the default of accelerators."""

    def exact(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def in_full(*args: Any) -> Any:
            with jax.default_matmul_precision("highest"):
                return function(*args)

        return in_full

    vae = oracle.vae
    functions = {name: exact(value) for name, value in oracle._asdict().items() if callable(value) and value is not vae}
    model = VAE(exact(vae.init), exact(vae.encode), exact(vae.decode), exact(vae.prior), vae.given)
    return oracle._replace(vae=model, **functions)
