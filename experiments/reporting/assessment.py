"""All that is measured of a trained model, as `evaluate` reports it."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import data, evaluation, parallel

from ..run import build, scores
from ..run.config import Config
from . import latents, means, missing
from .columns import ColumnFit, column_fits

_MOST_LATENTS = 10_000  # their comparison is quadratic in their number
_BLOCK = 10
PURPOSES = _ANNEALED, _SIMULATED, _GAPS, LATENTS, _MEANS, _COLUMNS = range(6)
_SECONDS_BETWEEN_LINES = 10

# The cheapest first.
PARTS = ("latents", "collapse", "probe", "annealed", "bidirectional", "gaps")


class Options(NamedTuple):
    """How much is measured: numbers of samples, of examples (0: none) and of temperatures."""

    num_samples: int
    annealed_examples: int
    num_temperatures: int
    gap_examples: int


class Subject(NamedTuple):
    """What is measured: the parameters of a run's model, on its data. `tell` is told what comes next."""

    config: Config
    experiment: build.Experiment
    params: Any
    options: Options
    tell: Callable[[str], None]

    def key(self, purpose: int) -> jax.Array:
        return purpose_key(self.experiment, purpose)


def purpose_key(experiment: build.Experiment, purpose: int) -> jax.Array:
    """Returns the key of one of the `PURPOSES` in an evaluation of a run."""
    return build.purpose_key(build.purpose_key(experiment.key, build.EVALUATION), purpose)


class Assessment(NamedTuple):
    """Of one set of parameters; a part that is None has its reason in `reasons`.

    Attributes:
      evidence: of every test example.
      reasons: by part of `PARTS`, why it is None.
      meaning: what log p(x|z) of the examples is.
      latents: of the test examples.
      collapse: why latents are unused.
      probe: of the labels, linear and by nearest neighbours, from the latent means, and the name of these.
      annealed: some of the test examples, and their evidence by annealing.
      bidirectional: of as many simulated examples.
      gaps: by split ("train", "test") and family of q*, of some examples each.
      columns: of a table, for the test examples.
    """

    evidence: evaluation.LogEvidence
    reasons: dict[str, str]
    meaning: scores.Meaning
    latents: evaluation.LatentStatistics | None = None
    collapse: evaluation.CollapseDiagnosis | None = None
    probe: tuple[evaluation.Probe, evaluation.Probe, str] | None = None
    annealed: tuple[np.ndarray, evaluation.AnnealedEvidence] | None = None
    bidirectional: evaluation.BidirectionalEvidence | None = None
    gaps: dict[str, dict[str, evaluation.InferenceGaps]] | None = None
    columns: dict[str, ColumnFit] | None = None


def assess(subject: Subject, keep: Callable[[Assessment], None]) -> Assessment:
    """Returns all that is measured; every process computes its share. `keep` is given what there is after each part.

    A part that fails is None, with the reason; only a failure of the evidence is raised.
    """
    experiment, options, test = subject.experiment, subject.options, subject.experiment.dataset.test
    subject.tell(f"log p(x) of {test.number} test examples from {options.num_samples} samples each")
    evidence = scores.log_evidence(
        experiment, subject.params, "test", options.num_samples, on_block=_lines(subject.tell)
    )
    meaning = scores.meaning(experiment, subject.params)
    parts = ("columns", *PARTS) if experiment.dataset.contents.is_table else PARTS
    found = Assessment(evidence, dict.fromkeys(parts, "the evaluation ended before"), meaning)
    keep(found)
    measures = {"latents": _latents, "probe": _probe, "annealed": _annealed, "bidirectional": _bidirectional}
    measures |= {"gaps": _gaps, "collapse": lambda subject: _collapse(subject, found), "columns": _columns}
    for part in parts:
        reasons = {name: why for name, why in found.reasons.items() if name != part}
        try:
            found = found._replace(**{part: measures[part](subject), "reasons": reasons})
        except Exception as error:
            found = found._replace(reasons={**reasons, part: missing.reason(error)})
        keep(found)
    return found


def _latents(subject: Subject) -> evaluation.LatentStatistics:
    subject.tell("what the latents hold")
    return latents.statistics(subject.experiment, subject.params, *_latent_examples(subject))


def _columns(subject: Subject) -> dict[str, ColumnFit]:
    subject.tell("how each column is described")
    rows = data.spread_rows(subject.experiment.dataset.test.number, _MOST_LATENTS)
    keys, examples = _examples(subject, "test", rows, subject.key(_COLUMNS))
    return column_fits(subject.experiment, subject.params, keys, examples)


def _collapse(subject: Subject, found: Assessment) -> evaluation.CollapseDiagnosis:
    if found.latents is None:
        raise ValueError(f"the latents are not known: {found.reasons['latents']}")
    return latents.diagnosis(subject.experiment, subject.params, found.latents, _latent_examples(subject)[1])


