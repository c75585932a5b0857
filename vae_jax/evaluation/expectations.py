"""What a distribution is expected to give, where it says so."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ..distributions import DiagonalNormal, MultivariateNormal
from ..precision import at_least_float32


def expected(p: Any) -> Float[Array, "..."] | None:
    """Returns E[x], or where x is a class the probabilities of all along a last axis; None where p states neither."""
    value = stated(p, "mean") if (of_classes := _of_classes(p)) is None else of_classes
    return None if value is None else at_least_float32(value)[0]


def most_probable(p: Any) -> Shaped[Array, "..."] | None:
    """Returns E[x], the most probable class where x is one, or None as `expected`."""
    of_classes = _of_classes(p)
    return expected(p) if of_classes is None else jnp.argmax(of_classes, axis=-1).astype(jnp.int32)


def _of_classes(p: Any) -> Array | None:
    mean, probs = stated(p, "mean"), stated(p, "probs")
    # NumPyro's classes have a mean, of NaN.
    return probs if mean is None or (probs is not None and jnp.ndim(probs) > jnp.ndim(mean)) else None


def moments(q: Any) -> tuple[Float[Array, "*event"], Float[Array, "*event"]] | None:
    """Returns mean and standard deviations, or None where q does not state both."""
    if isinstance(q, MultivariateNormal):
        mean, scale = q.mean, jnp.linalg.norm(q.scale_tril, axis=-1)
    elif isinstance(q, DiagonalNormal):
        mean, scale = q.mean, q.scale
    else:
        mean, variance = stated(q, "mean"), stated(q, "variance")
        if mean is None or variance is None:
            return None
        scale = jnp.sqrt(variance)
    mean, scale = at_least_float32(mean, scale)
    return mean, jnp.broadcast_to(scale, mean.shape)


def stated(distribution: Any, name: str) -> Any:
    """Returns an attribute; None where there is none, or, as NumPyro's flows have it, one that raises."""
    try:
        return getattr(distribution, name, None)
    except NotImplementedError:
        return None
