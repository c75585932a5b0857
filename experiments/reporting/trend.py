"""Whether the validation ELBO of a run was still rising when it ended."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A line through fewer points has no error that means anything.
_FEWEST = 4


class Trend(NamedTuple):
    """What the evaluations on the validation split came to.

    Attributes:
      kind: "rising", "falling", "level", or "unknown" for fewer than four finite ELBOs.
      number: of finite ELBOs.
      best_step, best: the evaluation of the largest ELBO, the newest of equal ones.
      last_step, last: the last evaluation.
      slope: of the line through the last third of the evaluations, at least four of them, in nats a step.
      slope_error: its standard error.
    """

    kind: str
    number: int
    best_step: int = 0
    best: float = math.nan
    last_step: int = 0
    last: float = math.nan
    slope: float = math.nan
    slope_error: float = math.nan


def trend(steps: Sequence[int], elbos: Sequence[float]) -> Trend:
    """Returns whether ELBOs rose, fell or stayed level at the end; those that are not finite are left out.

    Every evaluation is of the same examples with the same noise, so that their scatter about a line is what tells a
    slope from chance, not the standard error over examples. The ELBO is rising where the best is among the last tenth
    of the evaluations and the slope is more than two of its standard errors above 0, and falling where it is as far
    below 0.
    """
    known = [(step, elbo) for step, elbo in zip(steps, elbos, strict=True) if math.isfinite(elbo)]
    if not known:
        return Trend("unknown", 0)
    at, values = np.array(known, float).T
    number = len(at)
    best = number - 1 - int(np.argmax(values[::-1]))
    found = Trend("unknown", number, int(at[best]), values[best], int(at[-1]), values[-1])
    if number < _FEWEST:
        return found
    late = max(_FEWEST, math.ceil(number / 3))
    slope, error = _line(at[-late:], values[-late:])
    if slope > 2 * error and best >= number - math.ceil(number / 10):
        kind = "rising"
    else:
        kind = "falling" if slope < -2 * error else "level"
    return found._replace(kind=kind, slope=slope, slope_error=error)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Returns the slope of the least-squares line and its standard error."""
    x, y = x - x.mean(), y - y.mean()
    slope = x @ y / (x @ x)
    rest = y - slope * x
    return float(slope), float(np.sqrt(rest @ rest / (len(x) - 2) / (x @ x)))
