"""Trains a VAE, evaluates it and draws it: `python -m experiments.train --config=… --workdir=…`.

The same command on the same workdir resumes from the newest checkpoint; a finished run prints its summary.
"""

import functools
import json
from pathlib import Path

import jax
import numpy as np
from absl import flags

from vae_jax import data, parallel, training

from . import cli, drawing, scores, setup, workdir
from .config import Config, to_dict
from .metrics import MetricsLog, Progress, import_wandb

_CONFIG = cli.define_config("experiments/configs/digits.py")
_WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "The folder of the run's files.")
_DATA_DIR = cli.define_data_dir()
_PLATFORM = flags.DEFINE_enum("require_platform", None, ["cpu", "gpu", "tpu"], "Fail on any other platform.")
_WANDB = flags.DEFINE_string("wandb_project", None, "Log to this Weights & Biases project too (the extra `wandb`).")
_PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "Print the config as flags, and exit.")


def main() -> None:
    config = cli.checked_config(_CONFIG)
    if _PRINT_CONFIG.value:
        cli.print_config(config)
        return
    with cli.user_errors():
        devices = jax.devices()
    print(f"platform {devices[0].platform}, {len(devices)} device(s): {', '.join(map(str, devices))}", flush=True)
    if _PLATFORM.value not in (None, devices[0].platform):
        raise cli.UserError(f"--require_platform={_PLATFORM.value}, but JAX found {devices[0].platform}")
    if _WANDB.value is not None:
        import_wandb()
    with cli.user_errors():
        experiment = setup.build(config, data_dir=_DATA_DIR.value)
        setup.check(config, experiment, num_devices=len(devices))
    folder = workdir.claim(_WORKDIR.value, config)
    if (folder / workdir.SUMMARY).exists():
        print(json.dumps(workdir.read_json(folder / workdir.SUMMARY), indent=2))
        print(f"{folder} holds a finished run of this config; nothing to do")
        return
    train(config, experiment, folder)


def train(config: Config, experiment: setup.Experiment, folder: Path) -> None:
    """Trains from the newest checkpoint, if there is one, to the end; then evaluates, draws and writes the summary."""
    options, backend = config.training, config.parallel.backend
    optimizer = setup.make_optimizer(options)
    images = experiment.dataset.train.images
    streamed = isinstance(images, data.StreamedImages)
    steps = functools.partial(
        training.train_batches if streamed else training.train_steps,
        loss_fn=setup.make_loss(config, experiment.vae, axis_name=parallel.axis_name(backend)),
        optimizer=optimizer,
        average_decay=options.average_decay,
    )
    mesh = parallel.data_mesh()
    state = training.init_state(
        experiment.vae.init(setup.purpose_key(experiment.key, setup.INIT)),
        optimizer,
        average=options.average_decay is not None,
    )
    state, key = parallel.replicate((state, setup.purpose_key(experiment.key, setup.TRAINING)), mesh)
    if not streamed:
        images = parallel.replicate(images, mesh)
    metadata = {
        "config": to_dict(config),
        "event_shape": experiment.dataset.event_shape,
        "data_mean": experiment.data_mean.ravel().tolist(),
    }
    with training.Checkpoints(folder / workdir.CHECKPOINTS) as checkpoints:
        first, earlier = checkpoints.latest_step() or 0, None
        throughput = training.Throughput()
        speed = lambda: throughput.examples_per_second or earlier
        if first:
            with cli.user_errors():
                state = checkpoints.restore(first, state)
            earlier = checkpoints.metadata(first)["examples_per_second"]
            print(f"resuming {folder} from step {first}", flush=True)
        with (
            MetricsLog(folder, step=first, wandb_project=_WANDB.value, config=to_dict(config)) as log,
            Progress(num_steps=options.num_steps, step=first) as progress,
        ):

            def on_metrics(step: int, metrics: dict[str, np.ndarray]) -> None:
                values = {name: float(np.mean(metric, dtype=np.float64)) for name, metric in metrics.items()}
                values["elbo"] = values["reconstruction"] - values["kl"]
                progress.update(step, values)
                log.write(step, "train", values)

            def on_pause(step: int, state: training.TrainState) -> None:
                last = step == options.num_steps
                if last or step % options.eval_every == 0:
                    params = scores.evaluated_params(state)
                    log.write(step, "validation", scores.validation_scores(experiment, params))
                if last or step % options.checkpoint_every == 0:
                    with cli.user_errors():
                        checkpoints.save(state, {**metadata, "examples_per_second": speed()})

            state = training.run(
                state,
                key,
                images,
                steps=parallel.data_parallel(steps, mesh=mesh, backend=backend, batched=streamed),
                num_steps=options.num_steps,
                batch_size=options.batch_size,
                pauses=(options.log_every, options.eval_every, options.checkpoint_every),
                throughput=throughput,
                on_metrics=on_metrics,
                on_pause=on_pause,
            )
    finish(config, experiment, state, speed(), log, folder)


def finish(
    config: Config,
    experiment: setup.Experiment,
    state: training.TrainState,
    examples_per_second: float | None,
    log: MetricsLog,
    folder: Path,
) -> None:
    """Evaluates on the test set, draws the figures and, last of all, writes summary.json."""
    print(f"evaluating {len(experiment.dataset.test.images)} test images", flush=True)
    params = scores.evaluated_params(state)
    test = scores.test_scores(experiment, params, num_samples=config.evaluation.num_samples)
    drawing.draw(experiment, params, log.lines, folder / workdir.FIGURES)
    summary = {
        "step": int(state.step),
        "params_sha256": scores.params_sha256(state.params),
        "wall_seconds": log.seconds(),
        "examples_per_second": examples_per_second,
        "test": test._asdict(),
    }
    workdir.write_json(folder / workdir.SUMMARY, summary)
    print(json.dumps(summary, indent=2))
    print(f"finished; see {folder / workdir.FIGURES}")


if __name__ == "__main__":
    cli.run(main)
