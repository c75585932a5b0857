"""How an export is loaded, as lines of Markdown with code that runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from vae_jax import exports
from vae_jax.exports.functions import PLATFORMS, Function


def lines(functions: Mapping[str, Function | str], *, weights: str) -> list[str]:
    """Returns how the model is loaded by `vae_jax`, and which functions JAX alone calls.

    Args:
      functions: by their files, or the reasons why there is none.
      weights: what the figures are of, "params" or "average".
    """
    average = ", average=True" if weights == "average" else ""
    told = [
        "In this folder, with `vae_jax`:",
        "",
        "```python",
        "import vae_jax",
        "",
        f'vae, params, config = vae_jax.runs.load("."{average})',
        "```",
    ]
    made = {name: function for name, function in functions.items() if isinstance(function, Function)}
    for name, reason in functions.items():
        if isinstance(reason, str):
            told += ["", f"`{name}` could not be made: {' '.join(reason.split())}"]
    if not made:
        return told
    return [
        *told,
        "",
        f"With JAX and flatbuffers alone, on {', '.join(PLATFORMS[:-1])} or {PLATFORMS[-1]}, of any number n of rows.",
        "JAX promises to read these files for six months; those that `vae_jax` reads are read for ever.",
        "",
        "```python",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "from jax import export",
        "",
        *_calls(made),
        "```",
        "",
        "| file | takes | returns |",
        "|---|---|---|",
        *(f"| `{name}` | {_items(of.takes)} | {_items(of.gives)} |" for name, of in made.items()),
        "",
        "x is as the model sees it: a picture is of numbers in [0, 1], and a class is its number, from 0 on.",
    ]


def _calls(made: Mapping[str, Function]) -> Iterator[str]:
    """Yields code that calls each function, the decoder at what the encoder has found."""
    defined: set[str] = set()
    for name, function in made.items():
        verb = name.partition(".")[0]
        for argument, of in function.takes.items():
            if argument not in defined:
                is_found = argument == "z" and exports.ENCODE in made
                value = f'q["{next(iter(made[exports.ENCODE].gives))}"]' if is_found else _ones(of)
                yield f"{argument} = {value}"
                defined.add(argument)
        yield f'{verb} = export.deserialize(bytearray(Path("{name}").read_bytes()))'
        yield f"{'q' if name == exports.ENCODE else 'p'} = {verb}.call({', '.join(function.takes)})"


def _ones(of: Any) -> str:
    """Returns an argument of four examples, of ones, as code."""
    if isinstance(of, Mapping):
        return f"{{{', '.join(f'{name!r}: {_ones(leaf)}' for name, leaf in of.items())}}}"
    return f"np.ones({(4, *of.shape[1:])}, np.{of.dtype.name})"


def _items(of: Mapping[str, Any]) -> str:
    """Returns arrays by name for a cell of a table."""
    return ", ".join(f"{name}: {_shown(leaf)}" for name, leaf in of.items()).replace("|", "\\|")


def _shown(of: Any) -> str:
    if isinstance(of, Mapping):
        return f"{{{', '.join(f'{name}: {_shown(leaf)}' for name, leaf in of.items())}}}"
    return f"{of.dtype}[{', '.join(map(str, of.shape))}]"
