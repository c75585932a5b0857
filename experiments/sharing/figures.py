"""A run's figures with their errors as a table of Markdown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..reporting.words import number

_NATS = re.compile(r"\.(elbo|refined_elbo|nll|log_evidence|kl|mutual_information|marginal_kl|total_correlation|L\d+)$")


def lines(
    summary: Mapping[str, Any] | None, evaluation: Mapping[str, Any] | None, *, step: int, weights: str
) -> list[str]:
    """Returns the figures of evaluation.json, or where it has none of this step and these weights those of
    summary.json.

    Args:
      summary: what summary.json holds, if there is one; its figures are of the weights that the run reports.
      evaluation: what evaluation.json holds, if there is one.
      step: of the parameters that the figures are to be of.
      weights: "params" or "average".
    """
    if evaluation is not None and (evaluation.get("step"), evaluation.get("weights")) == (step, weights):
        found, measured = evaluation, "by `evaluate`"
    elif summary is not None and summary.get("step") == step:
        found, measured = summary, "at the end of `train`"
    else:
        return [f"Not known: none were measured at step {step}. `./launch.sh evaluate` measures them."]
    rows = [f"| {path} | {said} |" for path, said in _rows(found)]
    return [
        f"Measured {measured}, ± one standard error over the examples; nats are nats per example.",
        "",
        "| figure | |",
        "|---|---|",
        *rows,
    ]


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    remarks, reasons = found.get("remarks") or {}, found.get("reasons") or {}
    for path, value, error in _figures(found):
        if isinstance(value, int | float):
            unit = " nats" if _NATS.search(path) else " bits" if path.endswith("bits_per_dimension") else ""
            said = f"{number(value, error)}{unit}"
        else:
            said = f"not known: {reasons.get(path) or 'it is not finite'}"
        remark = f"; {remarks[path]}" if path in remarks else ""
        yield path, (said + remark).replace("|", "\\|").replace("\n", " ")


def _figures(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields (path, value, standard error) of what has an error, or is null, and of the bits per dimension."""
    reasons = found.get("reasons") or {} if not prefix else {}
    for name, value in found.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            if path not in ("remarks", "reasons"):
                yield from _figures(value, f"{path}.")
        elif f"{name}_standard_error" in found or name == "bits_per_dimension" or path in reasons:
            yield path, value, found.get(f"{name}_standard_error")
