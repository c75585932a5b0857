"""Sums of weights of which only the logarithms are known, without loss over a million terms."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array


class Sum(NamedTuple):
    """A running sum, and what its roundings have cost it so far (Knuth's two-sum)."""

    total: Array
    lost: Array

    @property
    def value(self) -> Array:
        return self.total + self.lost

    def add(self, terms: Array) -> "Sum":
        total = self.total + terms
        added = total - self.total
        error = (self.total - (total - added)) + (terms - added)
        return Sum(total, self.lost + jnp.where(jnp.isfinite(total), error, 0))

    def scaled(self, factor: Array) -> "Sum":
        return Sum(self.total * factor, self.lost * factor)


def or_zero(log_weights: Array) -> Array:
    """Returns the log-weights with 0 for −∞: −∞ − −∞ is no number, and sums of zeros may have any scale."""
    return jnp.where(jnp.isfinite(log_weights), log_weights, 0)


def common_scale(peak: Array, other: Array) -> tuple[Array, Array, Array]:
    """Returns the larger, and the factors that bring sums of weights over e^peak and e^other to it."""
    largest = jnp.maximum(peak, other)
    return largest, jnp.exp(peak - or_zero(largest)), jnp.exp(other - or_zero(largest))
