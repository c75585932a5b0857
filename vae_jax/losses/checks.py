"""Checks that losses and estimates share; all run at trace time."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from ..distributions import Distribution, Joint, Masked

_P = ParamSpec("_P")
_R = TypeVar("_R")


def check_one_example(q: Distribution, prior: Distribution) -> None:
    """Raises `ValueError` unless samples of q(z|x) and of the prior have one shape.

    A batch passed as one example gives a q with an extra axis, which broadcasts against the prior into a number
    that looks like a loss.
    """
    q_shape, prior_shape = (sample_shape(d) for d in (q, prior))
    if q_shape != prior_shape:
        raise ValueError(
            f"a sample of q(z|x) has shape {q_shape}, but one of the prior has {prior_shape}. A loss takes ONE example "
            "x; for a batch use losses.over_batch(loss)(params, keys, xs, ...)"
        )


def sample_shape(distribution: Distribution) -> Any:
    """Returns the shape of a sample, a pytree where the sample is one."""
    sample = jax.eval_shape(distribution.sample, jax.eval_shape(lambda: jax.random.key(0)))
    return jax.tree.map(lambda leaf: leaf.shape, sample)


def check_scalar(log_density: Any, name: str) -> None:
    """Raises `ValueError` unless a log-density is a scalar: a mean over pixels would pass for a loss."""
    if log_density.shape != ():
        raise ValueError(
            f"log_prob of {name} must be a scalar, the sum over the event; it has shape {log_density.shape}. A NumPyro "
            "distribution needs .to_event(n)"
        )


def check_event(p: Any, x: Any) -> None:
    """Compares x with what p(x|z) states of its events: `event_shape`, and `support` where `checkify` looks.

    Raises:
      ValueError: where the shapes differ, which broadcasting would hide. A value outside the support is a failed
        `checkify.debug_check`, which costs nothing but where the data are checked.
    """
    if isinstance(p, Joint) and isinstance(x, Mapping):
        for name, part in p.parts.items():
            check_event(part, x[name])
        return
    if not hasattr(x, "shape"):
        return
    name, shape = type(p).__name__, getattr(p, "event_shape", x.shape)
    if shape != x.shape:
        raise ValueError(f"p(x|z) is a {name} over events of shape {shape}, and x has shape {x.shape}")
    support = getattr(p, "support", None)
    x, observed = (jnp.asarray(x.value), x.observed) if isinstance(x, Masked) else (x, True)
    if support is not None and x.size:
        message = f"x lies outside the support of p(x|z): it has values from {{low}} to {{high}}, and {name} takes "
        message += str(support).replace("{", "{{").replace("}", "}}")
        low, high = jnp.min(jnp.where(observed, x, jnp.max(x))), jnp.max(jnp.where(observed, x, jnp.min(x)))
        checkify.debug_check(jnp.all(support(x) | ~jnp.asarray(observed)), message, low=low, high=high)


def without_kl(loss: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes a loss that has no KL of its own say so where it is given `beta` or `kl`, which are `negative_elbo`'s.

    Values that ask for nothing else than what the loss does, beta=1 and kl="auto" or "monte_carlo", are dropped.
    """

    @functools.wraps(loss)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        beta, kl = kwargs.pop("beta", 1), kwargs.pop("kl", "auto")
        if not isinstance(beta, (int, float)) or beta != 1:
            raise ValueError(
                f"{loss.__name__} takes no beta={beta!r}: it is made of weights p(x, z) / q(z|x), and has no KL that "
                "could be given a weight. Use negative_elbo(beta=...)"
            )
        if kl not in ("auto", "monte_carlo"):
            raise ValueError(
                f"{loss.__name__} takes no kl={kl!r}: log q(z|x) - log p(z) is in the weight of every sample, inside "
                "the logarithm of a mean or a ratio of weights, where no closed form can take its place. Use "
                "kl='monte_carlo', which is what it does, or negative_elbo(kl='analytic')"
            )
        return loss(*args, **kwargs)

    return checked
