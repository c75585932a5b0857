"""A finished run as (vae, params, config)."""

import math
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from . import data, expressions
from .fitted import Fitted, build_vae
from .migration import migrate_config
from .model import VAE, Params
from .training import Checkpoints, json_files

_FIELDS: dict[str, Any] = {
    "config": dict,
    "event_shape": list[int] | None,
    "data_mean": list[float] | None,
    "contents": dict | None,
}


class StoredModel(NamedTuple):
    """What a checkpoint tells of its model: the run's config, in this version's form, and what it took of the data."""

    config: dict[str, Any]
    fitted: Fitted


def load(
    workdir: str | Path,
    *,
    average: bool = False,
    checkpoint: str | int | None = None,
    trusted: Collection[str] = (),
) -> tuple[VAE, Params, FrozenConfigDict]:
    """The model of a run of `experiments.train`, its parameters at a checkpoint, and its config.

    Args:
      workdir: the run's folder.
      average: whether to load the weight average, of which a run that keeps one reports the figures, in place of the
        raw parameters.
      checkpoint: "latest", "best" (by the validation ELBO), or a step; None is the one whose figures the run reports,
        "best" for a run with `training.patience` and "latest" for any other. Every file is first compared with its
        SHA-256; "latest" passes over damaged checkpoints, with a warning.
      trusted: packages of one's own whose functions the run's model may name, "mypackage" for
        "mypackage.nets:tower(width=64)". Nothing else that a run's folder names is imported.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      ValueError: where it is damaged, or does not fit the code, or the run keeps no weight average, or its config
        names a module that is not trusted.
    """
    with open_checkpoints(workdir) as checkpoints:
        step = choose(checkpoints, checkpoint)
        stored, where = stored_model(checkpoints, step), f"the checkpoint {checkpoints.directory / str(step)}"
        check_trusted(stored.config, trusted, where)
        try:
            vae = build_vae(stored.config["model"], stored.fitted)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} holds a model that cannot be built: {error}") from error
        params = checkpoints.restore_params(step, jax.eval_shape(vae.init, jax.random.key(0)), average=average)
    return vae, params, FrozenConfigDict(stored.config)


def open_rows(
    workdir: str | Path, path: str | Path, *, layer: str | None = None, id_name: str | None = None
) -> data.Rows:
    """Returns the rows of a file as examples of a run's model, read some at a time, or all by `read()`.

    Args:
      workdir: the run's folder.
      path: as in `data.open_rows`.
      layer: of an AnnData file, that which is read in the place of X; by default the one that the run was trained on.
      id_name: the column that names the rows; by default the one that the run's schema says, or that is called "id".

    Raises:
      FileNotFoundError: where there is no run or no file.
      ValueError: as `load` and `data.open_rows`.
    """
    with open_checkpoints(workdir) as checkpoints:
        contents = stored_model(checkpoints, choose(checkpoints, "latest")).fitted.contents
    stored = json_files.read_object(
        Path(workdir).expanduser() / "config.json", {"data": dict | None, "data_fingerprint": dict | None}
    )
    options, about = stored["data"] or {}, stored["data_fingerprint"] or {}
    return data.open_rows(
        path,
        contents,
        layer=layer or (options.get("layer") if Path(path).suffix == ".h5ad" else None),
        image_size=options.get("image_size"),
        channels=options.get("channels"),
        id_name=id_name,
        schema=about.get("schema"),
        element_names=about.get("element_names"),
    )


def check_trusted(config: Mapping[str, Any], trusted: Collection[str], where: str) -> None:
    """Raises `ValueError` where a stored config names a module outside the trusted packages: a function of one's own
    would be called by whoever wrote the folder."""
    for field, module in named_modules(config):
        if not any(module == package or module.startswith(f"{package}.") for package in trusted):
            package = module.partition(".")[0]
            raise ValueError(
                f"{where} has a {field} that would run code of the module {module}, which is no part of vae_jax. If "
                f"you trust both, say so: --trust={package} for a command, trusted=[{package!r}] for runs.load"
            )


