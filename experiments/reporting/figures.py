"""The pictures of a run."""

import functools
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from vae_jax import data, evaluation, figures
from vae_jax.distributions import Masked, kl_per_dimension

from ..command import watchdog
from ..run import build
from . import columns, encoded, means, missing
from .assessment import Assessment
from .record import curve

_RECONSTRUCTIONS, _SAMPLE_ROWS, _TRAVERSED, _STEPS, _MANIFOLD = 16, 10, 10, 13, 20
_WITH_ERRORS = "nats, ± 2 standard errors"
_QUERIES, _NEIGHBOURS, _SEARCHED_BYTES = 10, 7, 2**26
_MOST_BARS = 200
_MOST_CLASSES = 20


class _Shown(NamedTuple):
    """Pictures of test examples and what is given beside them, the means of q(z|x), the KL of each latent dimension
    from the prior where it has a closed form, and what the means are called."""

    xs: Any
    given: Any
    means: np.ndarray
    kl: np.ndarray | None
    name: str


def draw(experiment: build.Experiment, params: Any, lines: list[dict[str, Any]], folder: Path) -> None:
    """Writes learning curves and the latent means by label as PNG files; of pictures also reconstructions, prior
    samples (by class where that is given) and their nearest training images, a latent traversal and, for two latent
    dimensions, the manifold; of other data the histograms of its columns.

    A figure that fails is a warning on standard error.
    """
    key = build.purpose_key(experiment.key, build.FIGURES)
    mean_key, sample_key, decode_key = jax.random.split(key, 3)
    vae, test, contents = experiment.vae, experiment.dataset.test, experiment.dataset.contents
    labels, number = None if test.labels is None else test.labels[: encoded.MOST], min(test.number, encoded.MOST)

    # Each is computed by the first figure that needs it: what fails, fails those figures alone.
    @functools.cache
    def shown() -> _Shown:
        examples, found, name = encoded.encode(experiment, params, mean_key)
        some = jax.tree.map(lambda leaf: leaf[:_RECONSTRUCTIONS], examples)
        kl = jax.jit(jax.vmap(lambda x: kl_per_dimension(encode(x), vae.at(x)[1].prior(params))))(some)
        x, c = examples if contents.is_conditional else (examples, None)
        xs = None if picture is None else jax.vmap(picture)(x)
        return _Shown(xs, c, found, None if kl is None else np.asarray(kl), name)

    def encode(example: Any) -> Any:
        x, at = vae.at(example)
        return at.encode(params, x)

    @functools.cache
    def samples() -> tuple[Any, tuple[str, ...]]:
        """Pictures in rows, and what each row is called: one row for each class that is given."""
        prior, classes = vae.prior(params), encoded.given_classes(contents)
        rows = min(len(classes), _MOST_CLASSES) if classes else _SAMPLE_ROWS
        z = jax.vmap(prior.sample)(jax.random.split(sample_key, rows * _SAMPLE_ROWS))
        if classes:
            c = {next(iter(contents.condition)): jnp.repeat(jnp.arange(rows), _SAMPLE_ROWS)}
        else:
            c = jax.tree.map(lambda leaf: leaf[np.arange(len(z)) % number], shown().given)
        return _rows(decode(z, c), rows), classes[:rows]

    def draw_samples() -> Figure:
        pictures, called = samples()
        title = "means of p(x|z), z from the prior"
        return figures.image_grid(pictures, title=title, row_labels=called)

    def draw_neighbours() -> Figure:
        pictures, called = samples()
        first = pictures[:, 0] if called else pictures[0]
        train = experiment.dataset.train.examples
        x = train[0] if contents.is_conditional else train
        return _neighbours(np.asarray(first)[:_QUERIES], x.value if isinstance(x, Masked) else x)

    picture = experiment.view.picture

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0 if contents.is_conditional else None))
    def decode(z: Any, c: Any) -> Any:
        assert picture is not None
        return picture(means.mean(vae.decode(params, z) if c is None else vae.decode(params, z, c), decode_key))

    drawn = {"learning_curves": lambda: _learning_curves(lines)}
    if picture is None:
        drawn["columns"] = lambda: columns.draw_fits(experiment, params, sample_key)
    else:
        drawn |= {
            "reconstructions": lambda: _reconstructions(shown(), decode),
            "samples": draw_samples,
            "neighbours": draw_neighbours,
            "traversal": lambda: _traversal(shown(), decode),
            "manifold": lambda: _manifold(shown(), decode) if shown().means.shape[1:] == (2,) else None,
        }
    drawn["latents"] = lambda: _latents(shown().means, labels, name=shown().name)
    _save(drawn, folder)


