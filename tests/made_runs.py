"""Runs as `train` leaves them, without the training: parameters at random."""

from pathlib import Path

import jax
import numpy as np
import optax

from experiments.run import build
from experiments.run.config import Config, to_dict
from experiments.run.workdir import claimed, read_stored
from vae_jax import training


def make(workdir: Path, config: Config) -> build.Experiment:
    """Makes the folder of a run of a config, at step 10, and returns what the config builds."""
    experiment = build.build(config, data_dir=None)
    with claimed(workdir, experiment.config, experiment.fingerprint):
        pass
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(experiment.vae.init, experiment.key)
    params = jax.tree.map(lambda leaf: np.asarray(0.2 * rng.normal(size=leaf.shape), leaf.dtype), shapes)
    state = training.init_state(params, optax.adam(0.1), average=config.training.average_decay is not None)
    metadata = {"config": to_dict(experiment.config), "contents": experiment.dataset.contents.to_json()}
    with training.Checkpoints(workdir / "checkpoints", run_id=read_stored(workdir).run_id) as checkpoints:
        step = np.asarray(10, np.int32)
        checkpoints.save(state._replace(step=step), metadata, constants=experiment.fitted.to_arrays())
    return experiment
