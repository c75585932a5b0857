"""What a run came to, in sentences."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax import runs

from ..run.config import Config, to_dict
from .latents import LatentUse
from .rows import is_number
from .trend import Trend

_FIGURES = {"test.elbo": "the ELBO", "test.nll": "−log p(x)", "test.bits_per_dimension": "bits per dimension"}
_REMEDIES = {
    "data": "the data vary in no more directions: use a smaller --config.model.latent_dim",
    "scale": (
        "the σ of the likelihood is too large for more: train longer, or give a smaller σ "
        "(--config.model.likelihood='normal(scale=0.1)')"
    ),
    "beta": "the weight of the KL, --config.loss.beta, is above 1: lower it",
    "optimisation": (
        "either the model needs no more, or the full weight of the KL from the first step has switched them off, which "
        "a warm-up would show, --config.loss.beta='linear({steps})'"
    ),
    "decoder": (
        "the likely cause is the decoder, which models x without z: use a smaller network, or keep z informative by "
        "--config.loss.regularizers='free_bits(0.1)'"
    ),
    "unexplained": "the KL rose slowly and z informs the decoder, so the network probably needs no more",
}


def value_and_error(value: Any, error: Any = None) -> tuple[str, str]:
    """Returns a number and its error as texts; "" for what is no finite number.

    Both have two decimals, three below 1, or as many as show two digits of the error, and a real minus; a whole number
    has none.
    """
    if not is_number(value):
        return "", ""
    if isinstance(value, int):
        return f"{value:,}", ""
    decimals = 3 if 0 < abs(value) < 1 else 2
    if is_number(error) and error > 0:
        decimals = min(6, max(2, 1 - math.floor(math.log10(error))))
    return f"{value:.{decimals}f}".replace("-", "−"), f"{error:.{decimals}f}" if is_number(error) else ""


def number(value: Any, error: Any = None) -> str:
    """Returns a number with its error as one text, as `value_and_error` writes them."""
    return " ± ".join(filter(None, value_and_error(value, error)))


def result(summary: Mapping[str, Any]) -> list[str]:
    """Returns sentences on the test ELBO and the negative log-likelihood, with what a reader of them should know."""
    test = summary.get("test") or {}
    told: list[dict[str, str]] = [summary.get(name) or {} for name in ("reasons", "remarks")]
    reasons, remarks = told
    of = f"over {examples(test)}"
    said = []
    if is_number(test.get("elbo")):
        elbo = number(test["elbo"], test.get("elbo_standard_error"))
        said.append(
            f"The test ELBO is {elbo} nats per example, the mean {of}: log p(x) is at least that on average. A larger "
            "ELBO is better."
        )
    else:
        said.append(f"The test ELBO is not known: {reasons.get('test.elbo', 'it is not finite')}.")
    if is_number(test.get("nll")):
        nll = number(test["nll"], test.get("nll_standard_error"))
        bits = test.get("bits_per_dimension")
        also = f", or {bits:.3f} bits per dimension" if is_number(bits) else ""
        samples = test.get("nll_num_samples")
        by = f", estimated by {samples:,} importance samples of each example" if samples else ""
        said.append(
            f"The test negative log-likelihood, −log p(x), is {nll} nats per example{also}{by}. A smaller one is "
            "better; with few samples the estimate is too large rather than too small."
        )
    else:
        said.append(f"The test negative log-likelihood is not known: {reasons.get('test.nll', 'it is not finite')}.")
    for remark in dict.fromkeys(remarks.values()):
        of = [_FIGURES.get(path, path) for path in remarks if remarks[path] == remark]
        said.append(f"Note on {' and '.join(of)}: {remark}.")
    if "test.bits_per_dimension" in reasons:
        said.append(f"Bits per dimension are not known: {reasons['test.bits_per_dimension']}.")
    return said


def examples(test: Mapping[str, Any]) -> str:
    """Returns how many test examples there are, in words."""
    number_of = test.get("num_examples")
    if not isinstance(number_of, int):
        return "the test examples"
    return f"{number_of:,} test examples" if number_of > 1 else "one test example"


def of_errors(test: Mapping[str, Any]) -> str:
    """Returns a sentence on how an error is to be read, or on why there is none."""
    if not is_number(test.get("elbo_standard_error")):
        return f"The figures have no errors: these need two test examples, and the mean is over {examples(test)}."
    return (
        f"± is one standard error over {examples(test)}: of 100 test sets like this one, about 95 have the mean over "
        "all such data within two of their errors. Another seed may differ by more than that."
    )


def collapse(use: LatentUse, config: Config) -> str:
    """Returns a sentence on how many latent dimensions are active and, where some are not, why, and what to do."""
    if use.diagnosis is None:
        return f"How many latent dimensions are active is not known: {use.reason}."
    active, there = use.diagnosis.active_units, use.diagnosis.latent_dim
    if active >= there:
        which = f"All {there} latent dimensions are" if there > 1 else "The one latent dimension is"
        return f"{which} active: none collapsed."
    steps = max(1, config.training.num_steps // 10)
    why = "; ".join(_REMEDIES[cause].format(steps=steps) for cause in use.diagnosis.causes)
    if active == 0:
        head = f"The posterior collapsed: none of the {there} latent dimensions is active, and the decoder ignores z"
    else:
        verb = "is" if active == 1 else "are"
        head = f"{active} of {there} latent dimensions {verb} active, and the rest hold almost nothing of x"
    return f"{head}: {why}." if why else f"{head}."


def improvement(found: Trend, config: Config) -> str:
    """Returns a sentence on whether the validation ELBO was still rising at the end, and what to do."""
    training = config.training
    best = f"{number(found.best)} nats at step {found.best_step:,}"
    if found.kind == "unknown":
        kept = f" The best is {best}." if found.number else ""
        return (
            f"Whether the validation ELBO was still rising is not known: there are {found.number} evaluations of it, "
            f"and four are needed; use a smaller --config.training.eval_every.{kept}"
        )
    if found.kind == "rising":
        per = number(1000 * found.slope, 1000 * found.slope_error)
        where = "the same command" if training.schedule == "constant" else "a new --workdir"
        return (
            f"The validation ELBO was still rising at the end, by {per} nats per 1,000 steps: train longer, in {where} "
            f"with --config.training.num_steps={2 * training.num_steps}."
        )
    if found.kind == "falling":
        patience = (
            "the parameters of the best step were kept"
            if training.patience is not None
            else "in a new run --config.training.patience=5 keeps the best parameters"
        )
        return (
            f"The validation ELBO was falling at the end: its best is {best}, and its last is {number(found.last)}. "
            f"The model overfits; {patience}."
        )
    return (
        f"The validation ELBO had stopped rising: its best is {best} of {found.last_step:,}. More steps of this config "
        "would probably not help."
    )


def next_commands(folder: Path, config: Config, places: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Returns (command, what it gives) of what a user may do next.

    Args:
      folder: of the run.
      config: of the run; packages that it names are trusted by the commands.
      places: flags that say where the data are, for the commands that need them.
    """
    packages = sorted({module.partition(".")[0] for _, module in runs.named_modules(to_dict(config))})
    trust = [f"--trust={','.join(packages)}"] if packages else []
    line = lambda name, *flags: shlex.join(["./launch.sh", name, f"--workdir={folder}", *flags, *trust])
    return [
        (line("evaluate", *places), "every number with its error, into the report too"),
        (line("sample"), "new examples from the model"),
        (line("report", "--workdir=ANOTHER_RUN"), "this run beside another"),
    ]
