"""The part of a run that one command does: from the newest checkpoint to the end, or to a signal."""

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax import parallel, runs, training

from ..command import signals, watchdog
from ..command.errors import UserError, user_errors
from ..command.flags import fields
from . import build, nonfinite, scores, workdir
from .config import Config
from .metrics import MetricsLog, NoLog, open_log
from .patience import Patience
from .profile import Profile
from .progress import Progress
from .steps import RunSteps

# What a run stores with its checkpoints for its own resumption.
_FIELDS = {"examples_per_second": float | None, "skipped_steps": list[int] | None, "patience": dict | None}


class Trained(NamedTuple):
    """A run at its end.

    Attributes:
      state: what is evaluated: with `training.patience` the state of the best validation ELBO, else the last one.
      log: its metrics.
      examples_per_second: how fast it was.
      stopped_at: its last step.
      stopped_early: whether its patience was at an end there.
    """

    state: training.TrainState
    log: MetricsLog | NoLog
    examples_per_second: float | None
    stopped_at: int
    stopped_early: bool


def train(
    config: Config,
    experiment: build.Experiment,
    folder: Path,
    place: workdir.Place,
    *,
    closing: contextlib.ExitStack,
    track: str = "tensorboard",
    profile: bool = False,
) -> Trained:
    """Returns the run of a folder at its end, trained from its newest checkpoint, if there is one.

    Args:
      config: of the run.
      experiment: what it builds.
      folder: of the run.
      place: the same folder, as it is now.
      closing: what closes the run's log, which shows its results too.
      track: the trackers, as `MetricsLog` takes them.
      profile: whether to write a trace of some steps.

    Raises:
      UserError: where a save fails, the folder (`place`) is moved or deleted, the loss or a gradient is not finite, or
        the checkpoint to be evaluated is damaged.
      Interrupted: after a signal, when the state is saved.
    """
    options = config.training
    steps = RunSteps(config, experiment)
    run_id = workdir.read_stored(folder).run_id
    with training.Checkpoints(folder / workdir.CHECKPOINTS, run_id=run_id, is_there=place.is_there) as checkpoints:
        with user_errors():
            first = checkpoints.newest_good(_warn, set_aside=True) or 0
            stored = checkpoints.metadata(first, **_FIELDS) if first else dict.fromkeys(_FIELDS)
            state = steps.state_at(first, checkpoints)
        if first and parallel.is_first_process():
            print(f"resuming {folder} from step {first}", flush=True)
        throughput = training.Throughput()
        speed = lambda: throughput.examples_per_second or stored["examples_per_second"]
        skips = nonfinite.Skips(options.max_skipped, stored["skipped_steps"] or [])
        patience = Patience(**(stored["patience"] or {}))
        is_spent = lambda: options.patience is not None and patience.since >= options.patience
        of_fields = {name: value for name, _, value in fields(config)}
        log = closing.enter_context(open_log(folder, step=first, track=track, config=of_fields, run_id=run_id))
        with (
            Progress(num_steps=options.num_steps, step=first) as progress,
            Profile(folder / workdir.PROFILE if profile and parallel.is_first_process() else None) as profiled,
        ):

            def on_metrics(step: int, metrics: dict[str, np.ndarray]) -> None:
                watchdog.progress()
                place.check()
                profiled.chunk_ended()
                values = {name: float(np.mean(metric, dtype=np.float64)) for name, metric in metrics.items()}
                values["elbo"] = values["reconstruction"] - values["kl"]
                progress.update(step, values)
                log.write(step, "train", values)

            elbos: dict[int, float] = {}  # of the validation split, by step

            def save(state: training.TrainState) -> None:
                described = {**steps.metadata, "examples_per_second": speed(), "skipped_steps": skips.steps}
                if options.patience is not None:
                    described["patience"] = patience._asdict()
                place.check()
                with user_errors():
                    score = elbos.get(int(state.step))
                    checkpoints.save(state, described, constants=steps.constants, score=score)

            def validate(step: int, state: training.TrainState) -> None:
                nonlocal patience
                values = scores.validation_scores(experiment, scores.evaluated_params(state))
                place.check()
                log.write(step, "validation", values)
                elbos[step] = values["elbo"]
                patience = patience.after(step, elbos[step])

            def on_pause(step: int, state: training.TrainState) -> bool:
                last = step == options.num_steps
                try:
                    if last or step % options.eval_every == 0:
                        validate(step, state)
                except signals.Interrupted:
                    save(state)
                    raise
                is_best = options.patience is not None and step == patience.best_step
                if last or is_best or step % options.checkpoint_every == 0:
                    save(state)
                return is_spent()

            evaluated = first % options.eval_every == 0 or first == options.num_steps
            if first and evaluated and stored["score"] is None:
                validate(first, state)  # an interruption came before it
                save(state)
            try:
                state = steps.train(
                    state,
                    num_steps=first if is_spent() else options.num_steps,
                    throughput=throughput,
                    on_metrics=on_metrics,
                    on_pause=on_pause,
                    on_nonfinite=skips.skip,
                    interrupted=signals.noted,
                )
            except training.NonFiniteError as error:
                with user_errors():
                    checkpoints.wait()
                    before = checkpoints.newest_good(_warn) or 0
                    state = steps.state_at(before, checkpoints)
                raise _explain(error, steps, state, folder) from error
            stopped_at = int(state.step)
            if stopped_at < options.num_steps:
                save(state)
                with user_errors():
                    checkpoints.wait()
                signals.check()
        with user_errors():
            checkpoints.wait()
            if options.patience is not None and patience.best_step not in (None, stopped_at):
                parallel.wait_for_all("best")  # the first process gives a checkpoint its name
                state = steps.state_at(runs.choose(checkpoints, patience.best_step), checkpoints)
    if options.patience is not None and parallel.is_first_process():
        why = f": its last {patience.since} evaluations gave no better validation ELBO" if is_spent() else ""
        print(f"training stopped at step {stopped_at} of {options.num_steps}{why}", flush=True)
    return Trained(state, log, speed(), stopped_at, is_spent())


def _explain(error: training.NonFiniteError, steps: RunSteps, state: training.TrainState, folder: Path) -> UserError:
    """Computes the parameters before the step again, from an earlier state, and writes what reproduces it."""
    state = steps.train(
        state,
        num_steps=error.step,
        throughput=training.Throughput(),
        on_metrics=lambda step, metrics: watchdog.progress(),
        on_pause=lambda step, state: None,
        on_nonfinite=lambda error: None,
        interrupted=signals.noted,
    )
    if int(state.step) < error.step:
        signals.check()
    params = parallel.whole(state.params)
    path = folder / f"nonfinite_{error.step}.npz"
    if parallel.is_first_process():
        steps.write_repro(path, error, params)
        own = [module for _, module in runs.named_modules(steps.metadata["config"])]
        again = nonfinite.replay(path, trusted=own)
        recurs = not np.isfinite([again.loss, again.gradient_norm]).all()
    else:
        recurs = True
    says = "it recurs" if recurs else "it does NOT recur, which points at the machine"
    return UserError(
        f"training stopped: {error}. {path} holds the step, and computed again from there {says} "
        "(experiments.run.nonfinite.replay). The last checkpoint is kept; try a lower training.learning_rate or a "
        "training.clip_norm in a new --workdir"
    )


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)
