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

from . import signals, streams
from .errors import PEER_DIED, USER_MISTAKE, UserError, message, user_errors
from .flags import CommandFlags, read_flags

# What a peer is given to answer in, so that all end within half a minute of one's death.
_HEARTBEAT_SECONDS = 15


def run_command(
    main: Callable[..., None],
    of: CommandFlags,
    *,
    parse: Callable[[Sequence[str]], Any] | None = None,
    several_processes: bool = False,
) -> NoReturn:
    """Runs a command. Exit status 0; 1 and one message on standard error; or 143 or 130 after SIGTERM or SIGINT.

    Args:
      main: the command; called with what `parse` returns, if that is given.
      of: the command's flags.
      parse: sets the flags from a command line, and returns what `main` needs.
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
            _print_help(of)
            _exit(0)
        if of.verbosity.value < 0:
            absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax reports every step of a save at the level below
            _mute_threads_of_saves()
        _join_processes(several_processes)
        signals.listen()  # again, since JAX takes SIGTERM for itself
        main(*arguments)
        parallel.finish()
    except signals.Interrupted as error:
        if error.agreed:
            parallel.finish()  # when the last has saved
        print(f"ended by {error}", file=sys.stderr)
        _exit(error.status)
    except (UserError, OSError, DataError) as error:
        if parallel.num_processes() > 1 and isinstance(error.__cause__, jax.errors.JaxRuntimeError):
            _peer_died(error)
        _fail(message(error))
    except MemoryError as error:
        _fail(f"there is not enough memory: {message(error)}")
    except jax.errors.JaxRuntimeError as error:
        if parallel.num_processes() == 1:
            raise
        _peer_died(error)
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


def _print_help(of: CommandFlags) -> None:
    print((sys.modules["__main__"].__doc__ or "").strip(), end="\n\n")
    print(of.values.get_help())


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


def _peer_died(error: Exception) -> NoReturn:
    print(f"error: another process has died, and this one ends: {str(error).splitlines()[0]}", file=sys.stderr)
    _exit(PEER_DIED)


def _exit(status: int) -> NoReturn:
    """At once where there are peers: a process that leaves in the ordinary way waits for those that cannot answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    if parallel.num_processes() > 1:
        os._exit(status)
    sys.exit(status)


def _fail(text: str) -> NoReturn:
    if _rank() > 0:
        _let_the_first_tell()
    print(f"error: {text}", file=sys.stderr, flush=True)
    if parallel.num_processes() > 1:
        time.sleep(2)  # for the others to come to the same mistake
    _exit(USER_MISTAKE)


def _let_the_first_tell() -> None:
    """A mistake in the command is every process's: the first tells it, and its end, or the launcher, ends the others.

    What JAX then says of a lost peer is not shown. Returns after five seconds, where the first has made no mistake.
    """
    shown, hidden = os.dup(sys.stderr.fileno()), os.open(os.devnull, os.O_WRONLY)
    os.dup2(hidden, sys.stderr.fileno())
    time.sleep(5)
    os.dup2(shown, sys.stderr.fileno())


def _rank() -> int:
    try:
        found = cluster.detect(os.environ)
    except ValueError:
        return 0
    return 0 if found is None else found.process_id
