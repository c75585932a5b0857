"""What a run computes with, from its config."""

import functools
from pathlib import Path
from typing import Any

import jax

from vae_jax import parallel, training

from . import build, nonfinite, objective, scores
from .config import Config, to_dict


class RunSteps:
    """The steps of a config over all devices, its states, and the data where the steps take them from."""

    def __init__(self, config: Config, experiment: build.Experiment) -> None:
        options, self._backend = config.training, config.parallel.backend
        self._config, self._experiment = config, experiment
        self._mesh = parallel.data_mesh()
        self._examples = experiment.dataset.train.examples
        self._streamed = experiment.dataset.train.is_streamed
        if not self._streamed:
            self._examples = parallel.replicate(self._examples, self._mesh)
        self._key = parallel.replicate(build.purpose_key(experiment.key, build.TRAINING), self._mesh)
        self._optimizer = build.make_optimizer(options)
        steps = functools.partial(
            training.train_batches if self._streamed else training.train_steps,
            loss_fn=objective.make_loss(
                config, experiment.vae, experiment.view, axis_name=parallel.axis_name(self._backend)
            ),
            optimizer=self._optimizer,
            average_decay=options.average_decay,
            microbatches=options.microbatches,
            skip_nonfinite=options.max_skipped > 0,
        )
        self._steps = parallel.data_parallel(
            steps,
            mesh=self._mesh,
            backend=self._backend,
            batched=self._streamed,
            shard_params=config.parallel.shard_params,
        )
        self.metadata = {
            "config": to_dict(config),
            "contents": experiment.dataset.contents.to_json(),
        }
        self.constants = experiment.fitted.to_arrays()

    def state_at(self, step: int, checkpoints: training.Checkpoints) -> training.TrainState:
        """That of a checkpoint; at step 0 that of a run that has not begun."""
        spread = self._config.parallel.shard_params
        if step:
            shapes = jax.eval_shape(lambda: self._begin(self._draw()))
            return checkpoints.restore(step, parallel.shapes(shapes, self._mesh, shard_params=spread))
        source = self._config.init_from
        params = self._draw() if source is None else scores.load_params(Path(source), self._experiment.vae)
        return (parallel.shard if spread else parallel.replicate)(self._begin(params), self._mesh)

    def _draw(self) -> Any:
        return self._experiment.vae.init(build.purpose_key(self._experiment.key, build.INIT))

    def _begin(self, params: Any) -> training.TrainState:
        average = self._config.training.average_decay is not None
        return training.init_state(params, self._optimizer, average=average)

    def write_repro(self, path: Path, error: training.NonFiniteError, params: Any) -> None:
        """What the step of an error was given, and the parameters before it."""
        stored = self._experiment.dataset.train.rows(error.rows)
        _, noise_key = training.run_keys(build.purpose_key(self._experiment.key, build.TRAINING))
        nonfinite.write_repro(
            path,
            error,
            params=params,
            noise_key=noise_key,
            stored=stored,
            constants=self.constants,
            metadata=self.metadata,
        )

    def train(self, state: training.TrainState, *, num_steps: int, **told: Any) -> training.TrainState:
        """`training.run` of this run; `told` are its callbacks."""
        options = self._config.training
        return training.run(
            state,
            self._key,
            self._examples,
            steps=self._steps,
            num_steps=num_steps,
            batch_size=options.batch_size,
            pauses=(options.log_every, options.eval_every, options.checkpoint_every),
            **told,
        )
