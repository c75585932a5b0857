"""The figures of a model as one list of rows, of which table, JSON and CSV are renderings."""

import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from vae_jax import evaluation

from ..run.scores import Meaning
from .assessment import Assessment, Options
from .columns import ColumnFit, natural_error

_OF_DENSITIES = re.compile(r"\.(elbo|refined_elbo|nll|log_evidence|L\d+)$")
# Of k̂: the tail of fewer samples holds fewer than five.
_SAMPLES_OF_A_TAIL = 25
_INFORMATION = {
    "mutual_information": "I(x; z)",
    "marginal_kl": "KL(q(z) ‖ p(z))",
    "total_correlation": "total correlation",
}
_UNKNOWN = evaluation.InformationEstimate(math.nan, math.nan, math.nan, math.nan, (math.nan, math.nan), None)


class Row(NamedTuple):
    """One figure.

    Attributes:
      path: its place in evaluation.json, as "test.elbo".
      label: its name in the table; "" for a figure that is in the files alone.
      value: None, or not finite, where it cannot be had.
      standard_error: None for a figure that has none; not finite where it cannot be had.
      unit: of both; "nats" are nats per example.
      num_examples: of how many examples it is the mean, or the estimate.
      examples: of which: "test", "train" or "simulated".
      remark: what else a reader should know.
      reason: why `value` is None or not finite.
    """

    path: str
    label: str
    value: float | str | None = None
    standard_error: float | None = None
    unit: str = "nats"
    num_examples: int | None = None
    examples: str = ""
    remark: str = ""
    reason: str = ""

    def why(self) -> str:
        """Returns why the value is null; "" for one that is not."""
        return "" if is_number(self.value) or isinstance(self.value, str) else self.reason or "it is not finite"

    def why_no_error(self) -> str:
        """Returns why the standard error is null; "" where there is one, or the figure has none."""
        if self.standard_error is None or is_number(self.standard_error):
            return ""
        return self.why() or ("it needs two examples" if self.num_examples == 1 else "it is not finite")


