"""An export: a folder with all that loads a model, whose files are compared with their SHA-256 first.

`config.json` is that of a run, and `export.json` says what a checkpoint says. `params.safetensors` and
`average.safetensors` are the parameters and their average, `constants.safetensors` is what the model took of its data.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import data
from ..fitted import StoredModel
from ..model import Params
from ..training import json_files, manifest
from ..training.provenance import PROVENANCE
from ..training.templates import check_fits, names_of, type_and_shape
from . import tensors

# The version of what an export's folder holds beside the config, which has a version of its own.
EXPORT_VERSION = 1
ENCODE, DECODE, CARD = "encode.stablehlo", "decode.stablehlo", "README.md"
_EXPORT, _CONFIG, _CONSTANTS = "export.json", "config.json", "constants.safetensors"
_PARTS = {"params": "params.safetensors", "average": "average.safetensors"}
_FIELDS = {"export_version": int, "step": int, "contents": dict}
_OF_RUN = {"format_version": int, "run_id": str | None, "data_fingerprint": dict | None}


class Exported(NamedTuple):
    """What an export holds.

    Attributes:
      folder: of the export.
      step: of the checkpoint that it was made of.
      run_id: the run's name for itself; None of a run that has none.
      stored: what it tells of its model.
      provenance: what wrote the checkpoint.
    """

    folder: Path
    step: int
    run_id: str | None
    stored: StoredModel
    provenance: dict[str, Any]

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"the export {self.folder}"

    def read_params(self, template: Any, *, average: bool = False) -> Params:
        """Returns the parameters, or their average; `template` is a pytree of arrays or their shapes.

        Raises:
          ValueError: where the export holds another model's arrays, or no average.
        """
        part = "average" if average else "params"
        path = self.folder / _PARTS[part]
        if average and not path.is_file():
            raise ValueError(f"{self.where} holds no weight average, only params")
        found = _read_tensors(path)
        check_fits(self.where, part, {name: type_and_shape(array) for name, array in found.items()}, template)
        leaves = [jnp.asarray(found[name]) for name in names_of(template)]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)


def is_export(folder: str | Path) -> bool:
    """Returns whether a folder is an export."""
    return (Path(folder).expanduser() / _EXPORT).is_file()


def read(folder: str | Path) -> Exported:
    """Returns what an export holds, every file of which is first compared with its SHA-256.

    Files that are not listed in its manifest may lie beside them, and its card may be changed.

    Raises:
      FileNotFoundError: where there is no export.
      ValueError: naming what is damaged, or of a newer version.
    """
    folder = Path(folder).expanduser()
    about = json_files.read_object(folder / _EXPORT, _FIELDS | PROVENANCE)
    if about["export_version"] > EXPORT_VERSION:
        raise json_files.NewerVersionError(
            f"{folder / _EXPORT} has export_version {about['export_version']}, and this version of vae_jax reads those "
            f"up to {EXPORT_VERSION}; use a newer vae_jax"
        )
    needed = [_EXPORT, _CONFIG, _CONSTANTS, _PARTS["params"]]
    needed += [name for name in _PARTS.values() if name not in needed and (folder / name).is_file()]
    if damages := manifest.damages_of_listed(folder, needed):
        raise ValueError(f"the export {folder} is damaged ({'; '.join(damages)}): copy it anew")
    config = json_files.read_object(folder / _CONFIG, _OF_RUN)
    of_run = {name: config.pop(name) for name in _OF_RUN}
    try:
        contents = data.Contents.from_json(about["contents"])
        stored = StoredModel.of(config, contents, _read_tensors(folder / _CONSTANTS))
    except ValueError as error:
        raise ValueError(f"the export {folder} is damaged: {error}") from error
    return Exported(folder, about["step"], of_run["run_id"], stored, {name: about[name] for name in PROVENANCE})


def check_free(output: Path, *, run_id: str | None, step: int) -> None:
    """Raises `ValueError` unless an export can be written as this folder, which is absent or empty."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    found = read(output) if is_export(output) else None
    if found is not None and (found.run_id, found.step) == (run_id, step):
        raise ValueError(f"{output} holds an export of step {step} of this run already; nothing was changed")
    raise ValueError(f"{output} exists and is no empty folder; name one that does not exist")


def write(
    output: Path,
    stored: StoredModel,
    params: Params,
    *,
    average: Params | None,
    step: int,
    of_run: Mapping[str, Any],
    about: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> None:
    """Writes an export, which has its name when all of it is there.

    Args:
      output: the folder.
      stored: what is told of the model.
      params: the parameters.
      average: their average, of a run that keeps one.
      step: of the checkpoint that all is from.
      of_run: its "run_id" and the "data_fingerprint".
      about: what else is told, as JSON can hold it.
      files: further files by name, `CARD`, `ENCODE` and `DECODE` among them.

    Raises:
      OSError: where the folder cannot be written, or is not empty.
      ValueError: for arrays that safetensors cannot hold, or of one name.
    """
    parts = {"params": params} if average is None else {"params": params, "average": average}
    told = {**about, "export_version": EXPORT_VERSION, "step": step, "contents": stored.fitted.contents.to_json()}
    arrays = {_PARTS[part]: tensors.to_bytes(_by_name(tree)) for part, tree in parts.items()}
    arrays[_CONSTANTS] = tensors.to_bytes(stored.fitted.to_arrays())
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.unfinished")
    with json_files.naming(output):
        try:
            unfinished.mkdir()
            json_files.write(unfinished / _EXPORT, told)
            versioned = {"format_version": json_files.FORMAT_VERSION, **of_run, **stored.config}
            json_files.write(unfinished / _CONFIG, versioned)
            for name, content in {**arrays, **files}.items():
                (unfinished / name).write_bytes(content)
            manifest.write(unfinished, besides=(CARD,))
            unfinished.replace(output)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _by_name(tree: Params) -> dict[str, np.ndarray]:
    names = names_of(tree)
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two arrays of the parameters would have the name {min(twice)}; rename one")
    return dict(zip(names, map(np.asarray, jax.tree.leaves(tree)), strict=True))


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return tensors.from_bytes(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