def _probe(subject: Subject) -> tuple[evaluation.Probe, evaluation.Probe, str]:
    train, test = subject.experiment.dataset.train, subject.experiment.dataset.test
    if train.labels is None or test.labels is None:
        raise ValueError("the data have no labels")
    subject.tell("what a linear classifier reads off the latents")
    rows = data.spread_rows(train.number, _MOST_LATENTS)
    chosen = data.spread_rows(test.number, _MOST_LATENTS)
    encode = partial(_encode, subject)
    mean_of = jax.jit(jax.vmap(lambda key, x: means.mean(encode(x), key)))
    keys, xs = _latent_examples(subject)
    train_keys, train_xs = _examples(subject, "train", rows, subject.key(_MEANS))
    flat = lambda found: np.reshape(found, (len(found), -1))
    labelled = (flat(mean_of(train_keys, train_xs)), train.labels[rows], flat(mean_of(keys, xs)), test.labels[chosen])
    name = means.name(encode(jax.tree.map(lambda leaf: leaf[0], xs)), "q(z|x)")
    return evaluation.linear_probe(*labelled), evaluation.nearest_neighbour_probe(*labelled), name


def _encode(subject: Subject, example: Any) -> Any:
    x, at = subject.experiment.vae.at(example)
    return at.encode(subject.params, x)


def _annealed(subject: Subject) -> tuple[np.ndarray, evaluation.AnnealedEvidence]:
    options, vae, test = subject.options, subject.experiment.vae, subject.experiment.dataset.test
    if not options.annealed_examples:
        raise ValueError("--annealed_examples=0")
    rows = data.spread_rows(test.number, options.annealed_examples)
    subject.tell(f"log p(x) of {len(rows)} test examples by annealing over {options.num_temperatures} temperatures")
    anneal = partial(evaluation.annealed_log_evidence, vae=vae, num_temperatures=options.num_temperatures)
    keys, xs = _examples(subject, "test", rows, subject.key(_ANNEALED))
    return rows, _blocks(subject, partial(anneal, subject.params), keys, xs)


def _bidirectional(subject: Subject) -> evaluation.BidirectionalEvidence:
    options, vae = subject.options, subject.experiment.vae
    if not options.annealed_examples:
        raise ValueError("--annealed_examples=0")
    subject.tell(f"bounds from both sides of {options.annealed_examples} simulated examples")
    simulate = partial(evaluation.bidirectional_log_evidence, vae=vae, num_temperatures=options.num_temperatures)
    keys = jax.random.split(subject.key(_SIMULATED), options.annealed_examples)
    return _blocks(subject, partial(simulate, subject.params), keys)


def _gaps(subject: Subject) -> dict[str, dict[str, evaluation.InferenceGaps]]:
    if not subject.options.gap_examples:
        raise ValueError("--gap_examples=0")
    found = {}
    dataset = subject.experiment.dataset
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        chosen = data.spread_rows(split.number, subject.options.gap_examples)
        keys, xs = _examples(subject, name, chosen, subject.key(_GAPS))
        subject.tell(f"the best Gaussians for each of {len(chosen)} {name} examples")
        found[name] = _gaps_of(subject, keys, xs)
    return found


def _gaps_of(subject: Subject, keys: jax.Array, xs: Any) -> dict[str, evaluation.InferenceGaps]:
    """Returns the gaps by family of q*. Importance sampling from the correlated q* gives log p(x) for both: the weights
    of the diagonal one have heavier tails."""
    refine = partial(evaluation.inference_gaps, vae=subject.experiment.vae)
    refine = partial(refine, subject.params, num_samples=max(2, subject.options.num_samples))
    full = _blocks(subject, partial(refine, family="full"), keys, xs)
    diagonal = _blocks(
        subject,
        lambda keys, xs, *evidence, mesh: refine(keys, xs, family="diagonal", log_evidence=evidence, mesh=mesh),
        keys,
        xs,
        full.log_evidence,
        full.log_evidence_standard_error,
    )
    return {"diagonal": diagonal, "full": full}


def _blocks(subject: Subject, function: Callable[..., Any], *arrays: Any) -> Any:
    """Returns `function`, which is given a mesh, of all rows of the arrays, computed from some at a time."""
    mesh = parallel.local_mesh()
    in_rows = lambda rows: function(*jax.tree.map(lambda leaf: leaf[rows], arrays), mesh=mesh)
    # With as many for each device a block takes as long on one device as on several.
    size = _BLOCK * (1 if mesh is None else mesh.size)
    return scores.by_blocks(in_rows, len(arrays[0]), size, on_block=_lines(subject.tell))


def _lines(tell: Callable[[str], None]) -> Callable[[int, int], None]:
    """Returns a function that tells how many examples of how many are done, at most every ten seconds."""
    start = last = time.monotonic()

    def on_block(done: int, number: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _SECONDS_BETWEEN_LINES and done < number:
            tell(f"  {done} of {number}, {(now - start) * (number - done) / done:.0f} s left")
            last = now

    return on_block


def _examples(subject: Subject, split: str, rows: np.ndarray, key: jax.Array) -> tuple[jax.Array, Any]:
    """Returns (keys for noise, examples) in some rows of a split."""
    return jax.random.split(key, len(rows)), subject.experiment.observed(split, rows)


def _latent_examples(subject: Subject) -> tuple[jax.Array, Any]:
    test = subject.experiment.dataset.test
    return _examples(subject, "test", data.spread_rows(test.number, _MOST_LATENTS), subject.key(LATENTS))
