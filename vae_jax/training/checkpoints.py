"""Checkpoints of a run, written by Orbax: `<directory>/<step>/`, each whole or absent."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from .. import __version__
from .step import TrainState

_ARRAYS = ("params", "opt_state", "average")
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint")


class Checkpoints:
    """The checkpoints below one directory.

    Each holds the state's parts as separate items, so that the parameters can be read without the optimiser, and
    metadata as JSON: what the caller gives, and the versions that wrote it.
    """

    def __init__(self, directory: str | Path, *, keep: int | None = 2, create: bool = True) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=create, enable_async_checkpointing=False)
        packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
        self._versions = {"vae_jax": __version__, **packages}
        self.directory = Path(directory).absolute()
        handlers: dict[str, Any] = {name: ocp.StandardCheckpointHandler() for name in _ARRAYS}
        handlers["metadata"] = ocp.JsonCheckpointHandler()
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, metadata: dict[str, Any]) -> None:
        """Writes the state under its step; returns when it is on disk."""
        items = {name: ocp.args.StandardSave(part) for name, part in _parts(state).items()}
        described = ocp.args.JsonSave({**metadata, "versions": self._versions})
        self._manager.save(int(state.step), args=ocp.args.Composite(**items, metadata=described))

    def metadata(self, step: int) -> dict[str, Any]:
        """What `save` was given, with "versions"."""
        return self._manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]

    def restore(self, step: int, template: TrainState) -> TrainState:
        """The state saved at `step`, onto the devices of `template`'s arrays.

        Raises:
          ValueError: where the checkpoint holds another model's arrays.
        """
        return template._replace(step=jax.numpy.full_like(template.step, step), **self._read(step, _parts(template)))

    def restore_params(self, step: int, template: Any, *, average: bool = False) -> Any:
        """The parameters saved at `step`, or their average; `template` is a pytree of arrays or their shapes."""
        name = "average" if average else "params"
        return self._read(step, {name: template})[name]

    def _read(self, step: int, templates: dict[str, Any]) -> dict[str, Any]:
        self._check_fits(step, templates)
        items = {
            name: ocp.args.StandardRestore(jax.tree.map(_placed, template)) for name, template in templates.items()
        }
        return dict(self._manager.restore(step, args=ocp.args.Composite(**items)))

    def _check_fits(self, step: int, templates: dict[str, Any]) -> None:
        """Compares names and shapes first: a restore that fails inside Orbax leaves its threads' tracebacks behind."""
        metadata = self._manager.item_metadata(step)
        for part, template in templates.items():
            saved = metadata.get(part)
            stored = {} if saved is None else _shapes(saved.tree, lambda path, leaf: leaf.name)
            wanted = _shapes(template, lambda path, leaf: jax.tree_util.keystr(path, simple=True, separator="."))
            for name in {**wanted, **stored}:
                there, here = stored.get(name, "absent"), wanted.get(name, "absent")
                if there != here:
                    raise ValueError(
                        f"the checkpoint {self.directory / str(step)} does not fit this model: {part}.{name} "
                        f"is {there} there and {here} here"
                    )


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    """Where an array is to be restored: where the template's is, else on the first device, whatever wrote it."""
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _shapes(tree: Any, name: Callable[[Any, Any], str]) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {name(path, leaf): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _parts(state: TrainState) -> dict[str, Any]:
    return {name: part for name in _ARRAYS if (part := getattr(state, name)) is not None}