def named_modules(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns (field, module) of each module that the expressions of a config name."""
    found = []
    for section, field in EXPRESSIONS:
        text = config[section].get(field) if isinstance(config.get(section), Mapping) else None
        texts = [text] if isinstance(text, str) else []
        if field == "regularizers":  # as they are read: no other field is divided
            texts = [part for text in texts for part in expressions.split_sum(text)]
        found += [(f"{section}.{field}", module) for text in texts for module in expressions.modules(text)]
    return found


# The fields of a config that may name a module.
EXPRESSIONS = (
    *(("model", field) for field in ("network", "posterior", "prior", "likelihood")),
    *(("loss", field) for field in ("bound", "beta", "regularizers")),
    ("training", "optimizer"),
)


def stored_model(checkpoints: Checkpoints, step: int) -> StoredModel:
    """Returns what a checkpoint tells of its model; raises `ValueError` where it is damaged."""
    metadata, where = checkpoints.metadata(step, **_FIELDS), f"the checkpoint {checkpoints.directory / str(step)}"
    arrays = dict(checkpoints.constants(step))
    # Before version 3 of the format the mean was among the metadata.
    if metadata["data_mean"] is not None:
        arrays.setdefault("data_mean", np.asarray(metadata["data_mean"], float))
    try:
        if metadata["contents"] is None:  # of a run before there was anything but pictures
            contents = data.pictures(tuple(metadata["event_shape"] or ()))
            _check_mean(arrays, contents.event_shape)
            arrays["data_mean"] = np.asarray(arrays["data_mean"], float).reshape(contents.event_shape)
        else:
            contents = data.Contents.from_json(metadata["contents"])
        fitted = Fitted.from_arrays(contents, arrays)
        for name, of in contents.variables().items():
            if name not in fitted.statistics.x or fitted.statistics.x[name].mean.shape != of.shape:
                raise ValueError(f"it has no mean of shape {list(of.shape)} of {name or 'x'}")
    except ValueError as error:
        raise ValueError(f"{where} is damaged: {error}") from error
    config = migrate_config(metadata["config"])
    if not isinstance(config.get("model"), dict):
        raise ValueError(f"{where} is damaged: its config has no model")
    return StoredModel(config, fitted)


def _check_mean(arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> None:
    size = None if "data_mean" not in arrays else np.size(arrays["data_mean"])
    if size is None or min(shape, default=1) < 1 or size != math.prod(shape):
        found = "no data_mean" if size is None else f"a data_mean of {size} numbers"
        raise ValueError(f"it has {found}, for {list(shape)}")


def open_checkpoints(workdir: str | Path) -> Checkpoints:
    """Returns the checkpoints of a run's folder, to be closed by `with`.

    Raises:
      FileNotFoundError: where there is no run, or none that has come to a checkpoint.
      ValueError: where its config.json is damaged or of a newer version.
    """
    folder, stored = checkpoint_folder(workdir), Path(workdir).expanduser() / "config.json"
    run_id = json_files.read_object(stored, {"run_id": str | None})["run_id"] if stored.exists() else None
    return Checkpoints(folder, run_id=run_id)


def checkpoint_folder(workdir: str | Path) -> Path:
    """Returns where a run keeps its checkpoints; raises `FileNotFoundError` where it has none."""
    folder = Path(workdir).expanduser() / "checkpoints"
    if not folder.is_dir():
        raise FileNotFoundError(f"{workdir} holds no run: there is no folder {folder}")
    return folder


def choose(checkpoints: Checkpoints, checkpoint: str | int | None) -> int:
    """Returns the step of a checkpoint as `load` names it, whose files are as they were written.

    Where no checkpoint has a finite validation score, so that none is the best, "best" is the latest, with a warning.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged.
    """
    best = checkpoints.best_step() if checkpoint in (None, "best") else None
    if checkpoint is None:
        has_patience = best is not None and checkpoints.metadata(best, patience=dict | None)["patience"] is not None
        checkpoint = "best" if has_patience else "latest"
    if checkpoint == "best":
        if best is None:
            warnings.warn(
                f"no checkpoint in {checkpoints.directory} has a validation score that is a finite number, so that "
                "none is the best: the latest is used",
                stacklevel=3,
            )
        checkpoint = "latest" if best is None else best
    if checkpoint == "latest":
        step = checkpoints.newest_good(lambda message: warnings.warn(message, stacklevel=3))
        if step is None:
            raise FileNotFoundError(f"{checkpoints.directory} holds no whole checkpoint")
        return step
    step = _step(checkpoint)
    if step not in checkpoints.steps():
        raise FileNotFoundError(f"{checkpoints.directory} has no checkpoint {step}, but {checkpoints.steps()}")
    if damages := checkpoints.damages(step):
        raise ValueError(f"the checkpoint {checkpoints.directory / str(step)} is damaged ({'; '.join(damages)})")
    return step


def _step(checkpoint: str | int) -> int:
    if not re.fullmatch("[0-9]+", str(checkpoint)):
        raise ValueError(f"a checkpoint is 'latest', 'best' or a step, got {checkpoint!r}")
    return int(checkpoint)
