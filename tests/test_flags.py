"""What --help and --print_config show, and the exit status of each kind of end."""

import importlib
import runpy
import shlex
import signal
import sys

import jax
import pytest

import experiments
from experiments import train
from experiments.command import entry, signals, streams
from experiments.command.errors import UserError
from experiments.command.flags import CommandFlags, fields, read_flags
from experiments.configs import digits
from experiments.run.config import as_flags
from tests.commands import ROOT
from vae_jax.data import DataError

COMMANDS = sorted(file.stem for file in (ROOT / "experiments").glob("[a-z]*.py"))


@pytest.fixture
def within(monkeypatch):
    """Commands in this process, whose streams and signals are pytest's."""
    monkeypatch.setattr(streams, "secure", lambda: None)
    monkeypatch.setattr(signals, "listen", lambda: None)


@pytest.mark.filterwarnings("ignore:'experiments.* found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_what_it_does_and_every_flag(name, within, monkeypatch, capsys):
    module = importlib.import_module(f"experiments.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    shown = capsys.readouterr().out
    assert shown.startswith(module.__doc__.strip())
    named = [f"--{flag}" for flag in module.FLAGS.values]
    named += [f"--config.{field}" for field, _, _ in fields(digits.get_config())] if name == "train" else []
    assert not [flag for flag in named if f"{flag}=" not in shown]


def test_every_field_of_a_printed_config_can_be_given_again():
    """Those that are unset too, and values that the shell would split."""
    config = digits.get_config()
    config.data.path, config.data.image_size, config.training.clip_norm = "a folder's #1", (28, 30), 0.1
    lines = as_flags(config)
    assert len(lines) == len(list(fields(config)))
    given = [shlex.split(line, comments=True) for line in lines]
    assert [len(words) for words in given] == [1] * len(lines)
    other = f"--config={ROOT / 'experiments' / 'configs' / 'freyfaces.py'}"
    assert train.parse(["train", other, *(word for words in given for word in words)]) == config


def test_of_several_values_of_a_field_the_last_counts():
    assert train.parse(["train", "--config.seed=1", "--config.seed", "2"]).seed == 2


def ended(error: BaseException | None) -> None:
    """Runs a command that raises an error."""
    flags = CommandFlags()

    def main(_: object) -> None:
        if error is not None:
            raise error

    entry.run_command(main, flags, parse=lambda _: read_flags(flags, ["command", "--verbosity=0"]))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("a mistake"), "a mistake"),
        (DataError("no such data"), "no such data"),
        (FileNotFoundError(2, "No such file or directory", "x.npy"), "x.npy: No such file or directory"),
        (MemoryError("Unable to allocate 37 GiB"), "there is not enough memory (Unable to allocate 37 GiB); use"),
        (MemoryError(), "there is not enough memory (an allocation failed); use"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB\nmore"),
            "not enough memory (RESOURCE_EXHAUSTED: 9 GiB)",
        ),
        (RuntimeError("can't start new thread"), "can't start new thread: the limit of memory (ulimit -v)"),
        (RecursionError("maximum recursion depth"), "something is nested too deeply (maximum recursion depth)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_mistake_or_what_is_used_up_ends_with_status_1_and_one_message(error, said, within, capsys):
    with pytest.raises(SystemExit, match=r"^1$"):
        ended(error)
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert said in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        *((signals.Interrupted(number), 128 + number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_the_status_of_an_end_in_order(error, status, within, capsys):
    with pytest.raises(SystemExit, match=f"^{status}$"):
        ended(error)


def test_a_fault_of_the_program_keeps_its_traceback(within):
    with pytest.raises(RuntimeError, match=r"^a fault$"):
        ended(RuntimeError("a fault"))


@pytest.fixture
def handlers(monkeypatch):
    """Signals are of the process: the handlers are put back."""
    monkeypatch.setattr(signals, "_noted", [])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nohup_keeps_a_lost_terminal_from_ending_a_run(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.listen()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_ctrl_c_among_the_imports_of_a_command_shows_no_traceback(handlers, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m"])  # as it is while Python looks for the module of `python -m`
    signal.signal(signal.SIGINT, signal.default_int_handler)
    importlib.reload(experiments)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_command_that_defers_none_at_once(number, handlers, monkeypatch, capfd):
    """Were it raised as an exception, a library might take it for a failure."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr(signals.os, "_exit", sys.exit)
    signals.listen()
    with pytest.raises(SystemExit, match=f"^{128 + number}$"):
        signal.raise_signal(number)
    assert capfd.readouterr().err == f"ended by {number.name}\n"
