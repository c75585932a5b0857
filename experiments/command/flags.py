"""The flags of a command, each command's apart; and overrides of a config's fields, `--config.<field>=<value>`."""

import dataclasses
import difflib
import functools
import importlib.util
import os
import textwrap
import traceback
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from .errors import UserError, message

_RECIPES = Path(__file__).parent.parent / "configs"


class CommandFlags:
    """The flags of one command, apart from those of any other; defined as by absl's DEFINE functions."""

    def __init__(self) -> None:
        self.values = flags.FlagValues()
        self.string = functools.partial(flags.DEFINE_string, flag_values=self.values)
        self.integer = functools.partial(flags.DEFINE_integer, flag_values=self.values)
        self.number = functools.partial(flags.DEFINE_float, flag_values=self.values)
        self.switch = functools.partial(flags.DEFINE_bool, flag_values=self.values)
        self.choice = functools.partial(flags.DEFINE_enum, flag_values=self.values)
        self.list = functools.partial(flags.DEFINE_list, flag_values=self.values)
        self.help = self.switch("help", False, "Print this help, and exit.")
        self.verbosity = self.integer("verbosity", -1, "Of the libraries' own messages: -1 warnings, 0 all.")

    def workdir(self, default: str | None, help_text: str) -> flags.FlagHolder[Any]:
        """Returns the flag --workdir, a folder, whose value may begin with "~"."""
        return flags.DEFINE(_FolderParser(), "workdir", default, help_text, flag_values=self.values)

    def workdirs(self, default: list[str], help_text: str) -> flags.FlagHolder[Any]:
        """Returns the flag --workdir that may be given several times, a list of such folders."""
        of = (_FolderParser(), flags.ArgumentSerializer())
        return flags.DEFINE_multi(*of, "workdir", default, help_text, flag_values=self.values)

    def data_dir(self) -> flags.FlagHolder[str | None]:
        """Returns the flag --data_dir."""
        return self.string("data_dir", None, "TFDS's folder; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.")

    def data_path(self) -> flags.FlagHolder[str | None]:
        """Returns the flag --data_path."""
        return self.string("data_path", None, "Where the data of the run's data.path now are, if they have moved.")

    def trust(self) -> flags.FlagHolder[list[str]]:
        """Returns the flag --trust."""
        return self.list(
            "trust", [], "Packages of your own whose functions the run's config, read from its folder, may name."
        )

    def described(self) -> str:
        """Returns every flag with its default and what it is for, as text for the terminal."""
        lines = []
        for name in sorted(self.values):
            flag = self.values[name]
            default = (flag.default_as_str or "…").strip("'\"[]")
            kind = f"  ({flag.parser.syntactic_help})" if flag.parser.syntactic_help else ""
            lines.append(f"  --{name}={default}{kind}")
            lines += textwrap.wrap(" ".join(flag.help.split()), 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
        return "\n".join(lines)


class _FolderParser(flags.ArgumentParser):
    syntactic_help = "a folder"

    def parse(self, argument: str) -> str:
        if not argument:
            raise ValueError("it is empty; name a folder")
        if "://" in argument:
            raise ValueError("a run's folder is one of a mounted file system; mount it, with gcsfuse say")
        return os.path.expanduser(argument)


def read_flags(of: CommandFlags, argv: Sequence[str], *, config: bool = False) -> list[str]:
    """Sets the flags from a command line; returns the arguments that concern a config, as "--name=value".

    Raises:
      UserError: for an unknown flag, an illegal value, or an argument that is no flag.
    """
    program, *arguments = argv
    overrides, others = [], [program]
    for argument in _joined(arguments):
        of_config = config and _name(argument).split(".")[0] == "config" and argument.startswith("-")
        (overrides if of_config else others).append(argument)
    of.values.unparse_flags()
    for name in of.values:
        of.values[name].unparse()  # to its default: a command line says all
    try:
        left = of.values(others)
    except flags.Error as error:
        raise UserError(message(error)) from error
    if len(left) > 1:
        raise UserError(f"unexpected arguments: {' '.join(left[1:])}; every option is a flag, --name=value")
    return overrides


def config_file(arguments: Sequence[str]) -> str | None:
    """Returns the value of the last --config among the arguments, None where there is none."""
    given = [argument.partition("=")[2] for argument in arguments if _name(argument) == "config"]
    return given[-1] if given else None


def recipes() -> list[str]:
    """Returns the names of the recipes in experiments/configs."""
    return sorted(file.stem for file in _RECIPES.glob("[a-z]*.py"))


def load_config(path: str, kind: type) -> Any:
    """Returns the config of a file with `get_config()`; "file:argument" calls `get_config(argument)`.

    A recipe of experiments/configs may be called by its name, "mnist", wherever the command is run.

    Raises:
      UserError: where the file is missing, fails, or returns anything but a config of this kind.
    """
    file, *argument = path.split(":", 1)
    file = str(_RECIPES / f"{file}.py") if file in recipes() else file
    if not Path(file).is_file():
        named = ", ".join(recipes())
        raise UserError(f"--config={path}: no such file; give a file with get_config(), or the name of one of {named}")
    specification = importlib.util.spec_from_file_location("config_of_a_run", file)
    if specification is None or specification.loader is None:
        raise UserError(f"--config={path} is no Python file; give a file with get_config(), see experiments/configs")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        config = module.get_config(*argument)
    except (Exception, SystemExit) as error:  # the file is the user's program, which may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        place = f" (line {lines[-1]})" if lines else ""
        raise UserError(f"--config={path}{place}: {type(error).__name__}: {message(error)}") from error
    if not isinstance(config, kind):
        expected = f"{kind.__module__}.{kind.__qualname__}"
        raise UserError(f"--config={path}: get_config() must return an {expected}, got a {type(config).__name__}")
    return config


def override(config: Any, arguments: Sequence[str]) -> Any:
    """Returns a dataclass with the fields that arguments "--config.<field>=<value>" name set to these values.

    Of several for one field the last counts. "None" unsets a field that may be unset.

    Raises:
      UserError: for a field that does not exist, with the nearest that do, or a value of another type.
    """
    known = {name: annotation for name, annotation, _ in fields(config)}
    chosen = {_name(argument).removeprefix("config."): argument for argument in arguments if "." in _name(argument)}
    for name in chosen:
        if name not in known:
            raise UserError(unknown_field(name, list(known)))
    unset = [name for name, argument in chosen.items() if argument.endswith("=None") and _may_be_unset(known[name])]
    given = {name: argument for name, argument in chosen.items() if name not in unset}
    values = flags.FlagValues()
    try:
        # The overrides are read when the flag is defined, from `sys_argv`.
        config_flags.DEFINE_config_dataclass("config", config, flag_values=values, sys_argv=["", *given.values()])
        values(["", *given.values()])
        config = values["config"].value
    except (flags.Error, KeyError, TypeError, ValueError) as error:
        wrong = [name for name, argument in chosen.items() if str(error).startswith(f"flag --{_name(argument)}=")]
        raise UserError(_expected(chosen[wrong[0]], known[wrong[0]]) if wrong else message(error)) from error
    for name, annotation, value in fields(config):
        # What is no tuple of numbers, "(abc,)", the parser of flags takes for a tuple of one text.
        if name in given and isinstance(value, tuple) and not all(isinstance(item, int) for item in value):
            raise UserError(_expected(chosen[name], annotation))
    for name in unset:
        section, _, field = name.rpartition(".")
        setattr(getattr(config, section) if section else config, field, None)
    return config


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields (dotted name, annotation, value) of every leaf of a nested dataclass."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type, value


def unknown_field(name: str, known: Sequence[str]) -> str:
    """Returns the message for a config field that does not exist, with the nearest that do."""
    last = {field.rpartition(".")[2]: field for field in known}
    near = difflib.get_close_matches(name, known, n=2)
    near = near or [last[n] for n in difflib.get_close_matches(name.rpartition(".")[2], last, n=2)]
    hint = f"; did you mean {' or '.join(f'--config.{field}' for field in near)}?" if near else ";"
    return f"unknown config field --config.{name}{hint} --print_config lists them all"


def _expected(argument: str, annotation: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    found = [kind for type_, kind in kinds.items() if type_ in (annotation, *typing.get_args(annotation))]
    kind = found[0] if found and typing.get_origin(annotation) is not tuple else "whole numbers, as in (200, 200)"
    return f"{argument}: expected {kind}{', or None' if _may_be_unset(annotation) else ''}"


def _may_be_unset(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def _name(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0]


def _joined(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with "--config.x value" written as "--config.x=value", as flags may be given."""
    joined: list[str] = []
    for argument in arguments:
        last = joined[-1] if joined else ""
        if last.startswith("--config") and "=" not in last and not argument.startswith("-"):
            joined[-1] = f"{last}={argument}"
        else:
            joined.append(argument)
    return joined
