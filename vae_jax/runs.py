"""A finished run as (vae, params, config)."""

import math
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Float
from ml_collections import FrozenConfigDict

from . import expressions
from .migration import migrate_config
from .model import VAE, Params
from .networks import assemble
from .training import Checkpoints, json_files

_FIELDS: dict[str, Any] = {"config": dict, "event_shape": list[int], "data_mean": list[float] | None}


class StoredModel(NamedTuple):
    """What a checkpoint tells of its model: the run's config, in this version's form, and the training data's mean."""

    config: dict[str, Any]
    event_shape: tuple[int, ...]
    data_mean: np.ndarray


def build_vae(
    model: Mapping[str, Any],
    *,
    event_shape: tuple[int, ...],
    data_mean: Float[ArrayLike, "*event"],
    examples: ArrayLike | None = None,
) -> VAE:
    """Returns the VAE that the `model` section of a config describes.

    Args:
      model: "network", an expression for the encoder's body, which the decoder mirrors; "latent_dim", the shape of z;
        "posterior", "prior", "likelihood" and "compute_dtype", as in `networks.assemble`; "center_input" and
        "data_bias" say whether `data_mean` is used as its `input_mean` and `output_mean`.
      event_shape: the shape of one example.
      data_mean: the training data's mean, of `event_shape`.
      examples: of the data, at which a prior may begin.

    Raises:
      ValueError: for an unknown part or argument, with the nearest, parts that do not go together, or a field that is
        absent or unknown.
    """
    options = dict(model)
    center_input, data_bias = (options.pop(name, None) for name in ("center_input", "data_bias"))
    for name in ("network", "latent_dim"):
        if name not in options:
            raise ValueError(f"model.{name} is absent")
    network, latent_dim = options.pop("network"), options.pop("latent_dim")
    for name in options:
        if name not in _PARTS:
            raise ValueError(f"model.{name} is a field that this version of vae_jax does not have")
    return assemble(
        encoder=network,
        latent_shape=tuple(latent_dim),
        event_shape=event_shape,
        input_mean=data_mean if center_input else None,
        output_mean=data_mean if data_bias else None,
        examples=examples,
        **options,
    )


_PARTS = ("posterior", "prior", "likelihood", "compute_dtype")


def load(
    workdir: str | Path,
    *,
    average: bool = False,
    checkpoint: str | int = "latest",
    trusted: Collection[str] = (),
) -> tuple[VAE, Params, FrozenConfigDict]:
    """The model of a run of `experiments.train`, its parameters at a checkpoint, and its config.

    Args:
      workdir: the run's folder.
      average: whether to load the weight average, of which a run that keeps one reports the figures, in place of the
        raw parameters.
      checkpoint: "latest", "best" (by the validation ELBO), or a step. Every file is first compared with its SHA-256;
        "latest" passes over damaged checkpoints, with a warning.
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
            vae = build_vae(stored.config["model"], event_shape=stored.event_shape, data_mean=stored.data_mean)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} holds a model that cannot be built: {error}") from error
        params = checkpoints.restore_params(step, jax.eval_shape(vae.init, jax.random.key(0)), average=average)
    return vae, params, FrozenConfigDict(stored.config)


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
    # Before version 3 of the format the mean was among the metadata.
    data_mean = checkpoints.constants(step).get("data_mean", metadata["data_mean"])
    event_shape = tuple(metadata["event_shape"])
    if data_mean is None or min(event_shape, default=1) < 1 or np.size(data_mean) != math.prod(event_shape):
        found = "no data_mean" if data_mean is None else f"a data_mean of {np.size(data_mean)} numbers"
        raise ValueError(f"{where} is damaged: it has {found}, for {list(event_shape)}")
    config = migrate_config(metadata["config"])
    if not isinstance(config.get("model"), dict):
        raise ValueError(f"{where} is damaged: its config has no model")
    return StoredModel(config, event_shape, np.asarray(data_mean, float).reshape(event_shape))


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


def choose(checkpoints: Checkpoints, checkpoint: str | int) -> int:
    """Returns the step of a checkpoint as `load` names it, whose files are as they were written.

    Where no checkpoint has a finite validation score, so that none is the best, "best" is the latest, with a warning.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged.
    """
    if checkpoint == "best":
        best = checkpoints.best_step()
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
