"""SIGTERM and SIGINT: a run saves where it is and ends with status 143 or 130."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from vae_jax import parallel


class Interrupted(Exception):
    """A signal asked the command to end; `agreed` where all processes end together."""

    def __init__(self, number: int, *, agreed: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.status, self.agreed = 128 + number, agreed


# A process has one handler of a signal, and so one place where it notes what came.
_noted: list[int] = []
_deferring: list[bool] = []


def listen() -> None:
    """From now on SIGTERM and SIGINT raise `Interrupted`; within `deferred` they are noted."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _handle)


@contextmanager
def deferred() -> Iterator[None]:
    """Within it a signal interrupts nothing: `check` and `noted` tell of it."""
    _deferring.append(True)
    try:
        yield
    finally:
        _deferring.pop()


def noted() -> bool:
    """Whether this process was told to end."""
    return bool(_noted)


def check() -> None:
    """Raises `Interrupted` where any process was told to end; all of them call it at the same points."""
    if parallel.ask_all(noted)():
        raise Interrupted(_noted[0] if _noted else signal.SIGTERM, agreed=True)


def _handle(number: int, frame: object) -> None:
    _noted.append(number)
    if not _deferring:
        raise Interrupted(number)
