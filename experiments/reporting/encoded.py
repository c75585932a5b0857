"""The test examples of a run as its latents: the means of q(z|x), and a plane to draw them in."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from vae_jax import VAE, data

from ..run import build
from . import means

MOST = 2000  # that a picture shows


class Encoded(NamedTuple):
    """The first test examples, the means of q(z|x) at them, and what these means are called."""

    examples: Any
    means: np.ndarray
    name: str


class Plane(NamedTuple):
    """Points of a plane, and what its axes are called."""

    points: Float[np.ndarray, "n 2"]
    xlabel: str
    ylabel: str


def encode(experiment: build.Experiment, params: Any, key: jax.Array, *, most: int = MOST) -> Encoded:
    """Returns at most so many test examples, encoded; the key is that of draws, where q(z|x) states no mean."""
    number = min(experiment.dataset.test.number, most)
    examples = experiment.observed("test", np.arange(number))
    found = _means(params, jax.random.split(key, number), examples, vae=experiment.vae)
    x, at = experiment.vae.at(jax.tree.map(lambda leaf: leaf[0], examples))
    return Encoded(examples, np.asarray(found), means.name(at.encode(params, x), "q(z|x)"))


@partial(jax.jit, static_argnames="vae")
def _means(params: Any, keys: jax.Array, examples: Any, *, vae: VAE) -> Any:
    def one(key: jax.Array, example: Any) -> Any:
        x, at = vae.at(example)
        return means.mean(at.encode(params, x), key)

    return jax.vmap(one)(keys, examples)


def given_classes(contents: data.Contents) -> tuple[str, ...]:
    """Returns what the classes are called, where one class and nothing else is given; () for none."""
    given = list(contents.condition.values())
    return given[0].levels if len(given) == 1 else ()


def plane(latents: np.ndarray) -> Plane:
    """Returns latents of two dimensions as they are, of one along a line, and of more by their principal components."""
    points = latents.reshape(len(latents), -1)
    if points.shape[1] <= 2:
        return Plane(_two_columns(points), "z0", "z1" if points.shape[1] == 2 else "")
    centred = points - points.mean(axis=0, keepdims=True)
    # Of XᵀX and XXᵀ the smaller, which is of at most 2,000 rows: of 100,000 dimensions the other has 37 GiB. (An SVD of
    # X takes 20 times as long.)
    if centred.shape[1] <= len(centred):
        projected = centred @ np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    else:
        variances, directions = np.linalg.eigh(centred @ centred.T)
        projected = (directions * np.sqrt(np.maximum(variances, 0)))[:, :-3:-1]
    return Plane(_two_columns(projected), "first principal component", "second")


def _two_columns(points: np.ndarray) -> np.ndarray:
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
