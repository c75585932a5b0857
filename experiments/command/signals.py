"""SIGTERM, SIGINT and SIGHUP: a run saves where it is and ends with status 143, 130 or 129."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

from vae_jax import parallel


class Interrupted(BaseException):
    """A signal asked the command to end, and all processes end together; no failure of a part, which is caught."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


# A process has one handler of a signal, and so one place where it notes what came.
_noted: list[int] = []
_deferring: list[bool] = []


def listen() -> None:
    """Makes SIGTERM, SIGINT and SIGHUP end the process from now on; within `deferred` they are noted."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, _handle)


@contextlib.contextmanager
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
        raise Interrupted(_noted[0] if _noted else signal.SIGTERM)


def _handle(number: int, frame: object) -> None:
    _noted.append(number)
    if not _deferring:
        # An exception, raised wherever the process is, would be taken for a failure by a library, dropped by a callback
        # of the garbage collector, or leave computations running into Python's end.
        _end(number)


def _end(number: int) -> NoReturn:
    with contextlib.suppress(OSError, RuntimeError):  # the signal may have come within a print
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f"ended by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
