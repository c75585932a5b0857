"""A run's folder: what it holds, and whether a command may write into it."""

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from vae_jax import data, exports, runs
from vae_jax.training import json_files

from ..command.errors import UserError, user_errors
from . import build
from .config import Config, differences, extends, from_dict, to_dict

CONFIG, METRICS, CHECKPOINTS, FIGURES = "config.json", "metrics.jsonl", "checkpoints", "figures"
SUMMARY, EVALUATION, TABLES, PROFILE = "summary.json", "evaluation.json", "evaluation", "profile"
REPORT = "report.html"
_LOCK = ".lock"


class Stored(NamedTuple):
    """What config.json holds: the config, the run's name for itself, which runs of version 0 do not have, and the
    fingerprint of its data, which those before version 2 do not have."""

    config: Config
    run_id: str | None
    fingerprint: dict[str, Any] | None

    @property
    def split_rule(self) -> str:
        """How the run divides one's own data: as the versions did that stored no fingerprint, or as it says."""
        return "position" if self.fingerprint is None else self.fingerprint.get("split_rule") or "content"


class Place:
    """A run's folder as it is now, to be told from whatever has its name later."""

    def __init__(self, folder: Path) -> None:
        # Of the lock's file, since the system gives the number of a deleted folder to the next, but not that of a file
        # that is open.
        self._folder, self._identity = folder, _identity(folder / _LOCK)

    def is_there(self) -> bool:
        """Returns whether the name still leads to the folder."""
        return self._identity is not None and _identity(self._folder / _LOCK) == self._identity

    def check(self) -> None:
        """Raises `UserError` where the folder has been moved, deleted or replaced."""
        if not self.is_there():
            raise UserError(
                f"--workdir={self._folder} was moved, deleted or replaced while this run was writing to it; the run "
                "ends and makes no new folder there. Where it was moved, give its new place as --workdir to go on"
            )


