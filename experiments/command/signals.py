"""SIGTERM, SIGINT and SIGHUP: a run saves where it is and ends with status 143, 130 or 129."""

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
    """Makes SIGTERM, SIGINT and SIGHUP raise `Interrupted` from now on; within `deferred` they are noted."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, _handle)


@contextmanager
def deferred() -> Iterator[None]:
    """Makes a signal interrupt nothing meanwhile: `check` and `noted` report it."""
    _deferring.append(True)
    try:
        yield
    finally:
        _deferring.pop()


def noted() -> bool:
    """Returns whether a signal has asked this process to end."""
    return bool(_noted)


def check() -> None:
    """Raises `Interrupted` where a signal has asked any process to end; all of them call it at the same points."""
    if parallel.ask_all(noted)():
        raise Interrupted(_noted[0] if _noted else signal.SIGTERM, agreed=True)


def _handle(number: int, frame: object) -> None:
    _noted.append(number)
    if not _deferring:
        raise Interrupted(number)
