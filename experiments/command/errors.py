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
    """Returns what an error says, with the file that it concerns."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
