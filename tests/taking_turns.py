"""Contenders for test_benchmark.py, in a module that a new process imports soon."""

import functools
from collections.abc import Callable
from pathlib import Path


def writes(name: str, log: Path) -> Callable[[], float | None]:
    """Prepares a call that notes its name in a file, and counts as two seconds."""
    return functools.partial(_write, name, log)


def _write(name: str, log: Path) -> float:
    with log.open("a") as file:
        file.write(name)
    return 2.0


def fails() -> Callable[[], float | None]:
    raise ImportError("no such library\nand more of it")
