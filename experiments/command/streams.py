"""Standard streams that outlive their readers: what cannot be printed ends no command."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def secure() -> None:
    """Makes standard output and error accept any text, whether closed, of another encoding, or a broken pipe."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes this number, which a file of the run would take otherwise
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
        setattr(sys, name, _Lossy(stream))


@contextlib.contextmanager
def muted_stderr() -> Iterator[None]:
    """Drops what is written to standard error meanwhile, by libraries in C++ too."""
    shown = os.dup(sys.stderr.fileno())
    _send_nowhere(sys.stderr.fileno())
    try:
        yield
    finally:
        os.dup2(shown, sys.stderr.fileno())
        os.close(shown)


class _Lossy:
    """A text stream that drops what its reader, or a full disk, does not take."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _send_nowhere(self._stream.fileno())  # what is still buffered, and all that follows
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _send_nowhere(self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _send_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
