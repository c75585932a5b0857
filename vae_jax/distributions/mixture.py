"""Mixtures of distributions of one class, a VampPrior for one."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from ..precision import at_least_float32
from ._pytree import floating, pytree_dataclass
from .masked import Masked

_AT_ONCE = 50  # components


@pytree_dataclass
class Mixture:
    """Σ_k w_k p_k: one of K distributions of one class, drawn with the probabilities w.

    log p(z) = logsumexp_k(log w_k + log p_k(z)), in nats. With the components q(z|u_k) at K learned pseudo-inputs u and
    equal weights it is a VampPrior: `Mixture(jax.vmap(encode)(u))`.

    A sample is not reparameterised: which component it is drawn from has no gradient. `mean` is Σ_k w_k mean_k, where
    the components have a mean.

    Attributes:
      components: a distribution that is a pytree, with one leading axis K on every array, as `jax.vmap` returns it.
      log_weights: log w up to one constant for all, of shape [K]; None for equal weights.

    Raises:
      ValueError: at construction, where the arrays have no leading axis in common, or the weights another.

    Source: Tomczak and Welling 2018, arXiv:1705.07120 (VampPrior).
    """

    components: Any
    log_weights: Float[Array, " K"] | None = None
    reparameterized: ClassVar[bool] = False

    def __post_init__(self) -> None:
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(self.components)}
        if len(lengths) != 1 or not lengths.isdisjoint({(), (0,)}):
            raise ValueError(
                "Mixture: the arrays of components must have one leading axis, the number of components, as those of "
                f"jax.vmap(DiagonalNormal)(means, scales); got lengths {sorted(lengths)}"
            )
        if self.log_weights is None:
            return
        log_weights = floating(self.log_weights)
        if {log_weights.shape} != lengths:
            raise ValueError(f"Mixture: {self._number()} components need as many log_weights; got {log_weights.shape}")
        object.__setattr__(self, "log_weights", log_weights)

    @property
    def event_shape(self) -> tuple[int, ...]:
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self.components)
        return one.event_shape

    @property
    def mean(self) -> Float[Array, "*event"]:
        means = jax.vmap(lambda component: component.mean)(self.components)
        means, log_weights = at_least_float32(means, self._unnormalised())
        return jnp.tensordot(jax.nn.softmax(log_weights), means, axes=1, precision="highest")

    def sample(self, key: Key[Array, ""]) -> Any:
        which_key, value_key = jax.random.split(key)
        k = jax.random.categorical(which_key, self._unnormalised())
        component = jax.tree.map(lambda leaf: leaf[k], self.components)
        return component.sample(value_key)

    def log_prob(self, value: Shaped[Array, "*event"] | Masked) -> Float[Array, ""]:
        # Not all at once, nor kept for the gradient: XLA's CPU backend is slow to sum [batch, K, d] over the batch. The
        # gradient of a VampPrior with K = 500 and d = 50 takes 3 ms so, else 16.
        one = jax.checkpoint(lambda component: component.log_prob(value))
        log_probs = jax.lax.map(one, self.components, batch_size=_AT_ONCE)
        log_probs, log_weights = at_least_float32(log_probs, self._unnormalised())
        return jax.nn.logsumexp(jax.nn.log_softmax(log_weights) + log_probs)

    def _number(self) -> int:
        return len(jax.tree.leaves(self.components)[0])

    def _unnormalised(self) -> Float[Array, " K"]:
        equal = jnp.zeros(self._number(), jnp.float32)
        return at_least_float32(equal if self.log_weights is None else self.log_weights)[0]
