"""Trains a VAE, evaluates it and draws it: `python -m experiments.train --config=… --workdir=…`.

The same command on the same workdir resumes from the newest checkpoint; a finished run prints its summary. SIGTERM and
SIGINT end it within a chunk of steps, saved, with status 143 or 130.
"""

import contextlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags

from vae_jax import parallel, training

from . import cli, drawing, interruption, nonfinite, scores, setup, watchdog, workdir
from .config import Config, to_dict
from .metrics import MetricsLog, NoLog, Progress, import_wandb, open_log
from .run import Run

_CONFIG = cli.define_config("experiments/configs/digits.py")
_WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "The folder of the run's files.")
_DATA_DIR = cli.define_data_dir()
_PLATFORM = flags.DEFINE_enum("require_platform", None, ["cpu", "gpu", "tpu"], "Fail on any other platform.")
_INIT_FROM = flags.DEFINE_string("init_from", None, "Short for --config.init_from: a run to take parameters from.")
_STUCK_AFTER = flags.DEFINE_float("stuck_after", 900, "Seconds without progress that end the process; 0: never.")
_WANDB = flags.DEFINE_string("wandb_project", None, "Log to this Weights & Biases project too (the extra `wandb`).")
_PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "Print the config as flags, and exit.")


def main() -> None:
    config = cli.checked_config(_CONFIG)
    if _INIT_FROM.value is not None:
        config.init_from = _INIT_FROM.value
    if _PRINT_CONFIG.value:
        cli.print_config(config)
        return
    with cli.user_errors():
        devices = jax.devices()
    first = parallel.is_first_process()
    if first:
        several = f" of {parallel.num_processes()} processes" if parallel.num_processes() > 1 else ""
        named = ", ".join(map(str, devices))
        print(f"platform {devices[0].platform}, {len(devices)} device(s){several}: {named}", flush=True)
    if _PLATFORM.value not in (None, devices[0].platform):
        raise cli.UserError(f"--require_platform={_PLATFORM.value}, but JAX found {devices[0].platform}")
    if _WANDB.value is not None:
        import_wandb()
    with cli.user_errors():
        experiment = setup.build(config, data_dir=_DATA_DIR.value)
        setup.check(config, experiment, num_devices=len(devices))
        folder = Path(_WORKDIR.value)
        if config.init_from is not None and not (folder / workdir.CONFIG).exists():
            scores.load_params(Path(config.init_from), experiment.vae)  # before anything is written
    if _STUCK_AFTER.value > 0:
        watchdog.start(_STUCK_AFTER.value)
    if first:
        workdir.claim(_WORKDIR.value, config)
    parallel.wait_for_all("claimed")
    if (folder / workdir.SUMMARY).exists():
        if first:
            print(json.dumps(workdir.read_json(folder / workdir.SUMMARY), indent=2))
            print(f"{folder} holds a finished run of this config; nothing to do")
        return
    with workdir.locked(folder) if first else contextlib.nullcontext(), interruption.deferred():
        train(config, experiment, folder)


