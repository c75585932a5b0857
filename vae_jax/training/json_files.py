"""JSON files of a run: one reader, which refuses what is damaged by name, and one writer, which never writes NaN."""

import contextlib
import json
import math
import os
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# The version of what a run's folder and its checkpoints hold. Files without one are of version 0.
FORMAT_VERSION = 4
# One for all, since `json.loads` with an option makes one each time.
_DECODER = json.JSONDecoder(parse_constant=lambda name: None)


class NewerVersionError(ValueError):
    """A file that a newer version of this library wrote, which is not damaged."""


def to_text(value: Any, *, indent: int | None = None) -> str:
    """Returns the value as JSON, with null in place of numbers that are not finite."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def from_text(text: str | bytes) -> Any:
    """Returns the value of a JSON text in UTF-8; None for NaN and Infinity, which are no JSON.

    Raises:
      ValueError: for what is no JSON, or nested too deeply.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        return _DECODER.decode(decoded)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write(path: Path, value: Any) -> None:
    """Writes the whole file, on disk when this returns, or none of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with naming(path):
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(to_text(value, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def read_object(path: Path, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the object that a file holds; those of `fields` that are absent and may be None are None in it.

    Args:
      path: the file.
      fields: the type of each field that the caller needs, as an annotation: `int`, `list[float]`, `str | None`.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: naming the file, where it is damaged.
      NewerVersionError: where a newer version of this library wrote it.
    """
    try:
        value = from_text(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds no object, but a {type(value).__name__}")
    wanted = {"format_version": int | None, **(fields or {})}
    for name, annotation in wanted.items():
        if not is_a(value.get(name), annotation):
            found = f"got {value[name]!r:.100}" if name in value else "and is absent"
            raise ValueError(f"{path} is damaged: {name} must be {type_name(annotation)}, {found}")
    if (version := value.get("format_version") or 0) > FORMAT_VERSION:
        raise NewerVersionError(
            f"{path} has format_version {version}, and this version of vae_jax reads those up to {FORMAT_VERSION}; use "
            "a newer vae_jax"
        )
    return {**dict.fromkeys(fields or {}), **value}


def is_a(value: Any, annotation: Any) -> bool:
    """Returns whether a value has the type of an annotation; an int is a float too, and a bool is neither."""
    if isinstance(annotation, types.UnionType):
        return any(is_a(value, option) for option in typing.get_args(annotation))
    container = typing.get_origin(annotation)
    if container in (list, tuple):
        element = typing.get_args(annotation)[0]
        return isinstance(value, container) and all(is_a(item, element) for item in value)
    if annotation in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if annotation is float else annotation)


def type_name(annotation: Any) -> str:
    """Returns what a message calls an annotation."""
    plain = isinstance(annotation, type) and not typing.get_args(annotation)
    return annotation.__name__ if plain else str(annotation)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an `OSError` the name of the file that was written, which an error of `write` or `flush` does not have."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
