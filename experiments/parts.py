"""Lists all parts that a config or a notebook can name, with signature and source: `python -m experiments.parts`."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from .command import entry
from .command.flags import CommandFlags
from .run.roles import ROLES

FLAGS = CommandFlags()
_LONGEST_SIGNATURE = 60


def main() -> None:
    for field, of_field in ROLES.items():
        for written, function in zip(of_field.written(), of_field.role.parts.values(), strict=True):
            shown = textwrap.shorten(written, _LONGEST_SIGNATURE, placeholder=" …)")
            print(f"{field:<18}  {shown:<{_LONGEST_SIGNATURE}}  {source(function)}")
    print("\nOf your own, in any of these fields: module:name(arguments), a function of a module Python can import.")


def source(function: Callable[..., Any]) -> str:
    """Returns the published source that a docstring names; the library of a function of another."""
    library = function.__module__.partition(".")[0]
    if library != "vae_jax":
        return library
    found = re.search(r"^Source[^:]*: (.+?)(?:\n\n|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
