"""How well each column of a table, or each of some elements of an array, is described."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from vae_jax import data, evaluation, figures
from vae_jax.distributions import Masked
from vae_jax.evaluation.expectations import expected

from ..run import build

_DRAWS = 10
_MOST_DRAWN, _SAMPLED = 16, 2000


class ColumnFit(NamedTuple):
    """Of one column, for the examples in which it was observed.

    Attributes:
      log_prob: the mean of log p(x_j|z) over draws of q(z|x), in nats.
      error: x_j less the mean of p(x_j|z) over these draws, in the column's units; for classes 1 where the most
        probable one is wrong, and 0 where it is right.
      is_class: whether x_j is a class.
    """

    log_prob: np.ndarray
    error: np.ndarray
    is_class: bool


def column_fits(experiment: build.Experiment, params: Any, keys: jax.Array, examples: Any) -> dict[str, ColumnFit]:
    """Returns the fit of each column of a table, at draws of q(z|x) of the whole row.

    Raises:
      ValueError: for data that are no table.
    """
    contents, vae = experiment.dataset.contents, experiment.vae
    if isinstance(contents.x, data.Variable):
        raise ValueError("x is no table")

    def one(key: jax.Array, example: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        x, at = vae.at(example)
        q = at.encode(params, x)

        def draw(key: jax.Array) -> tuple[Any, Any]:
            p = at.decode(params, q.sample(key))
            return p.log_probs(x), {name: expected(part) for name, part in p.parts.items()}

        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(draw)(jax.random.split(key, _DRAWS)))

    log_probs, means = jax.jit(jax.vmap(one))(keys, examples)
    x = jax.vmap(lambda example: vae.at(example)[0])(examples)
    fits = {}
    for name, variable in contents.x.items():
        value, observed = _parts(x[name])
        found = np.asarray(means[name], np.float64)
        is_class = variable.kind in ("binary", "category", "ordinal")
        best = np.rint(found) if variable.kind == "binary" else found.argmax(-1) if is_class else found
        error = (value != best).astype(float) if is_class else value - best
        fits[name] = ColumnFit(np.asarray(log_probs[name])[observed], error[observed], is_class)
    return fits


def draw_fits(experiment: build.Experiment, params: Any, key: jax.Array) -> Figure:
    """Returns histograms of the columns, or of some elements, in the test examples and in samples of the model.

    Samples of a conditional model are given what the test examples are.
    """
    contents, vae, test = experiment.dataset.contents, experiment.vae, experiment.dataset.test
    examples = experiment.observed("test", data.spread_rows(test.number, _SAMPLED))
    given = jax.tree.map(lambda leaf: leaf[np.arange(_SAMPLED) % len(leaf)], examples)

    def sample(key: jax.Array, example: Any) -> Any:
        z_key, x_key = jax.random.split(key)
        _, at = vae.at(example)
        return at.decode(params, at.prior(params).sample(z_key)).sample(x_key)

    sampled = jax.jit(jax.vmap(sample))(jax.random.split(key, _SAMPLED), given)
    x = jax.vmap(lambda example: vae.at(example)[0])(examples)
    columns = _columns(x, contents) if isinstance(contents.x, data.Variable) else x
    of_samples = _columns(sampled, contents) if isinstance(contents.x, data.Variable) else sampled
    chosen = list(columns)[:_MOST_DRAWN]
    shown = {}
    for name in chosen:
        value, observed = _parts(columns[name])
        shown[name] = {"test": value[observed], "model": _parts(of_samples[name])[0]}
    more = f"; {len(chosen)} of {len(columns)}" if len(chosen) < len(columns) else ""
    return figures.column_histograms(
        shown,
        levels={name: of.levels for name, of in contents.variables().items() if of.levels},
        title=f"x of the test examples and of the model{more}",
    )


def _columns(x: Any, contents: data.Contents) -> dict[str, Any]:
    """Some elements of an array, evenly spread, by their place."""
    value, observed = _parts(x)
    flat, seen = value.reshape(len(value), -1), observed.reshape(len(value), -1)
    places = data.spread_rows(flat.shape[1], _MOST_DRAWN)
    return {f"x{place}": Masked(flat[:, place], seen[:, place]) for place in places.tolist()}


def _parts(x: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(x, Masked):
        return np.asarray(x.value), np.asarray(x.observed)
    return np.asarray(x), np.ones(np.shape(x), bool)


def natural_error(fit: ColumnFit) -> tuple[float, float]:
    """Returns the root of the mean squared error and its standard error, or for classes the share of right ones."""
    if fit.is_class:
        return evaluation.mean_and_error(1 - fit.error)
    square, error = evaluation.mean_and_error(fit.error**2)
    root = math.sqrt(square)
    return root, error / (2 * root) if root else math.nan
