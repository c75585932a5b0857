"""All that is measured of a trained model, as `evaluate` reports it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import data, evaluation
from vae_jax.data import Split
from vae_jax.distributions import DiagonalNormal

from ..run import build, scores
from ..run.config import Config

# The comparison of every latent with every posterior is quadratic in their number.
_MOST_LATENTS = 10_000
_BLOCK = 10
_ANNEALED, _SIMULATED, _GAPS, _LATENTS = range(4)


class Options(NamedTuple):
    """How much is measured: numbers of samples, of examples (0: none) and of temperatures."""

    num_samples: int
    annealed_examples: int
    num_temperatures: int
    gap_examples: int


class Assessment(NamedTuple):
    """Of one set of parameters; None for what was not asked for, or cannot be had.

    Attributes:
      evidence: of every test example.
      annealed_rows, annealed: some of the test examples, and their evidence by annealing.
      bidirectional: of as many simulated examples.
      gaps: by split ("train", "test") and family of q*, of some examples each.
      latents: of the test examples.
      collapse: why latents are unused.
      probe: of the labels, from the means of q(z|x); None without labels.
    """

    evidence: evaluation.LogEvidence
    annealed_rows: np.ndarray
    annealed: evaluation.AnnealedEvidence | None
    bidirectional: evaluation.BidirectionalEvidence | None
    gaps: dict[str, dict[str, evaluation.InferenceGaps]]
    latents: evaluation.LatentStatistics
    collapse: evaluation.CollapseDiagnosis
    probe: evaluation.LinearProbe | None


def assess(
    config: Config, experiment: build.Experiment, params: Any, options: Options, tell: Callable[[str], None]
) -> Assessment:
    """Computes all of it, every process its share; `tell` is told what is next."""
    vae, train, test = experiment.vae, experiment.dataset.train, experiment.dataset.test
    evaluation_key = build.purpose_key(experiment.key, build.EVALUATION)
    tell(f"log p(x) of {len(test.images)} test images from {options.num_samples} samples each")
    evidence = scores.log_evidence(experiment, params, test, build.TEST, options.num_samples)

    rows = data.spread_rows(len(test.images), options.annealed_examples)
    annealed = bidirectional = None
    if options.annealed_examples:
        tell(f"log p(x) of {len(rows)} of them by annealing over {options.num_temperatures} temperatures")
        anneal = partial(evaluation.annealed_log_evidence, vae=vae, num_temperatures=options.num_temperatures)
        keys, xs = _examples(experiment, test, rows, build.purpose_key(evaluation_key, _ANNEALED))
        annealed = _blocks(lambda keys, xs: anneal(params, keys, xs), keys, xs)
        tell(f"bounds from both sides of {options.annealed_examples} simulated images")
        simulate = partial(evaluation.bidirectional_log_evidence, vae=vae, num_temperatures=options.num_temperatures)
        keys = jax.random.split(build.purpose_key(evaluation_key, _SIMULATED), options.annealed_examples)
        bidirectional = _blocks(lambda keys: simulate(params, keys), keys)

    gaps: dict[str, dict[str, evaluation.InferenceGaps]] = {}
    if options.gap_examples and _is_gaussian(vae, params, test):
        for name, split in (("train", train), ("test", test)):
            chosen = data.spread_rows(len(split.images), options.gap_examples)
            keys, xs = _examples(experiment, split, chosen, build.purpose_key(evaluation_key, _GAPS))
            tell(f"the best Gaussians for each of {len(chosen)} {name} images")
            gaps[name] = _gaps(partial(evaluation.inference_gaps, params, vae=vae), keys, xs, options)

    tell("what the latents hold")
    chosen = data.spread_rows(len(test.images), _MOST_LATENTS)
    keys, xs = _examples(experiment, test, chosen, build.purpose_key(evaluation_key, _LATENTS))
    latents = evaluation.latent_statistics(params, keys, xs, vae=vae)
    scale = _shared_scale(vae, params)
    collapse = evaluation.diagnose_collapse(
        latents,
        annealed=config.loss.beta_schedule != "constant",
        beta=config.loss.beta,
        xs=None if scale is None else xs,
        scale=scale,
    )
    probe = None if train.labels is None or test.labels is None else _probe(experiment, params, xs, chosen)
    return Assessment(evidence, rows, annealed, bidirectional, gaps, latents, collapse, probe)


def _gaps(
    refine: Callable[..., evaluation.InferenceGaps], keys: jax.Array, xs: jax.Array, options: Options
) -> dict[str, evaluation.InferenceGaps]:
    """By family of q*. Importance sampling from the correlated q* gives log p(x) for both: the weights of the diagonal
    one have heavier tails."""
    refine = partial(refine, num_samples=max(2, options.num_samples))
    full = _blocks(lambda keys, xs: refine(keys, xs, family="full"), keys, xs)
    diagonal = _blocks(
        lambda keys, xs, *evidence: refine(keys, xs, family="diagonal", log_evidence=evidence),
        keys,
        xs,
        full.log_evidence,
        full.log_evidence_standard_error,
    )
    return {"diagonal": diagonal, "full": full}


def _blocks(function: Callable[..., Any], *arrays: Any) -> Any:
    """`function` of some rows of the arrays at a time."""
    return scores.by_blocks(lambda rows: function(*(array[rows] for array in arrays)), len(arrays[0]), _BLOCK)


def _examples(
    experiment: build.Experiment, split: Split, rows: np.ndarray, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(keys for noise, x) of some examples; those of the test split as its evidence is estimated of."""
    purpose = build.TEST if split is experiment.dataset.test else build.EVALUATION
    keys = jax.random.split(build.purpose_key(experiment.key, purpose), len(split.images))
    _, xs = experiment.observe(keys[rows], split.images[rows])
    return jax.random.split(key, len(rows)), xs


def _is_gaussian(vae: Any, params: Any, test: Split) -> bool:
    x = np.zeros(test.images.shape[1:], np.float32)
    return hasattr(jax.eval_shape(vae.encode, params, x), "scale")


def _shared_scale(vae: Any, params: Any) -> float | None:
    """σ of a Gaussian likelihood with one σ; None for any other."""
    likelihood = vae.decode(params, vae.prior(params).sample(jax.random.key(0)))
    is_shared = isinstance(likelihood, DiagonalNormal) and likelihood.scale.ndim == 0
    return float(likelihood.scale) if is_shared else None


def _probe(experiment: build.Experiment, params: Any, xs: jax.Array, chosen: np.ndarray) -> evaluation.LinearProbe:
    train, test = experiment.dataset.train, experiment.dataset.test
    rows = data.spread_rows(len(train.images), _MOST_LATENTS)
    _, train_xs = _examples(experiment, train, rows, experiment.key)
    means = jax.jit(jax.vmap(lambda x: experiment.vae.encode(params, x).mean))
    labels = lambda split, rows: None if split.labels is None else split.labels[rows]
    return evaluation.linear_probe(
        np.asarray(means(train_xs)), labels(train, rows), np.asarray(means(xs)), labels(test, chosen)
    )
