"""How large a run's model is, and what a step of it costs."""

import math
from collections.abc import Iterator
from typing import Any

import jax

from .config import Config


def lines(config: Config, params: Any, gradient: Any) -> list[str]:
    """Returns a model's parts, its numbers of parameters, and the matrix products of a step in FLOPs per example.

    Args:
      config: of the run.
      params: the model's, or their shapes.
      gradient: the jaxpr of the loss of a batch and its gradient.
    """
    model = config.model
    sizes = {name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    blocks = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    cost = sum(matrix_flops(gradient)) / config.training.batch_size
    return [
        f"model: {model.network}, z {model.latent_dim}, posterior {model.posterior}, prior {model.prior}, likelihood "
        f"{model.likelihood}, computed in {model.compute_dtype}",
        f"parameters: {sum(sizes.values()):,} ({blocks}); matrix products of a step: {_shown(cost)} per example",
    ]


def matrix_flops(jaxpr: Any) -> Iterator[int]:
    """Yields two FLOPs for each multiplication and addition of a jaxpr's matrix products and convolutions.

    Those in a scan count as often as it runs; those in a loop whose length is not known count once.
    """
    for equation in jaxpr.eqns:
        out = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            yield 2 * out * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            yield 2 * out * math.prod(kernel) // channels
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        is_jaxpr = lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(value):
                yield times * sum(matrix_flops(getattr(value, "jaxpr", value)))


def _shown(flops: float) -> str:
    for name, unit in (("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3)):
        if flops >= unit:
            return f"{flops / unit:.3g} {name}"
    return f"{flops:.0f} FLOP"
