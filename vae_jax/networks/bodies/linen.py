"""Linen modules as networks."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import InvalidRngError
from jaxtyping import Array, Float, Key

from ...parts import Numbers, Shape
from .body import Network, Outputs

glorot = nn.initializers.glorot_uniform()


def linen(
    module: nn.Module, in_shape: Shape, *, role: str = "network", finish: Callable[[Any], Any] = lambda output: output
) -> Network:
    """Returns the network of a Linen module, which is called on ONE input of `in_shape`.

    Args:
      module: has parameters alone, and draws no random numbers.
      in_shape: the shape of its input.
      role: what messages call it.
      finish: what is done with its output.

    Raises, from the network:
      ValueError: where the module has variables other than parameters (batch statistics, say: the state of a VAE is
        its parameters alone) or draws random numbers (Dropout, say).
    """

    def init(key: Key[Array, ""]) -> Any:
        variables = dict(module.init(key, jnp.zeros(in_shape)))
        params = variables.pop("params", {})
        if variables:
            raise ValueError(
                f"the {role} has the variables {sorted(variables)} besides parameters; a VAE keeps no other state. Use "
                "a module without them (LayerNorm or GroupNorm in place of BatchNorm)"
            )
        jax.eval_shape(apply, params, jnp.zeros(in_shape))  # where it cannot be used, better said now
        return params

    def apply(params: Any, value: Array) -> Any:
        with _no_random_numbers(role):
            return finish(module.apply({"params": params}, value))

    return Network(init, apply)


def readout(outputs: Outputs, features: Float[Array, " features"]) -> Numbers:
    """Returns the numbers that are asked of a network, as linear functions of its last features.

    Called inside a compact Linen method. One linear layer for each name, Glorot-uniform by itself.
    """
    if isinstance(outputs.shapes, tuple):
        start = outputs.start()
        return nn.Dense(outputs.size, kernel_init=glorot, bias_init=constant(start))(features).reshape(outputs.shapes)
    return _Named(outputs, name="PosteriorHead_0")(features)  # the name that the parameters of all runs have


class _Named(nn.Module):
    outputs: Outputs

    @nn.compact
    def __call__(self, features: Float[Array, " features"]) -> dict[str, Array]:
        numbers = {}
        for name, shape in self.outputs.by_name().items():
            kernel_init = nn.initializers.zeros if name in self.outputs.zeros else glorot
            numbers[name] = nn.Dense(math.prod(shape), kernel_init=kernel_init, name=name)(features).reshape(shape)
        return numbers


def constant(values: Any) -> Any:
    """Returns the initialiser of given values; of zeros for None."""
    if values is None:
        return nn.initializers.zeros
    return lambda key, shape, dtype=jnp.float32: jnp.asarray(np.ravel(values), dtype).reshape(shape)


@contextlib.contextmanager
def _no_random_numbers(role: str) -> Iterator[None]:
    try:
        yield
    except InvalidRngError as error:
        raise ValueError(
            f"the {role} draws random numbers of its own ({str(error).split(' (http')[0]}); a VAE's functions are "
            "deterministic. Use Dropout(deterministic=True) or a module without it"
        ) from error
