"""What was measured of a model, as a table, as JSON and as CSV files."""

import csv
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vae_jax import evaluation

from .assessment import Assessment, Options

_INFORMATION = {
    "mutual_information": "I(x; z)",
    "marginal_kl": "KL(q(z) ‖ p(z))",
    "total_correlation": "total correlation",
}


def as_json(found: Assessment, options: Options) -> dict[str, Any]:
    """What evaluation.json holds: None for what was not measured, or is not a number."""
    evidence = found.evidence
    sizes = evaluation.bound_sizes(options.num_samples)
    n = len(evidence.value)
    threshold = evaluation.pareto_k_threshold(options.num_samples)
    unreliable = np.asarray(evidence.pareto_k) > threshold
    measured = {
        "test": {
            **evaluation.dataset_evidence(evidence, num_samples=options.num_samples)._asdict(),
            # What more samples would take away of nll_standard_error.
            "nll_sampling_error": math.sqrt(np.sum(np.square(evidence.standard_error, dtype=np.float64))) / n,
        },
        "bounds": [{"num_samples": size, **_estimate(evidence.bounds[:, number])} for number, size in enumerate(sizes)],
        "weights_of_samples": {
            "median_effective_sample_size": float(np.median(evidence.effective_sample_size)),
            "median_pareto_k": float(np.median(evidence.pareto_k)),
            "pareto_k_threshold": threshold,
            "share_above_threshold": float(np.mean(unreliable)),
        },
        "annealed": None,
        "bidirectional": None,
        "gaps": {split: {family: _gaps(gaps) for family, gaps in of.items()} for split, of in found.gaps.items()},
        "generalisation_of_inference": None,
        "latents": _latents(found.latents),
        "collapse": found.collapse._asdict(),
        "linear_probe": None if found.probe is None else found.probe._asdict(),
    }
    if found.annealed is not None:
        by_samples = np.asarray(evidence.value)[found.annealed_rows]
        measured["annealed"] = {
            "num_examples": len(by_samples),
            "num_temperatures": options.num_temperatures,
            "log_evidence": _estimate(found.annealed.value),
            "above_importance_sampling": _estimate(np.asarray(found.annealed.value) - by_samples),
            "acceptance": float(np.mean(found.annealed.acceptance)),
        }
    if found.bidirectional is not None:
        both = found.bidirectional
        measured["bidirectional"] = {
            "num_examples": len(both.lower),
            "num_temperatures": options.num_temperatures,
            "lower": _estimate(both.lower),
            "upper": _estimate(both.upper),
            "gap": _estimate(np.asarray(both.upper) - np.asarray(both.lower)),
            "acceptance": float(np.mean([both.lower_acceptance, both.upper_acceptance])),
        }
    if found.gaps:
        train, test = (_estimate(found.gaps[split]["diagonal"].amortization_gap) for split in ("train", "test"))
        error = math.hypot(train["standard_error"], test["standard_error"])
        measured["generalisation_of_inference"] = {"value": test["value"] - train["value"], "standard_error": error}
    return _finite(measured)


def _estimate(values: Any) -> dict[str, float]:
    value, error = evaluation.mean_and_error(values)
    return {"value": value, "standard_error": error}


def _gaps(gaps: evaluation.InferenceGaps) -> dict[str, Any]:
    names = ("approximation_gap", "amortization_gap", "log_evidence", "elbo", "refined_elbo", "late_improvement")
    return {"num_examples": len(gaps.elbo), **{name: _estimate(getattr(gaps, name)) for name in names}}


def _latents(latents: evaluation.LatentStatistics) -> dict[str, Any]:
    collapsed = None if latents.collapsed is None else int(latents.collapsed.sum())
    return {
        "num_examples": latents.num_examples,
        "active_units": latents.active_units,
        "collapsed_dimensions": collapsed,
        "kl": {"value": latents.kl, "standard_error": latents.kl_standard_error},
        **{name: getattr(latents, name)._asdict() for name in _INFORMATION},
    }


