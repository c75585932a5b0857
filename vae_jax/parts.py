"""What a VAE is put together from: families of distributions, and priors; each knows nothing of the others."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .distributions import Distribution

Shape = tuple[int, ...]
Shapes = Shape | Mapping[str, Shape]
# Of a network: one array, or one by each name.
Numbers = Any

_P = ParamSpec("_P")
_Part = TypeVar("_Part")


@dataclasses.dataclass(frozen=True)
class Family:
    """Distributions whose parameters a network computes: q(z|x) of an encoder's, p(x|z) of a decoder's numbers.

    Attributes:
      outputs: event shape -> the shape of the numbers asked of the network, or their shapes by name. For each element
        of the event they come last, [*event, n]: so a convolutional network puts them out as channels.
      build: (own, numbers, event shape, given) -> a distribution over ONE event. `own` is what `init` returned, `given`
        is c of a conditional VAE, `Sized` where it holds the total of counts (None in a VAE without `given`).
      init: (key, event shape) -> own parameters, that no network computes: a shared σ, a flow's weights; {} for none.
      bias: mean of the data -> the numbers at which the mean of the distribution is that; None where it has none.
      zeros: names of numbers that start as 0 for every input.
      in_units: (mean, scale) of each element of the data -> the family with the same distributions, whose numbers are
        those of standardised data: it is of x itself, in its own units. None where numbers have no unit.
    """

    outputs: Callable[[Shape], Shapes]
    build: Callable[[Any, Numbers, Shape, Any], Distribution]
    init: Callable[[Key[Array, ""], Shape], Any] = lambda key, event_shape: {}
    bias: Callable[[Any], Numbers] | None = None
    zeros: tuple[str, ...] = ()
    in_units: "Callable[[Any, Any], Family] | None" = None


class Sized(NamedTuple):
    """What is given beside counts x: c, and their total, the library size, which the means of counts sum to."""

    covariates: Any
    size: Any


class Latent(NamedTuple):
    """What a prior is asked to be over: the shape and dtype of z, as q(z|x) draws it; both pytrees where z is one."""

    shape: Any
    dtype: Any

    def check_real(self, name: str) -> None:
        """Raises `ValueError` where z are no real numbers, which the prior of this name is over."""
        if not jnp.issubdtype(self.dtype, jnp.floating):
            raise ValueError(f"{name} is over real z, and q(z|x) draws z of type {self.dtype}")


class Event(NamedTuple):
    """What an example is.

    Attributes:
      shape: of x, a dict of shapes where x is a dict.
      examples: some of them, arguments of `encode`, (x,) or (x, c), each with a leading axis; None for none.
      is_real: whether x is one array of real numbers, none of them missing, which can be moved by a gradient.
    """

    shape: Any
    examples: tuple[Any, ...] | None = None
    is_real: bool = True


@dataclasses.dataclass(frozen=True)
class Prior:
    """p(z).

    Attributes:
      build: (own, latent, event, encode) -> a distribution over z. `encode` is x -> q(z|x), or (x, c) -> q(z|x, c), for
        a prior that is made of it.
      init: (key, latent, event) -> own parameters, {} for none.
      num_examples: how many examples of the data the prior begins at; 0 for none.
    """

    build: Callable[[Any, Latent, Event, Callable[..., Any]], Distribution]
    init: Callable[[Key[Array, ""], Latent, Event], Any] = lambda key, latent, event: {}
    num_examples: int = 0


def scale_of(log_variance: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """Returns σ = exp(½ log σ²), at least the smallest normal number, with the gradient of an exponential everywhere.

    A σ of 0 has a KL of infinity, whose gradient is NaN; with a plain maximum the gradient would be 0, for ever.
    """
    half = 0.5 * log_variance
    lift = jnp.maximum(math.log(jnp.finfo(half.dtype).tiny) + 0.01 - half, 0)
    return jnp.exp(half + jax.lax.stop_gradient(lift))


def part(function: Callable[_P, _Part]) -> Callable[_P, _Part]:
    """Makes a function that returns a part return the same one for equal arguments, so that nothing compiles twice.

    Parts are compared by their functions, and two closures are never equal. A list among the arguments counts as the
    tuple of its elements, and a dict as that of its items.
    """
    signature, make = inspect.signature(function), cast(Callable[..., _Part], function)
    cached = functools.cache(lambda **given: make(**{name: thawed(value) for name, value in given.items()}))

    @functools.wraps(function)
    def same(*args: _P.args, **kwargs: _P.kwargs) -> _Part:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return cached(**{name: frozen(value) for name, value in bound.arguments.items()})

    return same


class Items(tuple[tuple[str, Any], ...]):
    """Those of a dict, which can be hashed."""


def frozen(value: Any) -> Any:
    """Returns a dict as its `Items` in the order of the names, a list as a tuple, and anything else as it is."""
    if isinstance(value, Mapping):
        return Items(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


def thawed(value: Any) -> Any:
    """Returns a dict of its `Items`, and anything else as it is."""
    return dict(value) if isinstance(value, Items) else value