def train(config: Config, experiment: setup.Experiment, folder: Path) -> None:
    """Trains from the newest checkpoint, if there is one, to the end; then evaluates, draws and writes the summary."""
    options = config.training
    run = Run(config, experiment)
    with training.Checkpoints(folder / workdir.CHECKPOINTS) as checkpoints:
        with cli.user_errors():
            first = checkpoints.newest_good(_warn, set_aside=True) or 0
            stored = checkpoints.metadata(first) if first else {}
            state = run.state_at(first, checkpoints)
        if first and parallel.is_first_process():
            print(f"resuming {folder} from step {first}", flush=True)
        throughput = training.Throughput()
        speed = lambda: throughput.examples_per_second or stored.get("examples_per_second")
        skips = nonfinite.Skips(options.max_skipped, stored.get("skipped_steps", []))
        with (
            open_log(folder, step=first, wandb_project=_WANDB.value, config=to_dict(config)) as log,
            Progress(num_steps=options.num_steps, step=first) as progress,
        ):

            def on_metrics(step: int, metrics: dict[str, np.ndarray]) -> None:
                watchdog.progress()
                values = {name: float(np.mean(metric, dtype=np.float64)) for name, metric in metrics.items()}
                values["elbo"] = values["reconstruction"] - values["kl"]
                progress.update(step, values)
                log.write(step, "train", values)

            elbos: dict[int, float] = {}  # of the validation split, by step

            def save(state: training.TrainState) -> None:
                described = {**run.metadata, "examples_per_second": speed(), "skipped_steps": skips.steps}
                with cli.user_errors():
                    checkpoints.save(state, described, score=elbos.get(int(state.step)))

            def validate(step: int, state: training.TrainState) -> None:
                values = scores.validation_scores(experiment, scores.evaluated_params(state))
                log.write(step, "validation", values)
                elbos[step] = values["elbo"]

            def on_pause(step: int, state: training.TrainState) -> None:
                last = step == options.num_steps
                try:
                    if last or step % options.eval_every == 0:
                        validate(step, state)
                except interruption.Interrupted:
                    save(state)
                    raise
                if last or step % options.checkpoint_every == 0:
                    save(state)

            evaluated = first % options.eval_every == 0 or first == options.num_steps
            if first and evaluated and stored["score"] is None:
                validate(first, state)  # an interruption came before it
                save(state)
            try:
                state = run.train(
                    state,
                    num_steps=options.num_steps,
                    throughput=throughput,
                    on_metrics=on_metrics,
                    on_pause=on_pause,
                    on_nonfinite=skips.skip,
                    interrupted=interruption.noted,
                )
            except training.NonFiniteError as error:
                with cli.user_errors():
                    checkpoints.wait()
                    before = checkpoints.newest_good(_warn) or 0
                    state = run.state_at(before, checkpoints)
                raise _explain(error, run, state, folder) from error
            if int(state.step) < options.num_steps:
                save(state)
                with cli.user_errors():
                    checkpoints.wait()
                interruption.check()
        with cli.user_errors():
            checkpoints.wait()
    finish(config, experiment, state, speed(), log, folder)


def _explain(error: training.NonFiniteError, run: Run, state: training.TrainState, folder: Path) -> cli.UserError:
    """Computes the parameters before the step again, from an earlier state, and writes what reproduces it."""
    state = run.train(
        state,
        num_steps=error.step,
        throughput=training.Throughput(),
        on_metrics=lambda step, metrics: watchdog.progress(),
        on_pause=lambda step, state: None,
        on_nonfinite=lambda error: None,
        interrupted=interruption.noted,
    )
    if int(state.step) < error.step:
        interruption.check()
    params = parallel.whole(state.params)
    path = folder / f"nonfinite_{error.step}.npz"
    if parallel.is_first_process():
        run.write_repro(path, error, params)
        again = nonfinite.replay(path)
        recurs = not np.isfinite([again.loss, again.gradient_norm]).all()
    else:
        recurs = True
    says = "it recurs" if recurs else "it does NOT recur, which points at the machine"
    return cli.UserError(
        f"training stopped: {error}. {path} holds the step, and computed again from there {says} "
        "(experiments.nonfinite.replay). The last checkpoint is kept; try a lower training.learning_rate or a "
        "training.clip_norm in a new --workdir"
    )


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


def finish(
    config: Config,
    experiment: setup.Experiment,
    state: training.TrainState,
    examples_per_second: float | None,
    log: MetricsLog | NoLog,
    folder: Path,
) -> None:
    """Evaluates on the test set, draws the figures and, last of all, writes summary.json."""
    first = parallel.is_first_process()
    if first:
        print(f"evaluating {len(experiment.dataset.test.images)} test images", flush=True)
    params = parallel.whole(scores.evaluated_params(state))
    test = scores.test_scores(experiment, params, num_samples=config.evaluation.num_samples)
    interruption.check()
    raw = parallel.whole(state.params)
    if isinstance(log, NoLog):
        return
    drawing.draw(experiment, params, log.lines, folder / workdir.FIGURES)
    summary = {
        "step": int(state.step),
        "params_sha256": scores.params_sha256(raw),
        "wall_seconds": log.seconds(),
        "examples_per_second": examples_per_second,
        "test": test._asdict(),
    }
    workdir.write_json(folder / workdir.SUMMARY, summary)
    print(json.dumps(summary, indent=2))
    print(f"finished; see {folder / workdir.FIGURES}")


if __name__ == "__main__":
    cli.run(main, several_processes=True)
