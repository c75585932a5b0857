"""A finished run as (vae, params, config)."""

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
from .training import Checkpoints


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
    network, center_input, data_bias = (options.pop(name) for name in ("network", "center_input", "data_bias"))
    check_name(network, "network", NETWORKS)
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
    with Checkpoints(checkpoint_folder(workdir)) as checkpoints:
        step = choose(checkpoints, checkpoint)
        metadata = checkpoints.metadata(step)
        event_shape = tuple(metadata["event_shape"])
        data_mean = np.asarray(metadata["data_mean"]).reshape(event_shape)
        vae = build_vae(metadata["config"]["model"], event_shape=event_shape, data_mean=data_mean)
        params = checkpoints.restore_params(step, jax.eval_shape(vae.init, jax.random.key(0)), average=average)
    return vae, params, FrozenConfigDict(metadata["config"])


def checkpoint_folder(workdir: str | Path) -> Path:
    """Where a run keeps its checkpoints; raises `FileNotFoundError` where it has none."""
    folder = Path(workdir) / "checkpoints"
    if not folder.is_dir():
        raise FileNotFoundError(f"{workdir} holds no run: there is no folder {folder}")
    return folder


def choose(checkpoints: Checkpoints, checkpoint: str | int) -> int:
    """The step of a checkpoint as `load` names it, whose files are as they were written.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged.
    """
    if checkpoint == "latest":
        step = checkpoints.newest_good(lambda message: warnings.warn(message, stacklevel=3))
        if step is None:
            raise FileNotFoundError(f"{checkpoints.directory} holds no whole checkpoint")
        return step
    step = checkpoints.best_step() if checkpoint == "best" else _step(checkpoint)
    if step is None:
        raise FileNotFoundError(f"no checkpoint in {checkpoints.directory} has a validation score; use 'latest'")
    if step not in checkpoints.steps():
        raise FileNotFoundError(f"{checkpoints.directory} has no checkpoint {step}, but {checkpoints.steps()}")
    if damages := checkpoints.damages(step):
        raise ValueError(f"the checkpoint {checkpoints.directory / str(step)} is damaged ({'; '.join(damages)})")
    return step


def _step(checkpoint: str | int) -> int:
    if not str(checkpoint).isdigit():
        raise ValueError(f"a checkpoint is 'latest', 'best' or a step, got {checkpoint!r}")
    return int(checkpoint)
