"""What the decoder makes of z as its most active dimensions move: a grid, decoded once, from which sliders pick."""

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from vae_jax import VAE
from vae_jax.evaluation.checks import real_sample

from ..run import build
from . import means
from .bars import Bar, bars_of, chosen
from .encoded import Encoded, given_classes

# (dimensions, positions of each), the best first.
_GRIDS = ((4, 7), (4, 5), (3, 9), (3, 7), (3, 5), (2, 13), (2, 9), (2, 7), (2, 5), (1, 13), (1, 9), (1, 5), (1, 3))
_BYTES, _NUMBERS = 2_000_000, 120_000  # of pixels before they are compressed; of bars
_FARTHEST = 2.0  # standard deviations
_ACTIVE = 0.01  # the variance of an active dimension, as `evaluation.latent_statistics` has it
_MOST_CLASSES, _AT_ONCE, _NUMBERS_AT_ONCE = 10, 256, 2**24


class Axis(NamedTuple):
    """A latent dimension: its number, and the mean and the standard deviation over x of the means of q(z|x)."""

    dimension: int
    mean: float
    deviation: float


class Sprite(NamedTuple):
    """Pictures in rows of one PNG, `across` in each."""

    png: bytes
    height: int
    width: int
    across: int


class Explorer(NamedTuple):
    """The means of p(x|z) on a grid, in the order of (class, position of the first axis, of the second, …).

    Attributes:
      axes: the dimensions that move; the others stay at their means.
      offsets: the positions on each axis, in standard deviations from its mean.
      latent_dim: how many dimensions z has.
      classes: of what is given, a grid of each; () where no class is.
      given: what the class is called.
      held: what else is given, which is that of the first test example.
      sprite: the pictures; None where x is none.
      bars: what the columns of `values` are; () for pictures.
      values: of each point of the grid the number of each bar.
      omitted: how many numbers of x have no bar.
    """

    axes: tuple[Axis, ...]
    offsets: tuple[float, ...]
    latent_dim: int
    classes: tuple[str, ...]
    given: str
    held: tuple[str, ...]
    sprite: Sprite | None
    bars: tuple[Bar, ...] = ()
    values: Float[np.ndarray, "points bars"] = np.zeros((0, 0))
    omitted: int = 0


def explore(experiment: build.Experiment, params: Any, encoded: Encoded, key: jax.Array) -> Explorer:
    """Returns the grid around the mean of the latents; side information other than one class is the first example's.

    Args:
      experiment: of the run.
      params: its parameters.
      encoded: test examples and the means of q(z|x) at them.
      key: of draws, where p(x|z) states no mean.

    Raises:
      ValueError: where z is no array of real numbers, or one decoded x is too large.
    """
    vae, contents = experiment.vae, experiment.dataset.contents
    first = jax.tree.map(lambda leaf: leaf[0], encoded.examples)
    x, at = vae.at(first)
    real_sample(at.encode(params, x), "the explorer")
    classes = given_classes(contents)[:_MOST_CLASSES]
    examples = [_given(first, number) for number in range(len(classes))] or [first]
    flat = encoded.means.reshape(len(encoded.means), -1).astype(np.float64)
    order = np.argsort(-flat.var(axis=0))
    usable = max(1, int(np.sum(flat.var(axis=0) > _ACTIVE)))
    if contents.is_picture:
        shown, there = _Picture(experiment.view.picture), contents.num_elements
        most = _BYTES // (there * len(examples))
    else:
        shown, there = chosen(contents)
        most = _NUMBERS // (len(shown.places) * len(examples))
    grid = [(d, p) for d, p in _GRIDS if d <= usable and p**d <= most]
    if not grid:
        raise ValueError(f"x has {there:,} numbers, too many for a page")
    number, positions = grid[0]
    offsets = np.linspace(-_FARTHEST, _FARTHEST, positions)
    axes = tuple(Axis(int(d), float(flat[:, d].mean()), float(flat[:, d].std())) for d in order[:number])
    zs = np.tile(flat.mean(axis=0), (positions**number, 1))
    places = np.meshgrid(*[offsets] * number, indexing="ij")
    for axis, place in zip(axes, places, strict=True):
        zs[:, axis.dimension] += axis.deviation * place.ravel()
    zs = zs.reshape(-1, *encoded.means.shape[1:]).astype(encoded.means.dtype)
    at_once = max(1, min(_AT_ONCE, _NUMBERS_AT_ONCE // contents.num_elements))
    options = {"at_once": at_once, "vae": vae, "shown": shown}
    decoded = np.concatenate([_decode(params, zs, example, key, **options) for example in examples])
    names = [*contents.condition, *["total"] * contents.sized]
    called, held = (names[0], names[1:]) if classes else ("", names)
    made = partial(Explorer, axes, tuple(offsets.tolist()), flat.shape[1], classes, called, tuple(held))
    if isinstance(shown, _Picture):
        return made(_sprite(decoded))
    xs = jax.vmap(lambda example: vae.at(example)[0])(encoded.examples)
    bars = bars_of(shown, decoded, xs, contents, experiment.dataset.element_names)
    return made(None, bars, decoded, there - len(bars))


def _given(example: Any, number: int) -> Any:
    """Returns an example whose one class is that of this number."""
    x, c = example
    return x, jax.tree.map(lambda leaf: jnp.full_like(leaf, number), c)


class _Picture(NamedTuple):
    """What of p(x|z) is shown of a picture."""

    of: Callable[[Any], Any] | None

    def __call__(self, p: Any, key: jax.Array) -> Any:
        assert self.of is not None
        return self.of(means.mean(p, key))


def _decode(
    params: Any, zs: np.ndarray, example: Any, key: jax.Array, *, at_once: int, vae: VAE, shown: Callable[..., Any]
) -> np.ndarray:
    blocks = []
    for start in range(0, len(zs), at_once):
        # The last block is filled with its last row, so that one is compiled.
        rows = np.minimum(np.arange(start, start + min(at_once, len(zs))), len(zs) - 1)
        blocks.append(np.asarray(_decode_block(params, zs[rows], example, jax.random.clone(key), vae=vae, shown=shown)))
    return np.concatenate(blocks)[: len(zs)]


@partial(jax.jit, static_argnames=("vae", "shown"))
def _decode_block(params: Any, zs: Any, example: Any, key: jax.Array, *, vae: VAE, shown: Callable[..., Any]) -> Any:
    _, at = vae.at(example)
    return jax.vmap(lambda z: shown(at.decode(params, z), key))(zs)


def _sprite(pictures: Float[np.ndarray, "n height width channels"]) -> Sprite:
    number, height, width, channels = pictures.shape
    across = math.ceil(math.sqrt(number * height / width))
    down = -(-number // across)
    tiles = np.zeros((down * across, height, width, channels), np.uint8)
    tiles[:number] = np.rint(255 * np.clip(pictures, 0, 1))
    rows = tiles.reshape(down, across, height, width, channels).transpose(0, 2, 1, 3, 4)
    whole = rows.reshape(down * height, across * width, channels)
    file = io.BytesIO()
    Image.fromarray(whole[..., 0] if channels == 1 else whole).save(file, "PNG", optimize=True)
    return Sprite(file.getvalue(), height, width, across)
