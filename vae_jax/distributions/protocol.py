"""What the rest of the package asks of a distribution."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


@runtime_checkable
class Distribution(Protocol):
    """One unbatched random variable; batch with `jax.vmap`.

    Anything with these two methods serves as q(z|x), p(z) or p(x|z), a NumPyro distribution for one. A q(z|x) over
    real numbers also states whether it is `reparameterized` (NumPyro's have `has_rsample`) where a gradient follows
    its samples. The distributions of this package have `event_shape` and `reparameterized` and, where that is true,
    `noise(key)` and `transform(noise) -> (z, log_q)`: the two halves of z = g(e) (E10). One that states a
    `costly_inverse` gives log q from the noise wherever it drew z itself, and has `log_prob_gradient(noise)`, the
    gradient of its log-density at that z. Where a p(x|z) states its
    `event_shape`, or its `support` as a function of a value that is true inside it, the data are compared with it.
    """

    def sample(self, key: Key[Array, ""], /) -> Any:
        """One draw."""
        ...

    def log_prob(self, value: Any, /) -> Float[Array, ""]:
        """The log-density of one value, in nats."""
        ...


def is_reparameterized(distribution: Distribution) -> bool:
    """Returns whether gradients flow through `distribution.sample`, which the pathwise gradient needs (E12).

    It is what the distribution states: `reparameterized`, or NumPyro's `has_rsample`. Samples that are whole numbers
    have no gradient, and need no statement.

    Raises:
      ValueError: where samples are real numbers and nothing is stated. No sample shows whether its gradient is right.
    """
    stated = stated_reparameterized(distribution)
    if stated is not None:
        return stated
    sample = jax.eval_shape(distribution.sample, jax.random.key(0))
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(sample)):
        return False
    raise ValueError(
        f"{type(distribution).__name__} does not state whether its samples are reparameterised: give the class "
        "`reparameterized = True` if sample(key) is differentiable in the distribution's parameters, z = g(noise), "
        "else `reparameterized = False`"
    )


def has_costly_inverse(distribution: Any) -> bool:
    """Returns whether log q(z) is to be had from the noise that z was made of, by `transform`, rather than at z.

    It is what the distribution states, `costly_inverse`; a flow that is inverted element by element does.
    """
    return bool(getattr(distribution, "costly_inverse", False))


def stated_reparameterized(distribution: Distribution) -> bool | None:
    """Returns `reparameterized`, else NumPyro's `has_rsample`; None where the distribution has neither."""
    for name in ("reparameterized", "has_rsample"):
        if hasattr(distribution, name):
            return bool(getattr(distribution, name))
    return None


def density_classes(distribution: Any) -> list[type]:
    """Returns the classes whose density the distribution has, the nearest first.

    They are its own class and those above it whose `log_prob` it inherits: what is known of their densities, a KL for
    one, holds for it. A subclass with a `log_prob` of its own is another distribution.
    """
    own = type(distribution)
    density = lambda cls: tuple(getattr(cls, name, None) for name in ("log_prob", "log_prob_per_element"))
    return [base for base in own.__mro__ if base is own or density(base) == density(own)]


def check_event(value: Any, event_shape: tuple[int, ...], name: str) -> None:
    """Raises `ValueError` where `value` is not one event: broadcasting would give a wrong density silently."""
    shape = getattr(value, "shape", None)  # of a Masked too
    shape = np.shape(value) if shape is None else shape
    if shape != event_shape:
        raise ValueError(f"{name}.log_prob takes one value of shape {event_shape}, not {shape}; batch with jax.vmap")


def check_positive(values: jax.typing.ArrayLike, message: str) -> None:
    """Raises `ValueError`, with the message and the first of them, where some values are not positive."""
    values = np.asarray(values)
    bad = values[~(values > 0)]
    if bad.size:
        why = ": x or the parameters that it was computed from are not finite" if np.isnan(bad).any() else ""
        raise ValueError(f"{message}, got {bad[0]}{why}")