def _finite(value: Any) -> Any:
    """As what JSON can hold."""
    if isinstance(value, Mapping):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_tables(found: Assessment, bounds: Iterable[Iterable[float]], labels: Any, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    evidence, latents = found.evidence, found.latents
    names = ("value", "standard_error", "effective_sample_size", "pareto_k", "elbo")
    _write_csv(
        folder / "examples.csv",
        ("row", "label", *("log_evidence" if name == "value" else name for name in names)),
        zip(
            range(len(evidence.value)),
            [""] * len(evidence.value) if labels is None else labels,
            *(getattr(evidence, name) for name in names),
            strict=True,
        ),
    )
    _write_csv(folder / "bounds.csv", ("num_samples", "bound", "standard_error"), bounds)
    columns = ("activity", "active", "kl_per_dimension", "kl_per_dimension_standard_error", "collapsed")
    known = [name for name in columns if getattr(latents, name) is not None]
    dimensions = zip(range(len(latents.activity)), *(getattr(latents, name) for name in known), strict=True)
    _write_csv(folder / "dimensions.csv", ("dimension", *known), dimensions)
    if found.annealed is not None:
        names = evaluation.AnnealedEvidence._fields
        rows = zip(found.annealed_rows, *found.annealed, strict=True)
        _write_csv(folder / "annealed.csv", ("row", "log_evidence", *names[1:]), rows)
    if found.gaps:
        names = [name for name in evaluation.InferenceGaps._fields if name != "posterior"]
        rows = (
            (split, family, *values)
            for split, of in found.gaps.items()
            for family, gaps in of.items()
            for values in zip(*(getattr(gaps, name) for name in names), strict=True)
        )
        _write_csv(folder / "gaps.csv", ("split", "family", *names), rows)


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def print_table(measured: Mapping[str, Any], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("", "nats", "± error", ""):
        table.add_column(column, justify="right" if column else "left")
    for name, value, error, remark in _rows(measured):
        shown = ("" if number is None else f"{number:.2f}" for number in (value, error))
        table.add_row(name, *shown, remark)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    print(measured["collapse"]["explanation"])


def _rows(measured: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float | None, str]]:
    """(name, value, standard error, remark)."""
    test, weights = measured["test"], measured["weights_of_samples"]
    n, k = test["num_examples"], test["nll_num_samples"]
    yield "ELBO", test["elbo"], test["elbo_standard_error"], f"{n} test examples"
    for bound in measured["bounds"][1:-1]:
        yield f"L{bound['num_samples']}", bound["value"], bound["standard_error"], ""
    noise = f"of which sampling ±{test['nll_sampling_error']:.2f}" if test["nll_sampling_error"] is not None else ""
    yield f"−log p(x), by L{k}", test["nll"], test["nll_standard_error"], noise
    if weights["median_pareto_k"] is not None:
        share = 100 * weights["share_above_threshold"]
        yield (
            "Pareto k̂, median (not nats)",
            weights["median_pareto_k"],
            None,
            f"{share:.0f}% of the examples above {weights['pareto_k_threshold']:.2f}"
            + ("; for these neither figure nor error can be relied on" if share else ""),
        )
    if (annealed := measured["annealed"]) is not None:
        # One temperature has no transition, and so nothing to accept.
        accepted = "" if annealed["acceptance"] is None else f", acceptance {annealed['acceptance']:.2f}"
        remark = f"{annealed['num_examples']} examples{accepted}"
        yield "log p(x), by annealing", *annealed["log_evidence"].values(), remark
        above = annealed["above_importance_sampling"]
        yield "  above importance sampling", *above.values(), "of the same examples"
        both = measured["bidirectional"]
        yield "log p(x) of simulated x, lower bound", *both["lower"].values(), f"{both['num_examples']} examples"
        yield "  upper bound", *both["upper"].values(), ""
        yield "  upper − lower", *both["gap"].values(), "what annealing may be wrong by"
    for split, of in measured["gaps"].items():
        for family, gaps in of.items():
            remark = f"{gaps['num_examples']} {split} examples, {family} Gaussians"
            yield "approximation gap", *gaps["approximation_gap"].values(), remark
            yield "amortisation gap", *gaps["amortization_gap"].values(), remark
    if measured["generalisation_of_inference"] is not None:
        yield "generalisation gap of inference", *measured["generalisation_of_inference"].values(), "test − train"
    latents = measured["latents"]
    of_latents = f"{latents['num_examples']} test examples"
    yield "KL(q(z|x) ‖ p(z))", *latents["kl"].values(), of_latents
    for key, name in _INFORMATION.items():
        estimate = latents[key]
        low, high = estimate["interval"]
        remark = f"95%: {low:.2f} to {high:.2f}" + (f". NOT TO BE TRUSTED: {w}" if (w := estimate["warning"]) else "")
        yield name, estimate["value"], estimate["standard_error"], remark
    if (probe := measured["linear_probe"]) is not None:
        remark = f"{probe['num_examples']} test labels from the means of q(z|x)"
        yield "linear probe (% right)", 100 * probe["accuracy"], 100 * probe["standard_error"], remark
