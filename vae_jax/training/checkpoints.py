"""Checkpoints of a run, written by Orbax: `<directory>/<step>/`, each whole or absent, with a manifest."""

import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from .. import parallel
from . import manifest
from .provenance import provenance
from .step import TrainState

_ARRAYS = ("params", "opt_state", "average")
_METADATA, _UNFINISHED, _REPLACED = "metadata.json", ".unfinished", ".replaced"
# Of the state's bytes, what a save may need: Orbax writes each array twice while it merges, and metadata.
_ROOM, _ROOM_BESIDE = 2.1, 2**20


class Checkpoints:
    """The checkpoints below one directory.

    Each holds the state's parts as separate items, so that the parameters can be read without the optimiser; what the
    caller tells of it, with what wrote it, as JSON; and a SHA-256 manifest of every file. A folder gets its step for a
    name when all of it is there; what a killed save leaves has another.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2) -> None:
        """`keep` newest checkpoints are kept, and the one of the best score."""
        self.directory = Path(directory).absolute()
        self._keep = keep
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

    def steps(self) -> list[int]:
        """The steps of all checkpoints, the oldest first; damaged ones among them."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step of the checkpoint with the highest score, the newest of several; None where none has one."""
        scored = [(score, step) for step in self.steps() if (score := self._score(step)) is not None]
        return max(scored)[1] if scored else None

    def damages(self, step: int) -> list[str]:
        """What is wrong with the files of a checkpoint, a line for each; none where it is as it was written."""
        return manifest.damages(self.directory / str(step))

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

    def save(self, state: TrainState, metadata: dict[str, Any], *, score: float | None = None) -> None:
        """Starts to write the state under its step, and returns; `wait` tells when it is on disk.

        `score` is the figure by which the best is kept, the higher the better. A step that is there already is left,
        unless it lacks the score that is given now.

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
        items = {name: ocp.args.StandardSave(part) for name, part in parts.items()}
        described = {**metadata, "score": finite, **provenance()}
        # The arrays are on the host when this returns, or views that forbid the reuse of a donated buffer.
        unfinished = self.directory / f"{step}{_UNFINISHED}"
        self._checkpointer.save(unfinished, args=ocp.args.Composite(**items), force=True)
        self._saving = self._background.submit(self._finish, step, unfinished, described)

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

    def metadata(self, step: int) -> dict[str, Any]:
        """What `save` was given, with "score", "versions" and "commit"."""
        return json.loads((self.directory / str(step) / _METADATA).read_text())

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

    def _finish(self, step: int, unfinished: Path, metadata: dict[str, Any]) -> None:
        self._checkpointer.wait_until_finished()
        if parallel.is_first_process():
            (unfinished / _METADATA).write_text(json.dumps(metadata, indent=1))
            manifest.write(unfinished)
            place, replaced = self.directory / str(step), self.directory / f"{step}{_REPLACED}"
            if place.exists():
                place.rename(replaced)
            unfinished.rename(place)
            shutil.rmtree(replaced, ignore_errors=True)
            kept = {*self.steps()[-self._keep :], self.best_step()}
            for old in self.steps():
                if old not in kept:
                    shutil.rmtree((self.directory / str(old)).rename(self.directory / f"{old}{_UNFINISHED}"))

    def _score(self, step: int) -> float | None:
        try:
            return self.metadata(step).get("score")
        except (OSError, ValueError, AttributeError):
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
                shutil.rmtree(aside, ignore_errors=True)
                (self.directory / str(step)).rename(aside)
        return _ALL_DAMAGED if steps else _NONE

    def _remove_leftovers(self) -> None:
        for path in self.directory.glob(f"[0-9]*{_REPLACED}"):
            if path.with_suffix("").exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(path.with_suffix(""))
        for path in self.directory.glob(f"[0-9]*{_UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _check_place(self, parts: Any) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
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
        self._check_fits(step, templates)
        items = {
            name: ocp.args.StandardRestore(jax.tree.map(_placed, template)) for name, template in templates.items()
        }
        return dict(self._checkpointer.restore(self.directory / str(step), args=ocp.args.Composite(**items)))

    def _check_fits(self, step: int, templates: dict[str, Any]) -> None:
        """Compares names and shapes first: a restore that fails inside Orbax leaves its threads' tracebacks behind."""
        metadata = self._checkpointer.metadata(self.directory / str(step)).item_metadata or {}
        for part, template in templates.items():
            saved = metadata.get(part)
            if saved is None and part == "average":
                raise ValueError(f"the checkpoint {self.directory / str(step)} holds no weight average, only params")
            stored = {} if saved is None else _shapes(saved.tree, lambda path, leaf: leaf.name)
            wanted = _shapes(template, lambda path, leaf: jax.tree_util.keystr(path, simple=True, separator="."))
            for name in {**wanted, **stored}:
                there, here = stored.get(name, "absent"), wanted.get(name, "absent")
                if there != here:
                    raise ValueError(
                        f"the checkpoint {self.directory / str(step)} does not fit this model: {part}.{name} "
                        f"is {there} there and {here} here"
                    )


_NONE, _ALL_DAMAGED = -1, -2  # as numbers, which one process can tell the others


# The last is that of a limit on the size of one file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    """Where an array is to be restored: where the template's is, else on the first device, whatever wrote it."""
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _shapes(tree: Any, name: Callable[[Any, Any], str]) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {name(path, leaf): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _parts(state: TrainState) -> dict[str, Any]:
    return {name: part for name in _ARRAYS if (part := getattr(state, name)) is not None}
