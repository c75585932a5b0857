"""The figures that a run is judged by."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax import evaluation, runs, training
from vae_jax.data import Split

from . import setup
from .config import Config

# Samples per validation image: enough that their noise is small beside the differences between images.
_VALIDATION_SAMPLES = 10


def evaluated_weights(config: Config) -> str:
    """What is evaluated: the weight "average" where the run keeps one, else the "params"."""
    return "params" if config.training.average_decay is None else "average"


def evaluated_params(state: training.TrainState) -> Any:
    """Those weights of a state."""
    return state.params if state.average is None else state.average


def load_evaluated(config: Config, experiment: setup.Experiment, folder: Path) -> tuple[int, Any]:
    """(step, those weights) of a run's newest checkpoint.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it holds another model.
    """
    template = jax.eval_shape(experiment.vae.init, jax.random.key(0))
    with training.Checkpoints(runs.checkpoint_folder(folder), keep=None, create=False) as checkpoints:
        step = runs.newest(checkpoints)
        average = evaluated_weights(config) == "average"
        return step, checkpoints.restore_params(step, template, average=average)


def validation_scores(experiment: setup.Experiment, params: Any) -> dict[str, float]:
    """The ELBO of the validation split and its standard error, with the same noise at every call."""
    scores = _scores(experiment, params, experiment.dataset.validation, setup.VALIDATION, _VALIDATION_SAMPLES)
    return {"elbo": scores.elbo, "elbo_standard_error": scores.elbo_standard_error}


def test_scores(experiment: setup.Experiment, params: Any, *, num_samples: int) -> evaluation.DatasetEvidence:
    """ELBO and importance-sampled negative log-likelihood of the test split, with standard errors."""
    return _scores(experiment, params, experiment.dataset.test, setup.TEST, num_samples)


def params_sha256(params: Any) -> str:
    """SHA-256 of the parameters' bytes, leaf by leaf in `tree_flatten_with_path` order."""
    digest = hashlib.sha256()
    for _, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _scores(
    experiment: setup.Experiment, params: Any, split: Split, purpose: int, num_samples: int
) -> evaluation.DatasetEvidence:
    images = split.images
    keys = jax.random.split(setup.purpose_key(experiment.key, purpose), len(images))
    keys, xs = experiment.observe(keys, images)
    estimate = evaluation.log_evidence(params, keys, xs, vae=experiment.vae, num_samples=num_samples)
    return evaluation.dataset_evidence(estimate, num_samples=num_samples)
