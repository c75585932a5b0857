"""Elements of a finite number of ordered or unordered values."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from ..precision import at_least_float32
from ._pytree import floating, pytree_dataclass, static
from .elementwise import Elementwise
from .support import Levels, WholeNumbers


@pytree_dataclass
class DiscretizedLogistic(Elementwise):
    """Independent elements on the L levels k/(L − 1) of [0, 1]: rounded mixtures of K logistic variables.

    p(k) = Σ_j w_j [F((x + ½δ − μ_j)/s_j) − F((x − ½δ − μ_j)/s_j)] with x = k/(L − 1), δ = 1/(L − 1) and F the sigmoid;
    the lowest level has all that lies below it, the highest all that lies above. In nats.

    Attributes:
      location: μ, of shape [*event, K], in the units of x.
      scale: s > 0, likewise: half of the source's s.
      logits: of the weights w, likewise.
      levels: L, at least 2.

    Source: Salimans et al. 2017, arXiv:1701.05517, section 2.1, whose x lies in [−1, 1].
    """

    location: Float[Array, "*event K"]
    scale: Float[Array, "*event K"]
    logits: Float[Array, "*event K"]
    levels: int = static()

    def __post_init__(self) -> None:
        for name in ("location", "scale", "logits"):
            object.__setattr__(self, name, floating(getattr(self, name)))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.location.shape[:-1]

    @property
    def support(self) -> Levels:
        return Levels(self.levels)

    @property
    def mean(self) -> Float[Array, "*event"]:
        """Σ_k P(x ≥ level k)/(L − 1), over the levels above the lowest."""
        weights = jax.nn.softmax(self.logits)

        def add(total: Float[Array, "*event"], k: Float[Array, ""]) -> tuple[Float[Array, "*event"], None]:
            above = jax.nn.sigmoid((self.location - (k - 0.5) / (self.levels - 1)) / self.scale)
            return total + jnp.sum(weights * above, axis=-1), None

        levels = jnp.arange(1, self.levels, dtype=self.location.dtype)
        return jax.lax.scan(add, jnp.zeros(self.event_shape, self.location.dtype), levels)[0] / (self.levels - 1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*event"]:
        which_key, noise_key = jax.random.split(key)
        which = jax.random.categorical(which_key, self.logits)[..., None]
        location, scale = (
            jnp.take_along_axis(values, which, axis=-1)[..., 0] for values in (self.location, self.scale)
        )
        x = location + scale * jax.random.logistic(noise_key, self.event_shape, self.location.dtype)
        return jnp.clip(jnp.round(x * (self.levels - 1)), 0, self.levels - 1) / (self.levels - 1)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-probability of each element of one value, in nats."""
        value, location, scale, logits = at_least_float32(value, self.location, self.scale, self.logits)
        level = jnp.round(value * (self.levels - 1))[..., None]
        upper, lower = (((level + half) / (self.levels - 1) - location) / scale for half in (0.5, -0.5))
        width = 1 / (self.levels - 1) / scale
        log_probs = _log_mass(upper, lower, width, level <= 0, level >= self.levels - 1)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_probs, axis=-1)


@pytree_dataclass
class Categorical(Elementwise):
    """Independent classes 0 … C − 1, as whole numbers: log p(x) = Σ log softmax(logits)_x, in nats.

    Attributes:
      logits: of shape [*event, C].
    """

    logits: Float[Array, "*event C"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", floating(self.logits))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape[:-1]

    @property
    def support(self) -> WholeNumbers:
        return WholeNumbers(0, self.logits.shape[-1] - 1)

    @property
    def probs(self) -> Float[Array, "*event C"]:
        """P(x = k) of each element and class."""
        return jax.nn.softmax(at_least_float32(self.logits)[0])

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*event"]:
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-probability of each element of one value, in nats.

        Raises:
          ValueError: for values of a type that has fractions.
        """
        classes = _classes(value, "Categorical")
        (logits,) = at_least_float32(self.logits)
        return jnp.take_along_axis(jax.nn.log_softmax(logits), classes[..., None], axis=-1)[..., 0]


@pytree_dataclass
class Ordinal(Elementwise):
    """Independent ordered classes 0 … C − 1, as whole numbers, of a cumulative logit model.

    P(x ≤ k) = F(c_k − η), F the sigmoid, with thresholds c that all elements share. In nats.

    Attributes:
      location: η, of the event's shape; the greater, the higher the class.
      thresholds: c_0 < … < c_{C−2}, of shape [C − 1].

    Source: McCullagh 1980, Journal of the Royal Statistical Society B 42(2).
    """

    location: Float[Array, "*event"]
    thresholds: Float[Array, " classes_less_one"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "location", floating(self.location))
        object.__setattr__(self, "thresholds", floating(self.thresholds))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.location.shape

    @property
    def support(self) -> WholeNumbers:
        return WholeNumbers(0, self.thresholds.shape[-1])

    @property
    def probs(self) -> Float[Array, "*event C"]:
        """P(x = k) of each element and class."""
        # Not as differences of F, which cancel where it is near 1.
        of_class = lambda k: self.log_prob_per_element(jnp.broadcast_to(k, self.event_shape))
        return jnp.exp(jax.vmap(of_class, out_axes=-1)(jnp.arange(self.thresholds.size + 1)))

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*event"]:
        hidden = self.location + jax.random.logistic(key, self.location.shape, self.location.dtype)
        return jnp.searchsorted(self.thresholds, hidden).astype(jnp.int32)

    def log_prob_per_element(self, value: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
        """The log-probability of each element of one value, in nats.

        Raises:
          ValueError: for values of a type that has fractions.
        """
        classes = _classes(value, "Ordinal")
        location, thresholds = at_least_float32(self.location, self.thresholds)
        ends, last = jnp.pad(thresholds, 1, mode="edge"), len(thresholds)
        lower, upper = ends[classes], ends[classes + 1]
        is_first, is_last = classes <= 0, classes >= last
        width = jnp.where(is_first | is_last, 1, upper - lower)
        return _log_mass(upper - location, lower - location, width, is_first, is_last)


def _log_mass(
    upper: Float[Array, "..."],
    lower: Float[Array, "..."],
    width: Float[Array, "..."],
    is_lowest: Shaped[Array, "..."],
    is_highest: Shaped[Array, "..."],
) -> Float[Array, "..."]:
    """log(F(upper) − F(lower)), F the sigmoid, with upper − lower given; an end that is the last of all is infinite."""
    log_below = jnp.where(is_highest, 0, jax.nn.log_sigmoid(upper))
    log_above = jnp.where(is_lowest, 0, jax.nn.log_sigmoid(-lower))
    return log_below + log_above + jnp.where(is_lowest | is_highest, 0, jnp.log(-jnp.expm1(-width)))


def _classes(value: jax.typing.ArrayLike, name: str) -> Int[Array, "*event"]:
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(
            f"{name} takes whole numbers (an integer dtype), and x is of dtype {array.dtype}; cast classes by "
            "x.astype(int)"
        )
    return array.astype(jnp.int32)
