"""What is on the report page of a run, computed from its parameters and read from its folder."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..command import watchdog
from ..run import build, scores, workdir
from ..run.config import Config
from . import assessment, curves, document, encoded, explorer, latents, missing, provenance, words
from .page import Headline, Page, Scatter, render
from .record import Record, curve, read
from .rows import is_number
from .trend import trend

MOST_EXAMPLES = 2000  # whose latents are looked at
_NATS = "nats"

# What each figure shows; the curves and the latents are drawn by the page itself.
_CAPTIONS = {
    "reconstructions": "Above, test images; below, the means of p(x|z) at the means of q(z|x).",
    "samples": "Means of p(x|z) with z from the prior.",
    "columns": "The columns of x in the test examples and in samples of the model.",
    "neighbours": "On the left, samples; beside each, the training images nearest to it: a copy would be equal to one.",
    "traversal": "One latent dimension at a time moves from −3 to 3, the most used one first.",
    "manifold": "Means of p(x|z) at quantiles of N(0, I).",
    "kl_per_dimension": "KL(q(z|x) ‖ p(z)) of each latent dimension, ± 2 standard errors.",
    "bounds": "The bound L_K on log p(x) against the number of importance samples, ± 2 standard errors.",
    "pareto_k": "k̂ of the importance weights of each test example: above the line they are not reliable.",
    "gaps": "What inference loses, by cause, ± 2 standard errors.",
}
_DRAWN_HERE = ("learning_curves", "latents")


def write(experiment: build.Experiment, params: Any, folder: Path, use: latents.LatentUse, path: Path) -> None:
    """Writes the report page of the run in a folder, with parameters of its model and what their latents hold."""
    document.write(path, render(contents(experiment, params, read(folder), use)))


def write_or_warn(experiment: build.Experiment, params: Any, folder: Path, use: latents.LatentUse) -> bool:
    """Returns whether report.html was written into a run's folder; a failure is a warning, as that of a figure."""
    watchdog.progress()
    path = folder / workdir.REPORT
    try:
        write(experiment, params, folder, use, path)
    except Exception as error:  # whatever it is, the numbers are written and worth more than a page
        print(f"warning: {path} was not written: {missing.reason(error)}", file=sys.stderr, flush=True)
        return False
    return True


def latent_use(experiment: build.Experiment, params: Any) -> latents.LatentUse:
    """Returns what the latents of some test examples hold, as `evaluate` finds it."""
    watchdog.progress()
    key = assessment.purpose_key(experiment, assessment.LATENTS)
    return latents.use(experiment, params, key, most_examples=MOST_EXAMPLES)


def sentences(
    summary: dict[str, Any] | None, lines: list[dict[str, Any]], config: Config, use: latents.LatentUse
) -> list[str]:
    """Returns what a run came to, in sentences, from its summary (None before its end) and its metrics."""
    if summary is None:
        last = f"{lines[-1]['step'] if lines else 0:,} of {config.training.num_steps:,}"
        return [
            f"The run has not come to its end: it is at step {last}, and the test set's figures are not known yet. "
            "The command that began it, given again, goes on.",
            words.collapse(use, config),
        ]
    return [
        *words.result(summary),
        words.of_errors(summary.get("test") or {}),
        words.collapse(use, config),
        words.improvement(trend(*curve(lines, "validation", "elbo")), config),
    ]


def contents(experiment: build.Experiment, params: Any, record: Record, use: latents.LatentUse) -> Page:
    """Returns all that is on the page; what fails is a reason there."""
    mean_key, _, decode_key = jax.random.split(build.purpose_key(experiment.key, build.FIGURES), 3)
    explored: explorer.Explorer | str
    drawn: Scatter | str
    try:
        found = encoded.encode(experiment, params, mean_key, most=MOST_EXAMPLES)
    except Exception as error:  # of a model of the user's, say; the rest of the page is worth more
        explored = drawn = missing.reason(error)
    else:
        try:
            explored = explorer.explore(experiment, params, found, decode_key)
        except Exception as error:  # likewise
            explored = missing.reason(error)
        try:
            drawn = _scatter(experiment, found)
        except Exception as error:  # likewise
            drawn = missing.reason(error)
    model, dataset = record.config.model, experiment.dataset
    return Page(
        title=record.name,
        about=f"{model.network}, z {model.latent_dim}, likelihood {model.likelihood}, on {dataset.name}",
        headlines=_headlines(record, use, scores.meaning(experiment, params)),
        sentences=sentences(record.summary, record.lines, record.config, use),
        curves=curves.quantities({record.name: record}),
        pictures=_pictures(record.folder / workdir.FIGURES),
        explorer=explored,
        scatter=drawn,
        rows=[row for row in record.rows if row.label],
        evaluated=_evaluated(record),
        fields=provenance.fields(record.config, dataset.contents),
        command=provenance.command(record.config, record.folder, dataset.contents),
        facts=[*provenance.facts(record), *provenance.of_this_page()],
    )


def _headlines(record: Record, use: latents.LatentUse, meaning: scores.Meaning) -> list[Headline]:
    test, found = record.test(), []
    if is_number(test.get("elbo")):
        error = test.get("elbo_standard_error")
        found.append(Headline("Test ELBO", *words.value_and_error(test["elbo"], error), f"{_NATS}, larger is better"))
    if is_number(test.get("nll")):
        error = test.get("nll_standard_error")
        found.append(Headline("−log p(x)", *words.value_and_error(test["nll"], error), f"{_NATS}, smaller is better"))
    if is_number(bits := test.get("bits_per_dimension")):
        error = test.get("nll_standard_error")
        of_bits = meaning.error_in_bits(error) if is_number(error) else None
        found.append(Headline("Bits per dimension", *words.value_and_error(bits, of_bits), "smaller is better"))
    if use.diagnosis is not None:
        active, there = use.diagnosis.active_units, use.diagnosis.latent_dim
        found.append(Headline("Active latents", f"{active} of {there}", "", "dimensions of z"))
    return found


def _evaluated(record: Record) -> str:
    if record.evaluation is None:
        return ""
    step, of_run = record.evaluation.get("step", "?"), (record.summary or {}).get("step")
    other = "" if of_run in (None, step) else f", not of the result above, which is of step {of_run}: evaluate again"
    weights = "weight average" if record.evaluation.get("weights") == "average" else "parameters"
    return f"Of the {weights} at step {step}{other}"


def _pictures(folder: Path) -> list[document.Picture]:
    """Returns the figures of a run's folder, those with a caption first."""
    there = {path.stem: path for path in sorted(folder.glob("*.png")) if path.stem not in _DRAWN_HERE}
    names = [*(name for name in _CAPTIONS if name in there), *(name for name in there if name not in _CAPTIONS)]
    found = []
    for name in names:
        caption = _CAPTIONS.get(name, name.replace("_", " "))
        found.append(document.Picture(name, there[name].read_bytes(), caption, caption))
    return found


def _scatter(experiment: build.Experiment, found: encoded.Encoded) -> Scatter:
    points, xlabel, ylabel = encoded.plane(found.means)
    labels = experiment.dataset.test.labels
    classes, codes = np.unique(labels[: len(points)], return_inverse=True) if labels is not None else ([], [])
    return Scatter(
        [[float(f"{x:.5g}"), float(f"{y:.5g}")] for x, y in points.tolist()],
        [int(code) for code in codes],
        [str(name) for name in classes],
        xlabel,
        ylabel,
        f"The {found.name} of {len(points):,} test examples"
        + ("; point at one for its label and row." if len(classes) else "; point at one for its row."),
    )
