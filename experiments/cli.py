"""What every command shares: flags, and one clear message for a user's mistake."""

import contextlib
import difflib
import faulthandler
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from vae_jax import cluster, parallel
from vae_jax.data import DataError

from . import interruption
from .config import Config, fields, to_dict, validate


class UserError(Exception):
    """A mistake of the user's, or of the machine's: told in one message, without a traceback."""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turns what the library raises for an illegal argument or a missing file into a `UserError`."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise UserError(_message(error)) from error


def run(main: Callable[[], None], *, several_processes: bool = False) -> None:
    """Runs a command. Exit status 0; 1 and one message on standard error; or 143 or 130 after SIGTERM or SIGINT.

    `several_processes` says that the command may be one of several that compute together, if the environment says so;
    where another of them dies, the status is 71.
    """

    def guarded(argv: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax tells every step of a save at the level below
            _mute_threads_of_saves()
        if len(argv) > 1:
            _fail(f"unexpected arguments: {' '.join(argv[1:])}; every option is a flag, --name=value")
        interruption.listen()
        try:
            with user_errors():
                found = cluster.detect(os.environ)
                if found is not None and not several_processes:
                    raise ValueError("this command runs in one process; train and evaluate run in several")
                if found is not None:
                    parallel.initialize(found, heartbeat_seconds=_HEARTBEAT_SECONDS)
                    # JAX aborts where a peer is silent, and says so; every thread's traceback would bury it.
                    faulthandler.disable()
            interruption.listen()  # again, since JAX takes SIGTERM for itself
            main()
            parallel.finish()
        except interruption.Interrupted as error:
            if error.agreed:
                parallel.finish()  # when the last has saved
            print(f"ended by {error}", file=sys.stderr)
            _exit(error.status)
        except (UserError, OSError, DataError) as error:
            if parallel.num_processes() > 1 and isinstance(error.__cause__, jax.errors.JaxRuntimeError):
                _peer_died(error)
            _fail(_message(error))
        except jax.errors.JaxRuntimeError as error:
            if parallel.num_processes() == 1:
                raise
            _peer_died(error)

    app.run(guarded, flags_parser=_parse_flags)


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


TOLD_MISTAKE, PEER_DIED = 1, 71  # exit statuses
# What a peer is given to answer in, so that all end within half a minute of one's death.
_HEARTBEAT_SECONDS = 15


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


def define_config(default: str) -> flags.FlagHolder:
    """The flags --config and --config.<field>."""
    return config_flags.DEFINE_config_file("config", default, "A file with get_config(), see experiments/configs.")


def define_data_dir() -> flags.FlagHolder:
    """The flag --data_dir."""
    return flags.DEFINE_string("data_dir", None, "TFDS's folder; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.")


def checked_config(holder: flags.FlagHolder) -> Config:
    """The config that the flags ask for.

    Raises:
      UserError: naming the field and its value, for one that is illegal.
    """
    with user_errors():
        config = holder.value
        if not isinstance(config, Config):
            raise ValueError(f"--config: get_config() must return an experiments.config.Config, not {type(config)}")
        validate(config)
    return config


def print_config(config: Config) -> None:
    """Every field that has a value, as the flag that sets it."""
    for name, _, value in fields(config):
        if value is not None:
            print(shlex.quote(f"--config.{name}={value}"))


def differences(mine: Config, other: dict) -> list[str]:
    """Lines naming the fields in which a stored config differs."""

    def flat(tree: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{name}.")
            else:
                yield prefix + name, list(value) if isinstance(value, tuple) else value

    here, there = dict(flat(to_dict(mine))), dict(flat(other))
    missing = "(no such field)"
    return [
        f"{name}: {there.get(name, missing)!r} there, {here.get(name, missing)!r} here"
        for name in {**here, **there}
        if here.get(name, missing) != there.get(name, missing)
    ]


def _parse_flags(argv: Sequence[str]) -> list[str]:
    argv = _joined(argv)
    for argument in argv[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if name == "config" and value and not Path(value.partition(":")[0]).is_file():
            _fail(f"--config={value}: no such file; give a file with get_config(), see experiments/configs")
    try:
        return flags.FLAGS(_last_of_each(argv))
    except flags.Error as error:
        _fail(str(error))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, SyntaxError, ImportError) as error:
        # What config_flags raises for an unknown field or a config file that cannot be read.
        _fail(_config_message(argv, error))


def _joined(argv: Sequence[str]) -> list[str]:
    """`argv` with "--config.x value" written as "--config.x=value", as flags may be given."""
    joined: list[str] = []
    for argument in argv:
        last = joined[-1] if joined else ""
        if last.startswith("--config") and "=" not in last and not argument.startswith("-"):
            joined[-1] = f"{last}={argument}"
        else:
            joined.append(argument)
    return joined


def _last_of_each(argv: Sequence[str]) -> list[str]:
    """`argv` with --config first, and only the last of several values for it or for one of its fields.

    The flags of a config file's fields exist once the file is read; several values for a tuple would be joined.
    """

    def name(argument: str) -> str:
        return argument.lstrip("-").partition("=")[0]

    program, *arguments = argv
    ours = {name(argument): argument for argument in arguments if name(argument).split(".")[0] == "config"}
    others = [argument for argument in arguments if name(argument) not in ours]
    return [program, *sorted(ours.values(), key=lambda argument: name(argument) != "config"), *others]


def _config_message(argv: Sequence[str], error: Exception) -> str:
    known = [name for name, _, _ in fields(Config())]
    for argument in argv[1:]:
        name = argument.lstrip("-").partition("=")[0]
        if name.startswith("config.") and name.removeprefix("config.") not in known:
            return unknown_field(name.removeprefix("config."), known)
    return f"--config: {_message(error)}"


def unknown_field(name: str, known: Sequence[str]) -> str:
    """The message for a config field that does not exist, with the nearest that do."""
    last = {field.rpartition(".")[2]: field for field in known}
    near = difflib.get_close_matches(name, known, n=2)
    near = near or [last[n] for n in difflib.get_close_matches(name.rpartition(".")[2], last, n=2)]
    hint = f"; did you mean {' or '.join(f'--config.{field}' for field in near)}?" if near else ";"
    return f"unknown config field --config.{name}{hint} --print_config lists them all"


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _fail(message: str) -> NoReturn:
    if _rank() > 0:
        _let_the_first_tell()
    print(f"error: {message}", file=sys.stderr, flush=True)
    if parallel.num_processes() > 1:
        time.sleep(2)  # for the others to come to the same mistake
    _exit(TOLD_MISTAKE)


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
