"""A run's folder: what it holds, and whether a command may write into it."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..command.errors import UserError
from .config import Config, differences, from_dict, to_dict

CONFIG, METRICS, CHECKPOINTS, FIGURES = "config.json", "metrics.jsonl", "checkpoints", "figures"
SUMMARY, EVALUATION, TABLES = "summary.json", "evaluation.json", "evaluation"
_LOCK = ".lock"


def claim(workdir: str, config: Config) -> Path:
    """The folder, made if need be, holding this config.

    Raises:
      UserError: where it cannot be a folder, holds another config, or files of a run without its config.
    """
    if not workdir:
        raise UserError("--workdir is empty; name a folder for the run")
    if "://" in workdir:
        raise UserError(
            f"--workdir={workdir}: a run's folder is one of a mounted file system; mount it, with gcsfuse say"
        )
    path = Path(workdir)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"--workdir={workdir}: {place} is a file, not a folder")
    stored = path / CONFIG
    if stored.exists():
        changed = differences(config, read_config(path))
        if changed:
            raise UserError(
                f"--workdir={workdir} holds a run of another config; nothing was changed. Choose another workdir, or "
                "the old values:\n  " + "\n  ".join(changed)
            )
        return path
    leftovers = [n for n in (METRICS, CHECKPOINTS, FIGURES, SUMMARY, EVALUATION) if (path / n).exists()]
    if leftovers:
        raise UserError(f"--workdir={workdir} holds {', '.join(leftovers)} but no {CONFIG}; choose another workdir")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_json(stored, to_dict(config))
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {error.strerror}") from error
    return path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system takes back from a process that dies.

    Raises:
      UserError: where another run holds it.
    """
    with (folder / _LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip()
            raise UserError(f"--workdir={folder} is in use by another run, {holder}; nothing was changed") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def read_config(folder: Path) -> Config:
    """The config that a run was started with.

    Raises:
      UserError: where there is none, or it is not one of this version.
    """
    stored = _read_object(folder / CONFIG)
    try:
        return from_dict(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / CONFIG} is no config of this version: {error}") from error


def read_json(path: Path) -> Any:
    """Raises `UserError` where the file is missing or no JSON."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no object")
    return value


def write_json(path: Path, value: Any) -> None:
    """Writes the whole file or none of it."""
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