def is_number(value: Any) -> TypeGuard[float]:
    """Returns whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def rows(found: Assessment, options: Options) -> list[Row]:
    """Returns the figures of an assessment in the order of the table; one row, with the reason, for a missing part."""
    parts = {
        "evidence": lambda: _evidence(found.evidence, found.meaning, options),
        "columns": lambda: _columns(found.columns or {}),
        "annealed": lambda: _annealed(found, options),
        "bidirectional": lambda: _bidirectional(found.bidirectional, options),
        "gaps": lambda: _gaps(found.gaps),
        "latents": lambda: _latents(found.latents),
        "collapse": lambda: _collapse(found.collapse),
        "probe": lambda: _probe(found.probe),
    }
    missing = {
        "columns": Row("columns", "how each column is described"),
        "annealed": Row("annealed", "log p(x), annealing"),
        "bidirectional": Row("bidirectional", "log p(x) of simulated x, bounds"),
        "gaps": Row("gaps", "approximation and amortisation gap"),
        "latents": Row("latents", "what the latents hold"),
        "collapse": Row("collapse", "why latents are unused", unit=""),
        "probe": Row("linear_probe", "linear probe, accuracy", unit="share"),
    }
    listed: list[Row] = []
    for name, part in parts.items():
        listed += [missing[name]._replace(reason=found.reasons[name])] if name in found.reasons else part()
    return [_marked(row, found.meaning.remark) for row in listed]


def _marked(row: Row, remark: str) -> Row:
    """With the remark, where the row is of log p(x|z) at examples of the data."""
    of_data = row.examples in ("test", "train") and _OF_DENSITIES.search(row.path) is not None
    if not (of_data and remark):
        return row
    return row._replace(remark="; ".join(filter(None, (row.remark, remark))))


def _mean(path: str, label: str, values: Any, **about: Any) -> Row:
    value, error = evaluation.mean_and_error(values)
    return Row(path, label, value, error, num_examples=len(values), **about)


def _evidence(evidence: Any, meaning: Meaning, options: Options) -> Iterator[Row]:
    n, k = len(evidence.value), options.num_samples
    scores = evaluation.dataset_evidence(evidence, num_samples=k)
    test = partial(Row, num_examples=n, examples="test")
    of_test = partial(_mean, examples="test")
    # What more samples would take away of the standard error.
    sampling = math.sqrt(np.sum(np.square(evidence.standard_error, dtype=np.float64))) / n
    yield test("test.elbo", "ELBO", scores.elbo, scores.elbo_standard_error)
    for number, size in enumerate(evaluation.bound_sizes(k)):
        inner = 1 < size < k  # the first is the ELBO, the last the estimate of log p(x)
        yield of_test(f"bounds.L{size}", f"L{size}" if inner else "", evidence.bounds[:, number])
    noise = f"of which sampling ± {sampling:.2f}" if math.isfinite(sampling) else ""
    yield of_test("test.log_evidence", f"log p(x), importance sampling, L{k}", evidence.value, remark=noise)
    yield test("test.nll", "", scores.nll, scores.nll_standard_error)
    bits = (meaning.in_bits(scores.nll), meaning.error_in_bits(scores.nll_standard_error))
    about = {"reason": meaning.reason} if meaning.num_elements is None else {"remark": meaning.reason}
    yield test("test.bits_per_dimension", "bits per dimension", *bits, unit="bits", **about)
    yield test("test.nll_num_samples", "", k, unit="samples")
    yield test("test.nll_sampling_error", "", sampling, reason="it needs two samples")
    threshold, pareto_k = evaluation.pareto_k_threshold(k), np.asarray(evidence.pareto_k)
    share = float(np.mean(pareto_k > threshold)) if k >= _SAMPLES_OF_A_TAIL else None
    reason = f"k̂ needs {_SAMPLES_OF_A_TAIL} samples, there are {k}" if k < _SAMPLES_OF_A_TAIL else ""
    remark = "" if share is None else f"{100 * share:.0f}% of the examples above {threshold:.2f}"
    remark += "; for these neither log p(x) nor its error can be relied on" if share else ""
    weights = partial(test, unit="", reason=reason)
    median = float(np.median(pareto_k))
    yield weights("importance_weights.median_pareto_k", "Pareto k̂, median", median, remark=remark)
    yield weights("importance_weights.pareto_k_threshold", "", threshold)
    yield weights("importance_weights.share_above_threshold", "", share)
    effective = float(np.median(evidence.effective_sample_size))
    yield weights("importance_weights.median_effective_sample_size", "", effective, unit="samples")


def _columns(fits: Mapping[str, ColumnFit]) -> Iterator[Row]:
    for name, fit in fits.items():
        where = f"columns.{name.replace('.', '_')}"
        yield _mean(f"{where}.reconstruction", f"{name}: log p(x_j|z), z ~ q(z|x)", fit.log_prob, examples="test")
        error, label, unit = ("accuracy", "accuracy", "share") if fit.is_class else ("rmse", "RMSE", "its own")
        about = {"unit": unit, "num_examples": len(fit.error), "examples": "test"}
        yield Row(f"{where}.{error}", f"{name}: {label}", *natural_error(fit), **about)


def _annealed(found: Assessment, options: Options) -> Iterator[Row]:
    assert found.annealed is not None
    rows, annealed = found.annealed
    of_these = partial(_mean, examples="test")
    above = np.asarray(annealed.value) - np.asarray(found.evidence.value)[rows]
    accepted = float(np.mean(annealed.acceptance))
    yield of_these("annealed.log_evidence", "log p(x), annealing", annealed.value, remark=_acceptance(accepted))
    yield of_these(
        "annealed.above_importance_sampling", "  above importance sampling", above, remark="the same examples"
    )
    yield from _chains("annealed", accepted, options)


def _bidirectional(both: Any, options: Options) -> Iterator[Row]:
    simulated = partial(_mean, examples="simulated")
    accepted = float(np.mean([both.lower_acceptance, both.upper_acceptance]))
    remark = _acceptance(accepted)
    yield simulated("bidirectional.lower", "log p(x) of simulated x, lower bound", both.lower, remark=remark)
    yield simulated("bidirectional.upper", "  upper bound", both.upper)
    gap = np.asarray(both.upper) - np.asarray(both.lower)
    yield simulated("bidirectional.gap", "  upper − lower", gap, remark="what annealing may be wrong by")
    yield from _chains("bidirectional", accepted, options)


def _acceptance(accepted: float) -> str:
    return f"acceptance {accepted:.2f}" if math.isfinite(accepted) else ""


def _chains(part: str, accepted: float, options: Options) -> Iterator[Row]:
    yield Row(f"{part}.num_temperatures", "", options.num_temperatures, unit="")
    yield Row(f"{part}.acceptance", "", accepted, unit="share", reason="one temperature has no transition")


def _gaps(gaps: Any) -> Iterator[Row]:
    labels = {"approximation_gap": "approximation gap", "amortization_gap": "amortisation gap"}
    names = (*labels, "log_evidence", "elbo", "refined_elbo", "late_improvement")
    for split, of in gaps.items():
        for family, found in of.items():
            for name in names:
                label = f"{labels[name]}, {family} q*" if name in labels else ""
                yield _mean(f"gaps.{split}.{family}.{name}", label, getattr(found, name), examples=split)
    train, test = (evaluation.mean_and_error(gaps[split]["diagonal"].amortization_gap) for split in ("train", "test"))
    yield Row(
        "gaps.generalisation_of_inference",
        "generalisation gap of inference",
        test[0] - train[0],
        math.hypot(train[1], test[1]),
        remark="amortisation gap, diagonal q*, test − train",
    )


def _latents(latents: Any) -> Iterator[Row]:
    about = {"num_examples": latents.num_examples, "examples": "test"}
    of_dimensions = partial(Row, unit="dimensions", **about)
    draws = "" if latents.num_draws is None else f"from {latents.num_draws} draws of each q(z|x)"
    yield of_dimensions("latents.active_units", "active latent dimensions", latents.active_units, remark=draws)
    collapsed = None if latents.collapsed is None else int(latents.collapsed.sum())
    yield of_dimensions("latents.collapsed_dimensions", "", collapsed, reason=latents.reason or "")
    yield Row("latents.kl", "KL(q(z|x) ‖ p(z))", latents.kl, latents.kl_standard_error, **about)
    for name, label in _INFORMATION.items():
        estimate = getattr(latents, name) or _UNKNOWN._replace(warning=latents.reason)
        low, high = estimate.interval
        known = math.isfinite(estimate.value)
        warned = f". NOT TO BE TRUSTED: {estimate.warning}" if estimate.warning and known else ""
        remark = "" if math.isnan(low) else f"95%: {low:.2f} to {high:.2f}{warned}"
        yield Row(
            f"latents.{name}",
            label,
            estimate.value,
            estimate.standard_error,
            remark=remark,
            reason=estimate.warning or "",
            **about,
        )
        bounds = {"lower": estimate.lower, "upper": estimate.upper, "interval_low": low, "interval_high": high}
        for bound, value in bounds.items():
            yield Row(f"latents.{name}_{bound}", "", value, reason=estimate.warning or "", **about)


def _collapse(collapse: Any) -> Iterator[Row]:
    yield Row("collapse.explanation", "", collapse.explanation, unit="")
    yield Row("collapse.causes", "", ", ".join(collapse.causes), unit="")
    for name in ("latent_dim", "active_units", "ppca_dimensions", "ppca_dimensions_at_beta"):
        reason = "the likelihood is no Gaussian with one σ"
        yield Row(f"collapse.{name}", "", getattr(collapse, name), unit="dimensions", reason=reason)


def _probe(found: Any) -> Iterator[Row]:
    *probes, read = found
    named = (("linear_probe", "linear probe, accuracy"), ("nearest_neighbours", "nearest neighbours, accuracy"))
    for (path, label), probe in zip(named, probes, strict=True):
        yield Row(
            f"{path}.accuracy",
            label,
            probe.accuracy,
            probe.standard_error,
            unit="share",
            num_examples=probe.num_examples,
            examples="test",
            remark=f"labels from the {read}",
        )
