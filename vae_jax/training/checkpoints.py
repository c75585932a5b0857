"""Checkpoints of a run, written by Orbax: `<directory>/<step>/`, each whole or absent, with a manifest."""

import contextlib
import errno
import math
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from .. import migration, parallel
from . import json_files, manifest
from .provenance import provenance
from .step import TrainState
from .templates import check_fits, type_and_shape

_ARRAYS = ("params", "opt_state", "average")
_METADATA, _CONSTANTS, _UNFINISHED, _REPLACED = "metadata.json", "constants.npz", ".unfinished", ".replaced"
# What this class writes of a checkpoint, besides what the caller tells; version 0 had the score alone.
_FIELDS = {"score": float | None, "step": int | None, "run_id": str | None}
# Of the state's bytes, what a save may need: Orbax writes each array twice while it merges, and metadata.
_ROOM, _ROOM_BESIDE = 2.1, 2**20


class Checkpoints:
    """The checkpoints below one directory.

    Each holds the state's parts as separate items, so that the parameters can be read without the optimiser; what the
    caller tells of it, with what wrote it, as JSON; constant arrays of the model; and a SHA-256 manifest of every
    file. A folder gets its step for a name when all of it is there; what a killed save leaves has another.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 2,
        run_id: str | None = None,
        is_there: Callable[[], bool] = lambda: True,
    ) -> None:
        """Opens the checkpoints of a run.

        Args:
          directory: where they are; made by the first save, unless the folder that holds it is missing.
          keep: so many of the newest are kept, and the one of the best score.
          run_id: the run's name for itself, which its checkpoints carry: those of another are damaged.
          is_there: says whether the folder that holds the directory is still the run's: where it was moved or deleted,
            what a save has made under its old name is removed.
        """
        import orbax.checkpoint as ocp  # here: what reads an export alone need not have it

        self._args: Any = ocp.args
        self.directory = Path(directory).absolute()
        self._keep, self._run_id, self._is_there = keep, run_id, is_there
        handlers: dict[str, Any] = {name: ocp.StandardCheckpointHandler() for name in _ARRAYS}
        self._checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(**handlers))
        self._background = ThreadPoolExecutor(1, "checkpoint")
        self._saving: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        finally:
            self._background.shutdown()
            self._checkpointer.close()
            if parallel.is_first_process() and not self._is_there():
                self._undo()

    def steps(self) -> list[int]:
        """The steps of all checkpoints, the oldest first; damaged ones among them."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if _STEP.fullmatch(path.name))

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step of the checkpoint with the highest score, the newest of several; None where none has one."""
        scored = [(score, step) for step in self.steps() if (score := self._score(step)) is not None]
        return max(scored)[1] if scored else None

    def damages(self, step: int) -> list[str]:
        """Returns what is wrong with a checkpoint, a line for each file; nothing where it is as it was written, under
        this step and in this run; raises `NewerVersionError` for one of a newer version."""
        if found := manifest.damages(self.directory / str(step)):
            return found
        try:
            self.metadata(step)
        except json_files.NewerVersionError:
            raise  # not to be set aside
        except (OSError, ValueError) as error:
            return [str(error)]
        return []

    def newest_good(self, report: Callable[[str], None], *, set_aside: bool = False) -> int | None:
        """The step of the newest checkpoint whose files are as they were written, the same in every process.

        Damaged ones are told to `report`; with `set_aside` they are renamed to `<step>.damaged`, and what killed saves
        left is removed: only for the process that writes here. None where there is no checkpoint at all.

        Raises:
          ValueError: where all are damaged.
        """
        found = parallel.from_first(self._newest_good(report, set_aside) if parallel.is_first_process() else 0)
        if found == _ALL_DAMAGED:
            raise ValueError(f"every checkpoint in {self.directory} is damaged; start anew in another folder")
        return None if found == _NONE else int(found)

    def save(
        self,
        state: TrainState,
        metadata: dict[str, Any],
        *,
        constants: Mapping[str, np.ndarray] | None = None,
        score: float | None = None,
    ) -> None:
        """Starts to write the state under its step, and returns; `wait` tells when it is on disk.

        `constants` are arrays that belong to the model and are not trained, such as the data's mean. `score` is the
        figure by which the best is kept, the higher the better. A step that is there already is left, unless it lacks
        the score that is given now.

        Raises:
          OSError: for a want of room or of permission, found before or during this save or the last; what was there is
            kept.
        """
        self.wait()
        step = int(state.step)
        finite = None if score is None or not math.isfinite(score) else score
        # As the first process sees it, which names a folder when the others have done their part.
        if parallel.from_first(step in self.steps() and (finite is None or self._score(step) is not None)):
            return
        parts = parallel.shared(_parts(state))
        self._check_place(parts)
        items = {name: self._args.StandardSave(part) for name, part in parts.items()}
        about = {"format_version": json_files.FORMAT_VERSION, "step": step, "run_id": self._run_id, "score": finite}
        described = {**metadata, **about, **provenance()}
        # The arrays are on the host when this returns, or views that forbid the reuse of a donated buffer.
        unfinished = self.directory / f"{step}{_UNFINISHED}"
        self._checkpointer.save(unfinished, args=self._args.Composite(**items), force=True)
        self._saving = self._background.submit(self._finish, step, unfinished, described, constants or {})

    def wait(self) -> None:
        """Returns when the last save is on disk; raises as `save`."""
        saving, self._saving = self._saving, None
        if saving is None:
            return
        try:
            saving.result()
        except Exception as error:
            if parallel.is_first_process():
                self._remove_leftovers()
            for number in _NO_ROOM:
                if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                    raise self._failed(number) from error
            raise

    def metadata(self, step: int, **fields: Any) -> dict[str, Any]:
        """Returns what `save` was given, with "score", "step", "run_id", "format_version", "versions" and "commit".

        Args:
          step: of the checkpoint.
          **fields: the type of each field that the caller needs, as by `json_files.read_object`.

        Raises:
          FileNotFoundError: where there is none.
          ValueError: where it is damaged, of another step or run, or of a newer version (`NewerVersionError`).
        """
        path = self.directory / str(step) / _METADATA
        found = json_files.read_object(path, {**_FIELDS, **fields})
        if found.get("format_version") and found["step"] != step:
            raise ValueError(f"{path} is of step {found['step']}, not {step}: its folder was renamed or copied")
        if self._run_id not in (None, found["run_id"]):
            raise ValueError(f"{path} is of another run, {found['run_id']}, not {self._run_id}")
        return found

    def constants(self, step: int) -> dict[str, np.ndarray]:
        """Returns the constant arrays that `save` was given; none of a checkpoint before version 3 of the format.

        Raises:
          ValueError: where the file is damaged.
        """
        path = self.directory / str(step) / _CONSTANTS
        if not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    def restore(self, step: int, template: TrainState) -> TrainState:
        """The state saved at `step`, onto the devices of `template`'s arrays or shapes, however many wrote it.

        Raises:
          ValueError: where the checkpoint holds another model's arrays.
        """
        number = np.full(template.step.shape, step, template.step.dtype)
        placed = jax.make_array_from_callback(number.shape, _placed(template.step).sharding, lambda index: number)
        return template._replace(step=placed, **self._read(step, _parts(template)))

    def restore_params(self, step: int, template: Any, *, average: bool = False) -> Any:
        """The parameters saved at `step`, or their average; `template` is a pytree of arrays or their shapes.

        Raises:
          ValueError: where the checkpoint holds another model's arrays, or no average.
        """
        name = "average" if average else "params"
        return self._read(step, {name: template})[name]

    def _finish(
        self, step: int, unfinished: Path, metadata: dict[str, Any], constants: Mapping[str, np.ndarray]
    ) -> None:
        self._checkpointer.wait_until_finished()
        if parallel.is_first_process():
            if not self._is_there():
                raise FileNotFoundError(errno.ENOENT, "the folder was moved or deleted", str(self.directory.parent))
            json_files.write(unfinished / _METADATA, metadata)
            with (unfinished / _CONSTANTS).open("wb") as file:
                np.savez(file, **constants)  # pyright: ignore[reportArgumentType]
            manifest.write(unfinished)
            place, replaced = self.directory / str(step), self.directory / f"{step}{_REPLACED}"
            if place.exists():
                place.rename(replaced)
            unfinished.rename(place)
            _remove(replaced)
            kept = {*self.steps()[-self._keep :], self.best_step()}
            for old in self.steps():
                if old not in kept:
                    _remove((self.directory / str(old)).rename(self.directory / f"{old}{_UNFINISHED}"))

    def _score(self, step: int) -> float | None:
        try:
            return self.metadata(step)["score"]
        except (OSError, ValueError):
            return None  # a damaged one, which `newest_good` reports

    def _newest_good(self, report: Callable[[str], None], set_aside: bool) -> int:
        if set_aside:
            self._remove_leftovers()
        steps = self.steps()
        for step in reversed(steps):
            damages = self.damages(step)
            if not damages:
                return step
            report(f"the checkpoint {self.directory / str(step)} is damaged ({'; '.join(damages)}); it is not used")
            if set_aside:
                aside = self.directory / f"{step}.damaged"
                _remove(aside)
                (self.directory / str(step)).rename(aside)
        return _ALL_DAMAGED if steps else _NONE

    def _remove_leftovers(self) -> None:
        for path in self.directory.glob(f"[0-9]*{_REPLACED}"):
            if path.with_suffix("").exists():
                _remove(path)
            else:
                path.rename(path.with_suffix(""))
        for path in self.directory.glob(f"[0-9]*{_UNFINISHED}*"):
            _remove(path)

    def _undo(self) -> None:
        """Removes what Orbax has made under an old name of the folder, since it makes all folders above a file."""
        # Its threads may write on for a while after the first has failed.
        for _ in range(10):
            self._remove_leftovers()
            with contextlib.suppress(OSError):
                self.directory.rmdir()
                self.directory.parent.rmdir()
            time.sleep(0.1)

    def _check_place(self, parts: Any) -> None:
        # Its parent is not made anew: where that is gone, the run's folder was moved or deleted.
        self.directory.mkdir(exist_ok=True)
        needed = _ROOM * sum(leaf.nbytes for leaf in jax.tree.leaves(parts)) + _ROOM_BESIDE
        if shutil.disk_usage(self.directory).free < needed:
            raise self._failed(errno.ENOSPC)
        # Orbax's threads would wait five minutes for a folder that one of them could not make.
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise self._failed(errno.EACCES)

    def _failed(self, number: int) -> OSError:
        kept = "the last checkpoint is kept" if self.steps() else "there is no checkpoint yet"
        return OSError(number, f"{os.strerror(number)}; {kept}", str(self.directory))

    def _read(self, step: int, templates: dict[str, Any]) -> dict[str, Any]:
        old = (self.metadata(step).get("format_version") or 0) < migration.PARAMS_VERSION
        if old:
            templates = {name: migration.old_params(template) for name, template in templates.items()}
        self._check_fits(step, templates)
        items = {
            name: self._args.StandardRestore(jax.tree.map(_placed, template)) for name, template in templates.items()
        }
        with _readable(self.directory / str(step)):
            found = self._checkpointer.restore(self.directory / str(step), args=self._args.Composite(**items))
        return {name: migration.new_params(found[name]) if old else found[name] for name in templates}

    def _check_fits(self, step: int, templates: dict[str, Any]) -> None:
        """Compares names and shapes first: a restore that fails inside Orbax leaves its threads' tracebacks behind."""
        with _readable(self.directory / str(step)):
            metadata = self._checkpointer.metadata(self.directory / str(step)).item_metadata or {}
        for part, template in templates.items():
            saved = metadata.get(part)
            if saved is None and part == "average":
                raise ValueError(f"the checkpoint {self.directory / str(step)} holds no weight average, only params")
            leaves = [] if saved is None else jax.tree.leaves(saved.tree)
            stored = {leaf.name: type_and_shape(leaf) for leaf in leaves}
            check_fits(f"the checkpoint {self.directory / str(step)}", part, stored, template)


_STEP = re.compile("0|[1-9][0-9]*", re.ASCII)
_NONE, _ALL_DAMAGED = -1, -2  # as numbers, which one process can tell the others


# The last is that of a limit on the size of one file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _remove(path: Path) -> None:
    """Removes a folder, or a link in its place, as far as that can be done."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _readable(checkpoint: Path) -> Iterator[None]:
    """Turns what Orbax raises for JSON of its own that is not as it wrote it into one message."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        message = f"the checkpoint {checkpoint} cannot be read: {type(error).__name__}: {error}"
        raise ValueError(message) from error


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    """Where an array is to be restored: where the template's is, else on the first device, whatever wrote it."""
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _parts(state: TrainState) -> dict[str, Any]:
    return {name: part for name in _ARRAYS if (part := getattr(state, name)) is not None}