def draw_assessment(found: Assessment, num_samples: int, folder: Path) -> None:
    """Writes the bounds against the number of samples, k̂ of the examples, the KL of each latent dimension, and the
    inference gaps, as PNG files; none of what was not measured, and a warning for one that fails."""
    drawn = {
        "bounds": lambda: _bounds(found.evidence, num_samples),
        "pareto_k": lambda: _pareto_k(found.evidence, num_samples),
        "kl_per_dimension": lambda: None if found.latents is None else _kl_per_dimension(found.latents),
        "gaps": lambda: None if found.gaps is None else _gaps(found.gaps),
    }
    _save(drawn, folder)


def _save(drawn: Mapping[str, Callable[[], Figure | None]], folder: Path) -> None:
    for name, make in drawn.items():
        watchdog.progress()
        path = folder / f"{name}.png"
        try:
            if (figure := make()) is not None:
                folder.mkdir(exist_ok=True)
                figure.savefig(path)
        except Exception as error:  # whatever it is, the numbers are written and worth more than a picture
            print(f"warning: {path} was not drawn: {missing.reason(error)}", file=sys.stderr, flush=True)


def _bounds(evidence: evaluation.LogEvidence, num_samples: int) -> Figure:
    sizes = evaluation.bound_sizes(num_samples)
    estimates = [evaluation.mean_and_error(evidence.bounds[:, number]) for number in range(len(sizes))]
    return figures.convergence(sizes, *zip(*estimates, strict=True), ylabel=_WITH_ERRORS, title="L_K of the test set")


def _pareto_k(evidence: evaluation.LogEvidence, num_samples: int) -> Figure | None:
    if not np.isfinite(np.asarray(evidence.pareto_k)).any():
        return None
    return figures.histogram(
        np.asarray(evidence.pareto_k),
        xlabel="k̂ of the importance weights",
        ylabel="test examples",
        marked=("reliable up to", evaluation.pareto_k_threshold(num_samples)),
    )


def _kl_per_dimension(latents: evaluation.LatentStatistics) -> Figure | None:
    if latents.kl_per_dimension is None or latents.kl_per_dimension_standard_error is None:
        return None
    order = np.argsort(-latents.kl_per_dimension)
    shown = order[:_MOST_BARS]
    largest = f"the {len(shown)} largest of {len(order)}; " if len(shown) < len(order) else ""
    active = f"{largest}{latents.active_units} of {len(order)} are active"
    return figures.bars(
        {"": (latents.kl_per_dimension[shown], latents.kl_per_dimension_standard_error[shown])},
        [f"z{number}" for number in shown],
        ylabel=_WITH_ERRORS,
        title=f"KL(q(z|x) ‖ p(z)) of each latent dimension; {active}",
    )


def _gaps(by_split: Mapping[str, Mapping[str, evaluation.InferenceGaps]]) -> Figure:
    columns = [(split, family, gaps) for split, of in by_split.items() for family, gaps in of.items()]

    def gap(name: str) -> tuple[np.ndarray, np.ndarray]:
        values, errors = np.array([evaluation.mean_and_error(getattr(gaps, name)) for *_, gaps in columns]).T
        return values, errors

    return figures.bars(
        {"approximation": gap("approximation_gap"), "amortisation": gap("amortization_gap")},
        [f"{split},\n{family} q*" for split, family, _ in columns],
        ylabel=_WITH_ERRORS,
        title="log p(x) − ELBO, by cause",
    )


