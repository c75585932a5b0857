"""The pictures of a run."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vae_jax import data, evaluation, figures
from vae_jax.distributions import kl_per_dimension

from ..run import build
from .assessment import Assessment

_RECONSTRUCTIONS, _SAMPLE_ROWS, _TRAVERSED, _STEPS, _MANIFOLD = 16, 10, 10, 13, 20
_WITH_ERRORS = "nats, ± 2 standard errors"
_SCATTERED, _QUERIES, _NEIGHBOURS, _SEARCHED_BYTES = 2000, 10, 7, 2**26


def draw(experiment: build.Experiment, params: Any, lines: list[dict[str, Any]], folder: Path) -> None:
    """Writes learning curves, reconstructions, prior samples and their nearest training images, a latent traversal, the
    latent means by label and, for two latent dimensions, the manifold, as PNG files."""
    folder.mkdir(exist_ok=True)
    key = build.purpose_key(experiment.key, build.FIGURES)
    observation_key, sample_key = jax.random.split(key)
    images, labels = experiment.dataset.test
    images = images[:_SCATTERED]
    _, xs = experiment.observe(jax.random.split(observation_key, len(images)), images)
    vae, prior = experiment.vae, experiment.vae.prior(params)
    posteriors = jax.jit(jax.vmap(lambda x: vae.encode(params, x)))(xs)
    xs, q = jax.tree.map(lambda array: array[:_RECONSTRUCTIONS], (xs, posteriors))
    decode = jax.jit(jax.vmap(lambda z: vae.decode(params, z).mean))
    samples = decode(jax.vmap(prior.sample)(jax.random.split(sample_key, _SAMPLE_ROWS**2)))

    drawn = {
        "learning_curves": _learning_curves(lines),
        "reconstructions": _reconstructions(xs, q, decode),
        "samples": figures.image_grid(_rows(samples, _SAMPLE_ROWS), title="means of p(x|z), z from the prior"),
        "neighbours": _neighbours(np.asarray(samples[:_QUERIES]), experiment.dataset.train.images),
        "traversal": _traversal(prior, q, decode),
        "latents": _latents(np.asarray(posteriors.mean), None if labels is None else labels[:_SCATTERED]),
    }
    if prior.event_shape == (2,):
        drawn["manifold"] = _manifold(decode)
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")


def draw_assessment(found: Assessment, num_samples: int, folder: Path) -> None:
    """Writes the bounds against the number of samples, k̂ of the examples, the KL of each latent dimension, and the
    inference gaps, as PNG files; none of what was not measured."""
    sizes = evaluation.bound_sizes(num_samples)
    means = [evaluation.mean_and_error(found.evidence.bounds[:, number]) for number in range(len(sizes))]
    pareto_k, latents = np.asarray(found.evidence.pareto_k), found.latents
    drawn = {
        "bounds": figures.convergence(
            sizes, *zip(*means, strict=True), ylabel=_WITH_ERRORS, title="L_K of the test set"
        )
    }
    if np.isfinite(pareto_k).any():
        drawn["pareto_k"] = figures.histogram(
            pareto_k,
            xlabel="k̂ of the importance weights",
            ylabel="test examples",
            marked=("reliable up to", evaluation.pareto_k_threshold(num_samples)),
        )
    if latents.kl_per_dimension is not None and latents.kl_per_dimension_standard_error is not None:
        order = np.argsort(-latents.kl_per_dimension)
        drawn["kl_per_dimension"] = figures.bars(
            {"": (latents.kl_per_dimension[order], latents.kl_per_dimension_standard_error[order])},
            [f"z{number}" for number in order],
            ylabel=_WITH_ERRORS,
            title=f"KL(q(z|x) ‖ p(z)) of each latent dimension; {latents.active_units} of {len(order)} are active",
        )
    if found.gaps:
        columns = [(split, family, gaps) for split, of in found.gaps.items() for family, gaps in of.items()]

        def gap(name: str) -> tuple[np.ndarray, np.ndarray]:
            means, errors = np.array([evaluation.mean_and_error(getattr(gaps, name)) for *_, gaps in columns]).T
            return means, errors

        drawn["gaps"] = figures.bars(
            {"approximation": gap("approximation_gap"), "amortisation": gap("amortization_gap")},
            [f"{split},\n{family} q*" for split, family, _ in columns],
            ylabel=_WITH_ERRORS,
            title="log p(x) − ELBO, by cause",
        )
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")


def _learning_curves(lines):
    def curve(split: str, name: str) -> tuple[list[int], list[float]]:
        chosen = [line for line in lines if line["split"] == split and name in line]
        return [line["step"] for line in chosen], [line[name] for line in chosen]

    curves = {"training": curve("train", "elbo"), "validation": curve("validation", "elbo")}
    return figures.learning_curves(curves, ylabel="ELBO (nats per example)")


def _reconstructions(xs, q, decode):
    pairs = np.stack([np.asarray(xs), np.asarray(decode(q.mean))])
    return figures.image_grid(pairs, title="test images and the means of p(x|z) at the means of q(z|x)")


def _neighbours(samples, images):
    """Whether samples are copies: the training images nearest to them in Euclidean distance."""
    most = max(1, _SEARCHED_BYTES // math.prod(images.shape[1:]))
    searched = images[data.spread_rows(len(images), most)].astype(np.float32) / 255
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


def _latents(means, labels):
    title = f"means of q(z|x) of {len(means)} test images"
    if means.shape[1] == 2:
        return figures.latent_scatter(means, labels, title=title)
    if means.shape[1] == 1:
        means = np.stack([means[:, 0], np.zeros(len(means))], axis=1)
        return figures.latent_scatter(means, labels, title=title, ylabel="")
    centred = means - means.mean(axis=0)
    plane = centred @ np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    axes = {"xlabel": "first principal component", "ylabel": "second"}
    return figures.latent_scatter(plane, labels, title=title, **axes)


def _traversal(prior, q, decode):
    """One image's latent mean with one dimension at a time moved through the prior; the most used dimensions first."""
    kl = jax.vmap(lambda q: kl_per_dimension(q, prior))(q)
    usage = np.var(q.mean, axis=0) if kl is None else np.mean(kl, axis=0)
    order = np.argsort(-usage)[:_TRAVERSED]
    values = np.linspace(-3, 3, _STEPS)
    zs = np.tile(np.asarray(q.mean[0]), (len(order), _STEPS, 1))
    for row, dimension in enumerate(order):
        zs[row, :, dimension] = values
    return figures.image_grid(
        _rows(decode(jnp.asarray(zs.reshape(-1, zs.shape[-1]))), len(order)),
        title="one latent dimension moved from −3 to 3",
        row_labels=[f"z{dimension}" for dimension in order],
        column_labels=[f"{value:.1f}" for value in values],
    )


def _manifold(decode):
    quantiles = (np.arange(_MANIFOLD) + 0.5) / _MANIFOLD
    values = np.asarray(jax.scipy.stats.norm.ppf(quantiles))
    first, second = np.meshgrid(values, values[::-1])
    images = decode(jnp.stack([first.ravel(), second.ravel()], -1))
    labels = [f"{value:.1f}" for value in values]
    return figures.image_grid(
        _rows(images, _MANIFOLD),
        title="means of p(x|z) at the prior's quantiles",
        xlabel="z0",
        ylabel="z1",
        row_labels=labels[::-1],
        column_labels=labels,
    )


def _rows(images: Float[Array, "n height width channels"], rows: int) -> np.ndarray:
    return np.reshape(images, (rows, -1, *images.shape[1:]))
