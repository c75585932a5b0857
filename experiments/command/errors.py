"""A user's mistake, reported in one message."""

import contextlib
from collections.abc import Iterator

USER_MISTAKE, PEER_DIED = 1, 71  # exit statuses


class UserError(Exception):
    """A mistake of the user, or a want of the machine, that is reported in one message without a traceback."""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turns what the library raises for an illegal argument or a missing file into a `UserError`."""
    try:
        yield
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        raise UserError(message(error)) from error


def message(error: BaseException) -> str:
    """Returns what an error says, with the file that it concerns, or what the machine lacks."""
    if lack := exhausted(error):
        return lack
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def exhausted(error: BaseException) -> str | None:
    """Returns what is used up and what to do, where an error is of this kind."""
    text = (str(error).splitlines() or ["an allocation failed"])[0]
    if isinstance(error, MemoryError) or text.startswith("RESOURCE_EXHAUSTED"):  # of Python, and of a device in JAX
        return f"there is not enough memory ({text}); use smaller batches, a smaller model or a larger machine"
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return f"{text}: the limit of memory (ulimit -v) or of processes (ulimit -u) is reached; raise it"
    if isinstance(error, RecursionError):
        return f"something is nested too deeply ({text})"
    return None