def _learning_curves(lines):
    curves = {"training": curve(lines, "train", "elbo"), "validation": curve(lines, "validation", "elbo")}
    return figures.learning_curves(curves, ylabel="ELBO (nats per example)")


def _reconstructions(shown: _Shown, decode):
    xs, latents = shown.xs[:_RECONSTRUCTIONS], shown.means[:_RECONSTRUCTIONS]
    pairs = np.stack([np.asarray(xs), np.asarray(decode(latents, _first(shown.given, len(latents))))])
    return figures.image_grid(pairs, title=f"test images and the means of p(x|z) at the {shown.name}")


def _neighbours(samples, stored):
    """Whether samples are copies: the training images nearest to them in Euclidean distance."""
    most = max(1, _SEARCHED_BYTES // math.prod(stored.shape[1:]))
    searched = np.asarray(data.numbers(stored[data.spread_rows(len(stored), most)])).reshape(-1, *samples.shape[1:])
    count = min(_NEIGHBOURS, len(searched))
    points = searched.reshape(len(searched), -1)
    # ‖sample − x‖² up to ‖sample‖², which is the same for all x.
    distances = np.sum(points**2, axis=1) - 2 * samples.reshape(len(samples), -1) @ points.T
    nearest = np.argsort(distances, axis=1)[:, :count]
    return figures.image_grid(
        np.concatenate([samples[:, None], searched[nearest]], axis=1),
        title=f"nearest of {len(searched)} training images",
        column_labels=["sample", *(str(number + 1) for number in range(count))],
    )


def _latents(latents, labels, *, name="means of q(z|x)"):
    points, *axes = encoded.plane(latents)
    title = f"{name} of {len(latents)} test examples"
    return figures.latent_scatter(points, labels, title=title, **dict(zip(("xlabel", "ylabel"), axes, strict=True)))


def _traversal(shown: _Shown, decode):
    """One image's latent mean with one dimension at a time moved through the prior; the most used dimensions first."""
    first = shown.means[:_RECONSTRUCTIONS]
    flat = first.reshape(len(first), -1)
    usage = np.var(flat, axis=0) if shown.kl is None else np.mean(shown.kl.reshape(flat.shape), axis=0)
    order = np.argsort(-usage)[:_TRAVERSED]
    values = np.linspace(-3, 3, _STEPS)
    zs = np.tile(flat[0], (len(order), _STEPS, 1))
    for row, dimension in enumerate(order):
        zs[row, :, dimension] = values
    moved = zs.reshape(-1, *first.shape[1:])
    return figures.image_grid(
        _rows(decode(jnp.asarray(moved), _first(shown.given, len(moved))), len(order)),
        title="one latent dimension moved from −3 to 3",
        row_labels=[f"z{dimension}" for dimension in order],
        column_labels=[f"{value:.1f}" for value in values],
    )


def _first(given: Any, number: int) -> Any:
    """What is given for the first examples; a traversal and a manifold have the first one's throughout."""
    held = number > _RECONSTRUCTIONS
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], number, axis=0) if held else leaf[:number], given)


def _manifold(shown: _Shown, decode):
    quantiles = (np.arange(_MANIFOLD) + 0.5) / _MANIFOLD
    values = np.asarray(jax.scipy.stats.norm.ppf(quantiles))
    first, second = np.meshgrid(values, values[::-1])
    images = decode(jnp.stack([first.ravel(), second.ravel()], -1), _first(shown.given, first.size))
    labels = [f"{value:.1f}" for value in values]
    return figures.image_grid(
        _rows(images, _MANIFOLD),
        title="means of p(x|z) at quantiles of N(0, I)",
        xlabel="z0",
        ylabel="z1",
        row_labels=labels[::-1],
        column_labels=labels,
    )


def _rows(images: Float[Array, "n height width channels"], rows: int) -> np.ndarray:
    return np.reshape(images, (rows, -1, *images.shape[1:]))
