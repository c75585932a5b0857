"""A finished run as (vae, params, config)."""

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


def load(workdir: str | Path, *, average: bool = False) -> tuple[VAE, Params, FrozenConfigDict]:
    """The model of a run of `experiments.train`, its parameters at the latest checkpoint, and its config.

    The parameters are the raw ones. A run that keeps a weight average reports the figures of that: `average=True`.

    Raises:
      FileNotFoundError: where there is no checkpoint.
      ValueError: where the checkpoint does not fit the code.
    """
    with Checkpoints(checkpoint_folder(workdir), keep=None, create=False) as checkpoints:
        step = newest(checkpoints)
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


def newest(checkpoints: Checkpoints) -> int:
    """The step of the newest checkpoint; raises `FileNotFoundError` where there is none."""
    step = checkpoints.latest_step()
    if step is None:
        raise FileNotFoundError(f"{checkpoints.directory} holds no whole checkpoint")
    return step
