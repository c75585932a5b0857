"""The model card of an export: what the model is, what it was trained on, how good it is, and how it is loaded."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.data import Contents
from vae_jax.exports.functions import Function

from ..reporting import provenance
from ..run.config import Config
from . import figures, usage

_MARKS = re.compile(r"([\\`*_\[\]<>#|&$])")
_AGAIN = Path("runs/again")  # where the command of a card trains
_TAGS = ("variational-autoencoder", "jax", "flax")
_PARTS = {
    "encoder, which the decoder mirrors": "network",
    "posterior q(z\\|x)": "posterior",
    "prior p(z)": "prior",
    "likelihood p(x\\|z)": "likelihood",
    "computed in": "compute_dtype",
}


class Told(NamedTuple):
    """What a card is made of.

    Attributes:
      config: of the run.
      run_id: the run's name for itself, if it has one.
      fingerprint: of its data, if the run has it.
      contents: what an example is.
      sizes: of the blocks of the parameters.
      step: of the checkpoint.
      weights: what the figures and the functions are of, "params" or "average".
      provenance: what trained it, as `runs.OpenModel` has it.
      functions: by file, or the reason why there is none.
      summary: of summary.json; None where there is none.
      evaluation: of evaluation.json, likewise.
      num_drawn_from: how many training examples the prior began at.
      licence: of the weights, as it was given; None where it was not.
    """

    config: Config
    run_id: str | None
    fingerprint: Mapping[str, Any] | None
    contents: Contents
    sizes: Mapping[str, int]
    step: int
    weights: str
    provenance: Mapping[str, Any]
    functions: Mapping[str, Function | str]
    summary: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None
    num_drawn_from: int
    licence: str | None


def text(told: Told) -> str:
    """Returns the card in Markdown, with the header that model hubs read."""
    sections = {
        f"# A variational autoencoder of {_plain(_name(told))}": _opening(told),
        "## Model": _model(told),
        "## Data": _data(told),
        "## Figures": figures.lines(told.summary, told.evaluation, step=told.step, weights=told.weights),
        "## Use and limits": _limits(told),
        "## How to load it": usage.lines(told.functions, weights=told.weights),
        "## How it was trained": _training(told),
        "## Licence": _licence(told),
    }
    body = "\n\n".join("\n".join([title, "", *lines]) for title, lines in sections.items())
    return "\n".join([*_header(told), "", body, ""])


def _name(told: Told) -> str:
    """Returns what the data are called, without the place where they lie."""
    return told.config.data.name if told.config.data.path is None else Path(told.config.data.path).name


def _header(told: Told) -> list[str]:
    """YAML, of which JSON is a part: a text is quoted as JSON quotes it."""
    licence = json.dumps(told.licence, ensure_ascii=False) if told.licence else "unknown"
    return ["---", "library_name: vae_jax", f"license: {licence}", "tags:", *(f"- {tag}" for tag in _TAGS), "---"]


def _opening(told: Told) -> list[str]:
    weights = "the average of the weights over training" if told.weights == "average" else "the parameters"
    of_run = f" of the run `{told.run_id}`" if told.run_id else ""
    return [f"It was exported at step {told.step:,}{of_run}. The figures and the functions below are of {weights}."]


def _model(told: Told) -> list[str]:
    model, blocks = told.config.model, ", ".join(f"{name} {size:,}" for name, size in told.sizes.items())
    parts = {label: _code(getattr(model, field)) for label, field in _PARTS.items()}
    rows = {
        **parts,
        "shape of z": f"{model.latent_dim}",
        "objective": f"{_code(told.config.loss.bound)}, with the KL weighted by {_code(told.config.loss.beta)}",
        "parameters": f"{sum(told.sizes.values()):,} ({blocks})",
    }
    return ["| | |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows.items())]


def _data(told: Told) -> list[str]:
    contents, options = told.contents, told.config.data
    lines = [f"{_code(_name(told))}. An example is {_example(contents)}."]
    if contents.is_picture:
        drawn = {"none": "numbers in [0, 1]", "fixed": "zeros and ones, drawn once with the greys as probabilities"}
        shown = drawn.get(options.binarization, "zeros and ones, drawn at every step with the greys as probabilities")
        lines += [f"The model saw pixels as {shown}."]
    if told.fingerprint is None:
        return [*lines, "", "No fingerprint of the data is known: the run is older than the fingerprints."]
    splits = {name: of for name, of in told.fingerprint.items() if isinstance(of, Mapping) and "sha256" in of}
    rows = [f"| {name} | {of['examples']:,} | `{of['sha256']}` |" for name, of in splits.items()]
    return [*lines, "", "| split | examples | SHA-256 |", "|---|---|---|", *rows]


def _example(contents: Contents) -> str:
    if contents.is_table:
        found = f"a row of {len(contents.variables())} columns: " + ", ".join(
            f"{_plain(name)} ({of.kind})" for name, of in contents.variables().items()
        )
    else:
        variable = contents.variables()[""]
        kinds = {"picture": "a picture", "count": "an array of counts"}
        found = f"{kinds.get(variable.kind, f'an array of the kind {variable.kind}')} of shape {variable.shape}"
    if contents.masked:
        found += "; entries may be missing"
    given = [*map(_plain, contents.condition), *["their total"] * contents.sized]
    return f"{found}; given: {', '.join(given)}" if given else found


def _limits(told: Told) -> list[str]:
    lines = [
        "- It is for research: to encode, to score, to fill in and to draw examples of the kind above, read the same",
        "  way. What it does with other data was not measured.",
        "- Its figures are of the data's own test split. They say nothing of the people or things behind the data.",
    ]
    remarks = {**(told.summary or {}).get("remarks", {}), **(told.evaluation or {}).get("remarks", {})}
    if remark := remarks.get("test.elbo"):
        lines.append(f"- Of its log-likelihoods: {_plain(remark)}.")
    if told.num_drawn_from:
        lines.append(
            f"- Its prior began at {told.num_drawn_from} training examples, which the weights may still hold:\n"
            "  they are to be shared only where the data may be."
        )
    return lines


def _training(told: Told) -> list[str]:
    versions, commit = told.provenance["versions"], told.provenance["commit"]
    written = "not known" if versions is None else ", ".join(f"{name} {of}" for name, of in versions.items())
    return [
        "```bash",
        provenance.command(told.config, _AGAIN, told.contents),
        "```",
        "",
        f"Seed {told.config.seed}. Versions: {written}. Commit: {commit or 'not known'}.",
    ]


def _licence(told: Told) -> list[str]:
    stated = "Whoever exported the weights has stated no licence: ask before you use them."
    if told.licence:
        stated = f"The weights: {_plain(told.licence)}."
    return [f"{stated} The data have terms of their own. `vae_jax` is under the Apache licence 2.0."]


def _plain(text: str) -> str:
    """Returns a text on one line in which Markdown and HTML see no mark-up."""
    return " ".join(_MARKS.sub(r"\\\1", text).split())


def _code(text: Any) -> str:
    """Returns a text as code, in a table too, where a bar would end the cell."""
    return f"`{' '.join(str(text).replace('`', chr(39)).split())}`".replace("|", "\\|")
