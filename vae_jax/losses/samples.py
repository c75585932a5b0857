"""Samples of q(z|x), and the densities there: by what of them carries a gradient."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..distributions import has_costly_inverse
from .example import Densities, Example, over_samples


@dataclasses.dataclass(frozen=True)
class Samples:
    """K samples z_k of the q(z|x) of one example.

    Where log q(z|x) is costly at a given z, as an inverse autoregressive flow's is, it comes from the noise e_k that
    z_k = g(e_k) was made of, and its slope ∂ log q(z|x)/∂z at a fixed q from `q.log_prob_gradient(e_k)`.

    Attributes:
      example: the example.
      drawn: the z_k, or the e_k, with a leading axis.
      from_noise: whether they are the e_k.
    """

    example: Example
    drawn: Any
    from_noise: bool

    @property
    def z(self) -> Any:
        """The samples z_k, as differentiable functions of q's parameters where q is reparameterised."""
        return over_samples(lambda e: self.example.q.transform(e)[0], self.drawn) if self.from_noise else self.drawn

    def moving(self) -> Densities:
        """Returns the densities with all their derivatives: through z_k, and with respect to q and p."""
        if self.from_noise:
            return over_samples(lambda e: self.example.densities(*self.example.q.transform(e)), self.drawn)
        return over_samples(self.example.densities, self.drawn)

    def at_fixed_z(self) -> Densities:
        """Returns the densities with their derivatives with respect to q and p, z_k held fixed."""
        if not self.from_noise:
            return over_samples(self.example.densities, jax.lax.stop_gradient(self.drawn))
        slope = self._slope()

        def densities(e: Any) -> Densities:
            z, log_q = self.example.q.transform(e)
            fixed = jax.lax.stop_gradient(z)
            return self.example.densities(fixed, log_q - slope(e, z))

        return over_samples(densities, self.drawn)

    def at_fixed_q(self, factors: Float[Array, " K"]) -> Densities:
        """Returns the densities with their derivatives through z_k, times `factors`, and with respect to p; q is held
        fixed."""
        each = (self.drawn, factors)
        if not self.from_noise:
            log_q = _at_fixed(self.example.q.log_prob, self.drawn)

            def of_density(sample: tuple[Any, Array]) -> Densities:
                z = _scale_gradient(*sample)
                return self.example.densities(z, log_q(z))

            return over_samples(of_density, each)
        slope = self._slope()

        def of_noise(sample: tuple[Any, Array]) -> Densities:
            e, factor = sample
            z, value = self.example.q.transform(e)
            z = _scale_gradient(z, factor)
            return self.example.densities(z, jax.lax.stop_gradient(value) + slope(e, z))

        return over_samples(of_noise, each)

    def _slope(self) -> Callable[[Any, Any], Float[Array, ""]]:
        """Returns (e, z) -> 0 with the derivative of log q(z|x) in z at z = g(e), q held fixed."""
        gradient_of = _at_fixed(self.example.q.log_prob_gradient, self.drawn)

        def slope(e: Any, z: Any) -> Float[Array, ""]:
            gradients = jax.lax.stop_gradient(gradient_of(e))
            products = jax.tree.map(lambda g, z: jnp.sum(g * (z - jax.lax.stop_gradient(z))), gradients, z)
            return sum(jax.tree.leaves(products), start=jnp.zeros(()))

        return slope


def draw(example: Example, keys: Key[Array, " K"]) -> Samples:
    """Returns a sample of q(z|x) for each key."""
    from_noise = has_costly_inverse(example.q)
    return Samples(example, over_samples(example.q.noise if from_noise else example.q.sample, keys), from_noise)


def _at_fixed(function: Callable[[Any], Any], batch: Any) -> Callable[[Any], Any]:
    """Returns a method of q with no derivative with respect to anything that q was computed from."""
    # Not stop_gradient(q): a subclass of ours, or a foreign class, need not be a pytree.
    converted, fixed = jax.closure_convert(function, jax.tree.map(lambda leaf: leaf[0], batch))
    return lambda value: converted(value, *jax.lax.stop_gradient(fixed))


@jax.custom_jvp
def _scale_gradient(z: Any, factor: Float[Array, ""]) -> Any:
    """z; its gradient times `factor`. On z rather than on the parameters, whose gradients would be per example."""
    return z


@_scale_gradient.defjvp
def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
    z, factor = primals
    return z, jax.tree.map(lambda leaf: leaf * factor, tangents[0])
