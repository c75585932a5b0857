"""Runs a command: flags, processes, signals, and one clear message for a user's mistake."""

import faulthandler
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
from absl import logging as absl_logging

from vae_jax import cluster, parallel
from vae_jax.data import DataError
from vae_jax.keys import check_implementation

from . import compiled, signals, streams
from .errors import PEER_DIED, USER_MISTAKE, UserError, exhausted, message, user_errors
from .flags import CommandFlags, read_flags

# What a peer is given to answer in, so that all end within half a minute of one's death.
_HEARTBEAT_SECONDS = 15


def run_command(
    main: Callable[..., None],
    of: CommandFlags,
    *,
    parse: Callable[[Sequence[str]], Any] | None = None,
    more_help: Callable[..., str] | None = None,
    several_processes: bool = False,
) -> NoReturn:
    """Runs a command, and exits with status 0; with 1 and one message on standard error; or with 128 + a signal.

    Args:
      main: the command; called with what `parse` returns, if that is given.
      of: the command's flags.
      parse: sets the flags from a command line, and returns what `main` needs.
      more_help: returns what --help shows after the flags; called as `main` is.
      several_processes: whether the command may be one of several that compute together, if the environment says so;
        where another of them dies, the status is 71.
    """
    streams.secure()
    signals.listen()
    try:
        arguments = [] if parse is None else [parse(sys.argv)]
        if parse is None:
            read_flags(of, sys.argv)
        if of.help.value:
            about = (sys.modules["__main__"].__doc__ or "").strip()
            more = [more_help(*arguments)] if more_help is not None else []
            print(about, f"Flags:\n\n{of.described()}", *more, sep="\n\n")
            _exit(0)
        if of.verbosity.value < 0:
            absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax reports every step of a save at the level below
            _mute_threads_of_saves()
        with user_errors():
            check_implementation(jax.config.jax_default_prng_impl)  # pyright: ignore[reportAttributeAccessIssue]
        compiled.keep()
        _join_processes(several_processes)
        signals.listen()  # again, since JAX takes SIGTERM for itself
        main(*arguments)
        parallel.finish()
    except signals.Interrupted as error:
        parallel.finish()  # when the last has saved
        print(f"ended by {error}", file=sys.stderr)
        _exit(error.status)
    except (UserError, OSError, DataError) as error:
        if _is_of_a_peer(error.__cause__):
            _peer_died(error)
        _fail(message(error))
    except (MemoryError, RuntimeError) as error:
        if exhausted(error):
            _fail(message(error))
        if _is_of_a_peer(error):
            _peer_died(error)
        raise
    _exit(0)


def _join_processes(several_processes: bool) -> None:
    with user_errors():
        found = cluster.detect(os.environ)
        if found is not None and not several_processes:
            raise ValueError("this command runs in one process; train and evaluate run in several")
        if found is not None:
            parallel.initialize(found, heartbeat_seconds=_HEARTBEAT_SECONDS)
            # JAX aborts where a peer is silent, and says so; every thread's traceback would bury it.
            faulthandler.disable()


def _mute_threads_of_saves() -> None:
    """Where a save fails, Orbax's threads print a screenful of tracebacks about what `Checkpoints` raises."""
    shown = sys.unraisablehook

    def show(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            shown(unraisable)

    sys.unraisablehook = show
    absl_logging.get_absl_logger().addFilter(lambda record: not (record.exc_info and "orbax" in record.pathname))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited")


def _is_of_a_peer(error: BaseException | None) -> bool:
    if error is None or exhausted(error):
        return False
    return parallel.num_processes() > 1 and isinstance(error, jax.errors.JaxRuntimeError)


def _peer_died(error: Exception) -> NoReturn:
    print(f"error: another process has died, and this one ends: {str(error).splitlines()[0]}", file=sys.stderr)
    _exit(PEER_DIED)


def _exit(status: int) -> NoReturn:
    """Ends the process; at once where it has peers, since Python's own end waits for those that cannot answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    if parallel.num_processes() > 1:
        os._exit(status)
    sys.exit(status)


def _fail(text: str) -> NoReturn:
    if _rank() > 0:
        # A mistake in the command is every process's. The first reports it, and its end, or the launcher, ends the
        # others; only where the first has made none do they report theirs. What JAX says of a lost peer is not shown.
        with streams.muted_stderr():
            time.sleep(5)
    print(f"error: {text}", file=sys.stderr, flush=True)
    if parallel.num_processes() > 1:
        time.sleep(2)  # for the others to come to the same mistake
    _exit(USER_MISTAKE)


def _rank() -> int:
    try:
        found = cluster.detect(os.environ)
    except ValueError:
        return 0
    return 0 if found is None else found.process_id
