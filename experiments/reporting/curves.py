"""The curves of one run or of several, as the script draws them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vae_jax import data

from .record import Record, curve

_MOST_POINTS = 1000
_LABELS = {
    "elbo": "ELBO, nats per example",
    "loss": "loss, which is minimised, nats per example",
    "reconstruction": "E log p(x|z), nats per example",
    "kl": "KL(q(z|x) ‖ p(z)), nats per example",
    "gradient_norm": "norm of the gradient",
    "effective_sample_size": "effective sample size of the importance weights",
}
_SPLITS = {"train": "training", "validation": "validation"}
_NO_CURVES = ("step", "split", "seconds")


def quantities(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Returns each quantity of the runs' metrics with its series, of at most a thousand points, the ELBO first.

    One run's splits have colours of their own; of several runs each has one, and training is dashed. A quantity that
    never changes is left out.
    """
    names = {name for record in records.values() for line in record.lines for name in line}
    known = [name for name in _LABELS if name in names]
    others = sorted(n for n in names - set(known) - set(_NO_CURVES) if not n.endswith("_standard_error"))
    found = []
    for name in [*known, *others]:
        series = []
        for number, (run, record) in enumerate(records.items()):
            for split, called in _SPLITS.items():
                steps, values = curve(record.lines, split, name)
                if not steps:
                    continue
                kept = data.spread_rows(len(steps), _MOST_POINTS)
                series.append(
                    {
                        "name": called if len(records) == 1 else f"{run}, {called}",
                        "colour": (list(_SPLITS).index(split) if len(records) == 1 else number) % 10,
                        "dashed": split == "train" and len(records) > 1,
                        "steps": [steps[row] for row in kept],
                        "values": [_rounded(values[row]) for row in kept],
                    }
                )
        if len({value for one in series for value in one["values"]}) > 1:
            found.append({"label": _LABELS.get(name, name), "series": series})
    return found


def _rounded(value: float) -> float | None:
    return float(np.format_float_positional(value, 8, fractional=False)) if math.isfinite(value) else None
