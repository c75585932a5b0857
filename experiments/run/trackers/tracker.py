"""What a tracker does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Tracked(NamedTuple):
    """The run that a tracker shows.

    Attributes:
      folder: its workdir.
      run_id: its name for itself, the same whenever it is resumed; None of a run that has none.
      step: that from which it now goes on; what was shown of later steps is shown again.
      config: its fields by their dotted names, "training.learning_rate" for one.
    """

    folder: Path
    run_id: str | None
    step: int
    config: Mapping[str, Any]


@runtime_checkable
class Tracker(Protocol):
    """Shows a run, in its first process alone. From the first exception on it is left out, and not closed."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows numbers of a step by name, "train/loss" for one; some may not be finite."""

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Shows pictures by name, PNG files that stay where they are."""

    def hyper_parameters(self, config: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Shows, at the end of a run, which results its config led to: "test/elbo" and others, finite numbers."""

    def close(self) -> None:
        """Ends what the tracker began, whether the run has come to its end or not."""
