"""How long ago the best evaluation on the validation split was, by which a run stops before its last step."""

import math
from typing import NamedTuple


class Patience(NamedTuple):
    """What a run's evaluations on the validation split have come to; its fields are what a checkpoint stores.

    Attributes:
      best_step: the step of the best evaluation, the newest of equal ones; None before an ELBO is finite.
      best_elbo: its ELBO, in nats per example.
      since: the number of evaluations in a row that have not exceeded the best ELBO.
      last_step: the step of the newest evaluation.
    """

    best_step: int | None = None
    best_elbo: float | None = None
    since: int = 0
    last_step: int = 0

    def after(self, step: int, elbo: float) -> "Patience":
        """Returns what they have come to with one more, which is counted once where a resumed run repeats it."""
        if step == self.last_step:
            return self
        exceeds = math.isfinite(elbo) and (self.best_elbo is None or elbo > self.best_elbo)
        # Of equal scores `Checkpoints` keeps the newest, whose step this is to be.
        best = (step, elbo) if exceeds or elbo == self.best_elbo else (self.best_step, self.best_elbo)
        return Patience(*best, since=0 if exceeds else self.since + 1, last_step=step)
