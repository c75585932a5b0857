"""The trackers of a run, chosen by text, none of which can end it."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vae_jax import expressions

from .tensorboard import tensorboard
from .tracker import Tracked, Tracker
from .weights_and_biases import imported, wandb

_PARTS = (tensorboard, wandb)
TRACKERS = expressions.Role("tracker", Tracker, {function.__name__: function for function in _PARTS})
_LATER = "of"


def check(text: str) -> None:
    """Raises `ValueError` for trackers, joined by " + ", that are unknown, or whose package is not installed."""
    for part in expressions.split_sum(text):
        made = expressions.parse(part, TRACKERS, later=(_LATER,))
        if getattr(made, "func", None) is wandb:
            imported()


class Trackers:
    """Several trackers as one, each left out, with a warning, from its first failure on.

    An `OSError` of a file in the run's folder is raised: where there is no room for it, there is none for the run.
    """

    def __init__(self, text: str, of: Tracked) -> None:
        """Opens the trackers that a text names, joined by " + "; raises `ValueError` as `check`."""
        check(text)
        self._folder, self._opened = of.folder, dict[str, Tracker]()
        for part in expressions.split_sum(text):
            with self._left_out_if_it_fails(part):
                self._opened[part] = expressions.make(part, TRACKERS, **{_LATER: of})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.scalars(step, values))

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        self._each(lambda tracker: tracker.images(step, pictures))

    def hyper_parameters(self, config: Mapping[str, Any], results: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.hyper_parameters(config, results))

    def close(self) -> None:
        """Closes all, the last first, whichever fails; raises the last error of the run's own files."""
        with contextlib.ExitStack() as stack:
            for name, tracker in self._opened.items():
                stack.enter_context(self._left_out_if_it_fails(name))
                stack.callback(tracker.close)

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._opened.items()):
            with self._left_out_if_it_fails(name):
                call(tracker)

    @contextlib.contextmanager
    def _left_out_if_it_fails(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of a service's client, or of a user's program, which may raise anything
            if isinstance(error, OSError) and self._is_of_the_run(error):
                raise
            self._opened.pop(name, None)
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"warning: --track={name} failed, and is left out from now on: {said}", file=sys.stderr, flush=True)

    def _is_of_the_run(self, error: OSError) -> bool:
        at = None if error.filename is None else Path(str(error.filename)).absolute()
        return at is not None and at.is_relative_to(self._folder.absolute())
