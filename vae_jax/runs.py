"""A finished run as (vae, params, config)."""

import inspect
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Float
from ml_collections import FrozenConfigDict

from .model import VAE, Params
from .names import check_name
from .networks import NETWORKS
from .training import Checkpoints, json_files

# What a checkpoint tells of its model; the types, for `Checkpoints.metadata`.
MODEL_FIELDS: dict[str, Any] = {"config": dict, "event_shape": list[int], "data_mean": list[float]}


def build_vae(model: Mapping[str, Any], *, event_shape: tuple[int, ...], data_mean: Float[ArrayLike, "*event"]) -> VAE:
    """The VAE that the `model` section of a config describes.

    Args:
      model: "network", a key of `networks.NETWORKS`, and its arguments; "center_input" and "data_bias" say whether
        `data_mean` is used as the network's `input_mean` and `output_mean`.
      event_shape: the shape of one example.
      data_mean: the training data's mean, of `event_shape`.

    Raises:
      ValueError: for an unknown name, with the nearest, or an illegal size.
    """
    options = dict(model)
    network, center_input, data_bias = (options.pop(name, None) for name in ("network", "center_input", "data_bias"))
    check_name(network, "network", NETWORKS)
    arguments = inspect.signature(NETWORKS[network]).parameters
    for name in options:
        if name not in arguments:
            raise ValueError(f"model.{name} is a field that this version of vae_jax does not have")
    for name, argument in arguments.items():
        if argument.default is argument.empty and name not in ("event_shape", *options):
            raise ValueError(f"model.{name} is absent")
    return NETWORKS[network](
        event_shape=event_shape,
        input_mean=data_mean if center_input else None,
        output_mean=data_mean if data_bias else None,
        **{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()},
    )


def load(
    workdir: str | Path, *, average: bool = False, checkpoint: str | int = "latest"
) -> tuple[VAE, Params, FrozenConfigDict]:
    """The model of a run of `experiments.train`, its parameters at a checkpoint, and its config.

    Args:
      workdir: the run's folder.
      average: whether to load the weight average, of which a run that keeps one reports the figures, in place of the
        raw parameters.
      checkpoint: "latest", "best" (by the validation ELBO), or a step. Every file is first compared with its SHA-256;
        "latest" passes over damaged checkpoints, with a warning.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      ValueError: where it is damaged, or does not fit the code, or the run keeps no weight average.
    """
    with open_checkpoints(workdir) as checkpoints:
        step = choose(checkpoints, checkpoint)
        metadata = checkpoints.metadata(step, **MODEL_FIELDS)
        where = f"the checkpoint {checkpoints.directory / str(step)}"
        event_shape, data_mean = tuple(metadata["event_shape"]), np.asarray(metadata["data_mean"])
        if min(event_shape, default=1) < 1 or data_mean.size != math.prod(event_shape):
            raise ValueError(f"{where} is damaged: its data_mean has {data_mean.size} numbers, for {list(event_shape)}")
        model = metadata["config"].get("model")
        if not isinstance(model, dict):
            raise ValueError(f"{where} is damaged: its config has no model")
        try:
            vae = build_vae(model, event_shape=event_shape, data_mean=data_mean.reshape(event_shape))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} holds a model that cannot be built: {error}") from error
        params = checkpoints.restore_params(step, jax.eval_shape(vae.init, jax.random.key(0)), average=average)
    return vae, params, FrozenConfigDict(metadata["config"])


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
