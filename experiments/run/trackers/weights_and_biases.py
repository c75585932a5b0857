"""Weights & Biases."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tracker import Tracked


def wandb(of: Tracked, project: str) -> "WeightsAndBiases":
    """Returns the tracker that logs to a project of Weights & Biases, with the extra `wandb`; a run that is resumed
    goes on with its own run there."""
    return WeightsAndBiases(of, project)


class WeightsAndBiases:
    """A run there, named after the workdir."""

    def __init__(self, of: Tracked, project: str) -> None:
        self._module = imported()
        options = {"project": project, "name": of.folder.name, "dir": str(of.folder), "config": dict(of.config)}
        self._run = self._module.init(**options, id=of.run_id, resume="allow")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        self._run.log({name: self._module.Image(str(path)) for name, path in pictures.items()}, step=step)

    def hyper_parameters(self, config: Mapping[str, Any], results: Mapping[str, float]) -> None:
        self._run.summary.update(dict(results))  # its config it has from the start

    def close(self) -> None:
        self._run.finish()


def imported() -> Any:
    """Returns the optional package; raises `ValueError` naming the extra where it is not installed."""
    try:
        return importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        raise ValueError("--track=wandb(…) needs the package wandb: pip install 'vae_jax[wandb]'") from error