@contextlib.contextmanager
def claimed(folder: Path, config: Config, fingerprint: dict[str, Any]) -> Iterator[Place]:
    """Holds a folder, made if need be, for the run of a config on the data of a fingerprint: those in its config.json.

    The lock, which the system takes back from a process that dies, is taken before anything is compared or written.
    Where the config is the stored one with more steps, and the run can go on, it takes the stored one's place.

    Raises:
      UserError: where it cannot be a folder, another run holds it, or it holds another config, a run on other data or
        files of a run without its config; from within, where it was moved or deleted.
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"--workdir={folder}: {place} is a file, not a folder")
    check(folder, config, fingerprint)  # before there is a lock, so that a refusal leaves a folder as it was
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be written: {error.strerror}") from error
    with file:
        _lock(file, folder)
        stored = check(folder, config, fingerprint)
        run_id = secrets.token_hex(8) if stored is None else stored.run_id
        if stored != Stored(config, run_id, fingerprint):
            about = {"format_version": json_files.FORMAT_VERSION, "run_id": run_id, "data_fingerprint": fingerprint}
            write_json(folder / CONFIG, {**about, **to_dict(config)})
        held = Place(folder)
        try:
            yield held
        finally:
            held.check()  # where the folder is gone, that explains any other error


def check(folder: Path, config: Config, fingerprint: dict[str, Any]) -> Stored | None:
    """Returns what a folder holds of a run that can go on with this config and these data; None where it holds no run.

    Raises:
      UserError: where the run cannot go on with them, or files of a run are there without a config, or an export.
    """
    if exports.is_export(folder):
        raise UserError(
            f"--workdir={folder} is an export, which cannot be trained on; nothing was changed. Choose another "
            f"--workdir, where --init_from={folder} starts a new run from its parameters"
        )
    if not (folder / CONFIG).exists():
        leftovers = [n for n in (METRICS, CHECKPOINTS, FIGURES, SUMMARY, EVALUATION) if (folder / n).exists()]
        if leftovers:
            raise UserError(f"--workdir={folder} holds {', '.join(leftovers)} but no {CONFIG}; choose another workdir")
        return None
    stored = read_stored(folder)
    changed = differences(config, stored.config)
    if changed and not extends(config, stored.config):
        moved = any(line.startswith("data.path:") for line in changed)
        raise UserError(
            f"--workdir={folder} holds a run of another config; nothing was changed. Give the old values, or choose "
            f"another --workdir, where --init_from={folder} starts a new run from the parameters of this one "
            "(training.num_steps alone may grow, where training.schedule is constant"
            f"{'; --data_path names a new place of the old data' if moved else ''}):\n  " + "\n  ".join(changed)
        )
    _check_data(folder, stored, fingerprint)
    return stored


def _check_data(folder: Path, stored: Stored, fingerprint: dict[str, Any]) -> None:
    if stored.fingerprint is None:
        return
    if changed := data.fingerprint_differences(stored.fingerprint, fingerprint):
        raise UserError(
            f"the data are not those that the run in --workdir={folder} began with; nothing was changed. Give it the "
            "old data back (--data_path names the place of one's own, --data_dir that of TFDS's), or choose another "
            f"--workdir, where --init_from={folder} starts a new run on the new data from the parameters of this one:"
            "\n  " + "\n  ".join(changed)
        )


def load(
    folder: Path, *, data_dir: str | None, data_path: str | None, trusted: Collection[str] = ()
) -> tuple[Config, build.Experiment]:
    """Returns the config of the run in a folder, and what it builds, on the data that the run began with.

    `trusted` are the packages whose functions the config may name.

    Raises:
      UserError: as `read_stored`, and for data that are missing, damaged or others.
    """
    stored = read_stored(folder)
    check_trusted(folder, stored.config, trusted)
    with user_errors():
        places = {"data_dir": data_dir, "data_path": data_path}
        experiment = build.build(stored.config, **places, **as_stored(folder))
    _check_data(folder, stored, experiment.fingerprint)
    return experiment.config, experiment


def check_trusted(folder: Path, config: Config, trusted: Collection[str]) -> None:
    """Raises `UserError` where a config that was read from a folder names a module outside the trusted packages."""
    with user_errors():
        runs.check_trusted(to_dict(config), trusted, f"the config in {folder}")


def as_stored(folder: Path) -> dict[str, Any]:
    """Returns what `build.build` takes from a run that exists: how data are split, what it took of them; {} for none.

    Raises:
      UserError: as `read_stored`.
    """
    if not (folder / CONFIG).exists():
        return {}
    stored = read_stored(folder)
    found: dict[str, Any] = {"split_rule": stored.split_rule, "schema": (stored.fingerprint or {}).get("schema")}
    if exports.is_export(folder):
        with user_errors():
            found["fitted"] = runs.read_fitted(folder)
    elif (folder / CHECKPOINTS).is_dir():
        with user_errors(), runs.open_checkpoints(folder) as checkpoints:
            for step in checkpoints.steps():  # all have the same; damaged ones are for others to report
                with contextlib.suppress(OSError, ValueError):
                    found["fitted"] = runs.stored_model(checkpoints, step).fitted
    return found


def finished(folder: Path, config: Config, fingerprint: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the summary of a run of this config that has come to its end; None where there is none.

    Needs neither the lock nor a folder that can be written.

    Raises:
      UserError: where the folder holds another config, a run on other data, or a damaged summary.
    """
    if not (folder / CONFIG).exists() or not (folder / SUMMARY).exists():
        return None
    check(folder, config, fingerprint)
    with user_errors():
        of_patience = {} if config.training.patience is None else {"stopped_at": int, "stopped_early": bool}
        summary = json_files.read_object(folder / SUMMARY, {"step": int, **of_patience})
    last = summary.get("stopped_at", summary["step"])
    return summary if summary.get("stopped_early") or last >= config.training.num_steps else None


def read_config(folder: Path) -> Config:
    """Returns the config that a run was started with; raises as `read_stored`."""
    return read_stored(folder).config


def read_stored(folder: Path) -> Stored:
    """Returns what a run's config.json holds; a field that an earlier version did not have has its default.

    Raises:
      UserError: where there is no run, or its config is damaged or has fields that this version does not know.
    """
    path = folder / CONFIG
    if not path.exists():
        raise UserError(f"{folder} holds no run: there is no {path}; --workdir must be a folder that train has made")
    with user_errors():
        values = json_files.read_object(path, {"run_id": str | None, "data_fingerprint": dict | None})
    run_id, fingerprint = values.pop("run_id"), values.pop("data_fingerprint")
    values.pop("format_version", None)
    try:
        return Stored(from_dict(values), run_id, fingerprint)
    except ValueError as error:
        raise UserError(f"{path} is no config of this version: {error}") from error


write_json = json_files.write


def _lock(file: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "which has just begun"
        raise UserError(f"--workdir={folder} is in use by another run, {holder}; nothing was changed") from error
    except OSError as error:
        raise UserError(
            f"{folder / _LOCK} cannot be locked: {error.strerror}. A run needs a file system with locks (flock): mount "
            "this one with them, or choose a --workdir on another"
        ) from error
    with json_files.naming(folder / _LOCK):
        file.truncate(0)
        # Past the file's buffer, which would be written, and fail, once more when it is closed.
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
