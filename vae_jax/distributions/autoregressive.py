"""The inverse autoregressive flow: a chain of affine steps whose coefficients come from masked networks (E10, E14)."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from ..keys import check_key
from ..precision import at_least_float32
from ._dense import draw_dense, product
from ._pytree import floating, pytree_dataclass
from .normal import DiagonalNormal
from .protocol import check_event

_GATE_BIAS = 2.0  # a step begins by keeping most of z

# z -> (m, s + 2), each element a function of those before it.
_Conditioner = Callable[[Float[Array, " d"]], tuple[Float[Array, " d"], Float[Array, " d"]]]


@pytree_dataclass
class InverseAutoregressiveFlow:
    """A Gaussian sample that passes through autoregressive steps, over an event of any shape.

    z_0 = μ + σ_0 e with e ~ N(0, I). Step l maps z to σ_l ⊙ z + (1 − σ_l) ⊙ m_l with σ_l = sigmoid(s_l + 2), where
    (m_l, s_l) = MADE_l(z, context_l), and element i of m_l and s_l depends on the elements before i alone. The Jacobian
    is triangular, so that log q(z) = log N(e; 0, I) − Σ log σ_0 − Σ_l Σ_i log σ_l,i, in nats (E14).

    The order of the elements is reversed from one step to the next: the first step, the third and so on run from the
    first element to the last, the others from the last to the first. An element keeps its place in the event, which is
    flattened row by row.

    `log_prob` inverts element by element, one evaluation of the MADE for each element and step; losses take log q from
    the noise, and its gradient at z from `log_prob_gradient`. The mean of z has no closed form.

    Attributes:
      base_mean: μ, of the event's shape.
      base_scale: σ_0 (a standard deviation), of the event's shape, or a scalar shared by all of it.
      context: what is added to the pre-activations of each step's first hidden layer, of shape [num_layers, width].
      layers: the parameters of each step, as `autoregressive_layers` draws them. All examples share them.

    Raises:
      ValueError: at construction, where the shapes disagree or a concrete scale is not positive.

    Source: Kingma et al. 2016, arXiv:1606.04934, algorithm 1 and equations 10–14; Germain et al. 2015,
    arXiv:1502.03509 (MADE), with its direct connections from inputs to outputs.
    """

    base_mean: Float[Array, "*event"]
    base_scale: Float[Array, "*#event"]
    context: Float[Array, "num_layers width"]
    layers: tuple[dict[str, Any], ...]
    reparameterized: ClassVar[bool] = True
    costly_inverse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        base, context = DiagonalNormal(self.base_mean, self.base_scale), floating(self.context)
        if context.ndim != 2 or len(context) != len(self.layers):
            raise ValueError(
                f"InverseAutoregressiveFlow: context must have one row for each of the {len(self.layers)} layers, "
                f"[num_layers, width]; got {context.shape}"
            )
        needed = (base.mean.size, context.shape[1])
        for layer in self.layers:
            if (shape := layer["hidden"][0]["kernel"].shape) != needed:
                raise ValueError(
                    f"InverseAutoregressiveFlow: an event of {needed[0]} elements and a context of width {needed[1]} "
                    f"need layers whose first kernel is {needed}; got {shape}"
                )
        object.__setattr__(self, "base_mean", base.mean)
        object.__setattr__(self, "base_scale", base.scale)
        object.__setattr__(self, "context", context)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.base_mean.shape

    def noise(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        """e ~ N(0, I), of the event's shape."""
        return self._base().noise(key)

    def transform(self, noise: Float[Array, "*event"]) -> tuple[Float[Array, "*event"], Float[Array, ""]]:
        """z, and log q(z) from the noise, in one pass through the steps (E10, E14)."""
        flow = self._at_least_float32()
        z, log_q = flow._base().transform(noise.astype(flow.base_mean.dtype))
        z = jnp.ravel(z)
        for conditioner, _ in flow._steps():
            z, log_det = _step(conditioner, z)
            log_q = log_q - log_det
        return z.reshape(self.event_shape).astype(self.base_mean.dtype), log_q

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        return self.transform(self.noise(key))[0]

    def log_prob_gradient(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """∂ log q(z)/∂z at the z that `transform` makes of the noise, without an inverse.

        A step z' = g(z) with log|det J| = Σ log σ, J = ∂g/∂z, takes ∂ log q/∂z to J⁻ᵀ (∂ log q/∂z − ∂ Σ log σ/∂z), by
        the implicit function theorem; J is triangular.
        """
        flow = self._at_least_float32()
        noise = noise.astype(flow.base_mean.dtype)
        z = jnp.ravel(flow._base().transform(noise)[0])
        gradient = -jnp.ravel(noise / flow.base_scale)
        for conditioner, order in flow._steps():
            jacobian, of_log_det = jax.jacfwd(functools.partial(_step, conditioner))(z)
            gradient = _solve_transposed(jacobian, gradient - of_log_det, order)
            z, _ = _step(conditioner, z)
        return gradient.reshape(self.event_shape)

    def log_prob(self, value: Shaped[Array, "*event"]) -> Float[Array, ""]:
        check_event(value, self.event_shape, "InverseAutoregressiveFlow")
        flow = self._at_least_float32()
        z = jnp.ravel(value).astype(flow.base_mean.dtype)
        log_det = jnp.zeros((), z.dtype)
        for conditioner, order in reversed(list(flow._steps())):
            z, step_log_det = _invert(conditioner, order, z)
            log_det = log_det + step_log_det
        return flow._base().log_prob(z.reshape(self.event_shape)) - log_det

    def _base(self) -> DiagonalNormal:
        return DiagonalNormal(self.base_mean, self.base_scale)

    def _at_least_float32(self) -> "InverseAutoregressiveFlow":
        leaves, structure = jax.tree.flatten(self)
        return jax.tree.unflatten(structure, at_least_float32(*leaves))

    def _steps(self) -> Iterator[tuple[_Conditioner, Int[np.ndarray, " d"]]]:
        """The steps' conditioners, each with the order in which it runs through the elements."""
        order = np.arange(self.base_mean.size)
        for layer, context in zip(self.layers, self.context, strict=True):
            yield _conditioner(layer, context, order), order
            order = order[::-1]


def autoregressive_layers(
    key: Key[Array, ""], size: int, *, num_layers: int, hidden: Sequence[int]
) -> tuple[dict[str, Any], ...]:
    """Returns the first parameters of the steps of an `InverseAutoregressiveFlow`, one dict of arrays for each.

    Hidden kernels are drawn by Glorot's uniform rule; biases and all that leads to m and s are zero, so that a flow
    begins as a Gaussian with a diagonal covariance: every step is a multiplication by sigmoid(2) = 0.88. A dict has
    `hidden`, a `kernel` [in, out] and a `bias` [out] for each hidden layer, and `output`, whose first d columns lead to
    m and the others to s: `kernel` [width, 2d], `direct` [d, 2d] from z itself, and `bias` [2d]. Entries that would
    break the order of the elements have no effect.

    Args:
      key: a typed PRNG key.
      size: d, the number of elements of an event.
      num_layers: the number of steps.
      hidden: the widths of the hidden layers; the first is that of the context.

    Raises:
      ValueError: where `hidden` is empty, or a number is not positive.
      TypeError: where `key` is a raw uint32 key.
    """
    check_key(key)
    if not hidden or min(size, num_layers, *hidden) < 1:
        raise ValueError(
            "autoregressive_layers: size, num_layers and the width of at least one hidden layer must be positive; "
            f"got size={size}, num_layers={num_layers}, hidden={tuple(hidden)}"
        )
    shapes = list(itertools.pairwise((size, *hidden)))

    def layer(keys: Key[Array, " hidden"]) -> dict[str, Any]:
        output = {name: jnp.zeros((rows, 2 * size)) for name, rows in (("kernel", hidden[-1]), ("direct", size))}
        return {
            "hidden": tuple(draw_dense(key, *shape) for key, shape in zip(keys, shapes, strict=True)),
            "output": {**output, "bias": jnp.zeros(2 * size)},
        }

    return tuple(layer(keys) for keys in jax.random.split(key, (num_layers, len(hidden))))


def _conditioner(layer: dict[str, Any], context: Float[Array, " width"], order: Int[np.ndarray, " d"]) -> _Conditioner:
    """Returns z -> (m, s + 2), the MADE: a hidden unit of degree k sees the first k elements in `order`."""
    hidden, output = layer["hidden"], layer["output"]
    elements = np.argsort(order) + 1
    outputs = np.tile(elements, 2)
    degrees = [elements, *(_hidden_degrees(len(order), len(dense["bias"])) for dense in hidden)]
    kernels = [
        jnp.where(low[:, None] <= high, dense["kernel"], 0)
        for dense, (low, high) in zip(hidden, itertools.pairwise(degrees), strict=True)
    ]
    biases = [dense["bias"] for dense in hidden]
    biases[0] = biases[0] + context
    kernel = jnp.where(degrees[-1][:, None] < outputs, output["kernel"], 0)
    direct = jnp.where(elements[:, None] < outputs, output["direct"], 0)

    def conditioner(z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        h = z
        for weights, bias in zip(kernels, biases, strict=True):
            h = jnp.tanh(product(h, weights) + bias)
        m, s = jnp.split(product(h, kernel) + product(z, direct) + output["bias"], 2)
        return m, s + _GATE_BIAS

    return conditioner


def _step(conditioner: _Conditioner, z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
    """Returns what a step makes of z, and Σ log σ."""
    m, logit = conditioner(z)
    return jax.nn.sigmoid(logit) * z + jax.nn.sigmoid(-logit) * m, jnp.sum(jax.nn.log_sigmoid(logit))


def _hidden_degrees(size: int, width: int) -> Int[np.ndarray, " width"]:
    """How many elements each hidden unit sees: evenly spread over 1…d−1."""
    # A single element may be seen by none: at degree 0 the units pass on the context alone.
    lowest = min(1, size - 1)
    return lowest + np.arange(width) * (size - lowest) // width


def _solve_transposed(
    matrix: Float[Array, "d d"], right: Float[Array, " d"], order: Int[np.ndarray, " d"]
) -> Float[Array, " d"]:
    """Returns matrix⁻ᵀ right, of a matrix that is lower triangular in `order`."""

    # Not LAPACK's: beside other work in a loop, as training steps are, its calls can wait for one another for ever
    # (jaxlib 0.10.2 on two cores, two steps of 500 samples of 50 elements).
    def solve(known: Float[Array, " d"], i: Int[Array, ""]) -> tuple[Float[Array, " d"], None]:
        column = matrix[:, i]
        rest = right[i] - jnp.sum(column * known)
        return known.at[i].set(rest / column[i]), None

    return jax.lax.scan(solve, jnp.zeros_like(right), jnp.asarray(order[::-1].copy()))[0]


def _invert(
    conditioner: _Conditioner, order: Int[np.ndarray, " d"], z: Float[Array, " d"]
) -> tuple[Float[Array, " d"], Float[Array, ""]]:
    """Returns what a step made `z` of, and Σ log σ of that step."""

    def solve(known: Float[Array, " d"], i: Int[Array, ""]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        m, logit = conditioner(known)
        element = (z[i] - jax.nn.sigmoid(-logit[i]) * m[i]) / jax.nn.sigmoid(logit[i])
        return known.at[i].set(element), jax.nn.log_sigmoid(logit[i])

    # Elements yet unknown are zero: a guess could overflow, and its gradient with it.
    before, log_gates = jax.lax.scan(solve, jnp.zeros_like(z), jnp.asarray(order))
    return before, jnp.sum(log_gates)
