"""A run's folder: what it holds, and whether a command may write into it."""

import json
import os
from pathlib import Path
from typing import Any

from .cli import UserError, differences
from .config import Config, from_dict, to_dict

CONFIG, METRICS, CHECKPOINTS, FIGURES = "config.json", "metrics.jsonl", "checkpoints", "figures"
SUMMARY, EVALUATION = "summary.json", "evaluation.json"


def claim(workdir: str, config: Config) -> Path:
    """The folder, made if need be, holding this config.

    Raises:
      UserError: where it cannot be a folder, holds another config, or files of a run without its config.
    """
    if not workdir:
        raise UserError("--workdir is empty; name a folder for the run")
    path = Path(workdir)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"--workdir={workdir}: {place} is a file, not a folder")
    stored = path / CONFIG
    if stored.exists():
        changed = differences(config, _read_object(stored))
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
