"""A run with patience stops where its validation ELBO has been no better for so long, and reports the best."""

import contextlib
import json
import math
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from experiments import train
from experiments.command import signals
from experiments.command.errors import UserError
from experiments.reporting import figures
from experiments.run import build, scores, session, workdir
from experiments.run.metrics import MetricsLog
from experiments.run.patience import Patience
from tests import commands
from vae_jax import runs

LIMIT = 3


@pytest.fixture(autouse=True, scope="module")
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda *args: None)
        yield


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """Those of a run that soon fits the noise of few training examples."""
    path = tmp_path_factory.mktemp("noise") / "noise.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    fields = {
        "data.path": path,
        "data.held_out": 0.2,
        "model.latent_dim": 2,
        "model.network": "mlp(hidden=(64,))",
        "training.batch_size": 10,
        "training.num_steps": 300,
        "training.learning_rate": 0.01,
        "training.schedule": "constant",
        "training.warmup_steps": 0,
        "training.log_every": 5,
        "training.eval_every": 10,
        "training.checkpoint_every": 15,
        "training.patience": LIMIT,
        "evaluation.num_samples": 20,
    }
    return [*(f"--config.{name}={value}" for name, value in fields.items()), "--stuck_after=0"]


@pytest.fixture(scope="module")
def stopped(flags, tmp_path_factory) -> Path:
    """The folder of that run: who wants to hurt it copies it."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    commands.call("train", *flags, f"--workdir={folder}")
    return folder


@pytest.fixture(scope="module")
def short(stopped, flags, tmp_path_factory) -> Path:
    """The folder of a run whose last step is the evaluation after its best."""
    folder = tmp_path_factory.mktemp("short") / "run"
    last = summary(stopped)["step"] + 10
    commands.call("train", *flags, f"--config.training.num_steps={last}", f"--workdir={folder}")
    return folder


def summary(folder: Path) -> dict:
    """Returns that of a run, but for the time that it took."""
    written = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in written.items() if name not in ("wall_seconds", "examples_per_second")}


def lines(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def validation(folder: Path) -> tuple[list[int], list[float]]:
    """Returns the steps of the evaluations and their ELBOs."""
    found = [(line["step"], line["elbo"]) for line in lines(folder) if line["split"] == "validation"]
    return [step for step, _ in found], [elbo for _, elbo in found]


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def test_the_count_is_of_evaluations_in_a_row_that_do_not_exceed_the_best_before_them():
    rng = np.random.default_rng(0)
    for _ in range(200):
        elbos = rng.choice([-3.0, -2.0, -1.0, math.nan, math.inf, -math.inf], size=12)
        patience = Patience()
        for number, elbo in enumerate(elbos, start=1):
            patience = patience.after(10 * number, float(elbo))
            so_far = np.where(np.isfinite(elbos[:number]), elbos[:number], -np.inf)
            best = so_far.max()
            records = [at for at in range(number) if so_far[at] > max(so_far[:at], default=-np.inf)]
            assert patience.since == number - 1 - records[-1] if records else patience.since == number
            newest = max(np.flatnonzero(so_far == best)) + 1 if records else None
            assert patience.best_step == (None if newest is None else 10 * newest)
            assert patience.best_elbo == (None if newest is None else best)


def test_an_evaluation_that_is_repeated_is_counted_once():
    patience = Patience().after(10, -1.0).after(20, -2.0)
    assert patience.after(20, -2.0).since == 1


def test_training_stops_at_the_first_evaluation_at_which_so_many_in_a_row_were_no_better(stopped):
    steps, elbos = validation(stopped)
    ends = range(LIMIT + 1, len(elbos) + 1)
    first = next(end for end in ends if max(elbos[end - LIMIT : end]) <= max(elbos[: end - LIMIT]))
    assert steps == list(range(10, 10 * first + 1, 10))
    assert summary(stopped)["stopped_at"] == steps[-1] == lines(stopped)[-1]["step"] < 300
    assert summary(stopped)["stopped_early"]


def test_the_summary_is_of_the_step_of_the_best_validation_elbo(stopped):
    steps, elbos = validation(stopped)
    assert summary(stopped)["step"] == steps[int(np.argmax(elbos))] != steps[-1]


def test_the_test_figures_are_those_of_the_best_checkpoint(stopped):
    _, params, _ = runs.load(stopped, checkpoint="best", average=True)
    config, experiment = workdir.load(stopped, data_dir=None, data_path=None)
    evaluated = scores.test_scores(experiment, params, num_samples=config.evaluation.num_samples)
    assert summary(stopped)["test"]["elbo"] == evaluated.elbo


@pytest.mark.parametrize("named", [{}, {"checkpoint": "best"}])
def test_a_run_with_patience_is_loaded_as_it_is_reported(stopped, named):
    assert scores.params_sha256(runs.load(stopped, **named)[1]) == summary(stopped)["params_sha256"]


def test_a_run_begins_with_the_parameters_that_another_with_patience_reports(stopped):
    _, experiment = workdir.load(stopped, data_dir=None, data_path=None)
    assert scores.params_sha256(scores.load_params(stopped, experiment.vae)) == summary(stopped)["params_sha256"]


def test_a_run_with_patience_is_evaluated_as_it_is_reported(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    commands.call("evaluate", f"--workdir={tmp_path / 'run'}", "--num_samples=2", *commands.NO_CHAINS)
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["step"] == summary(stopped)["step"]


def test_the_same_command_prints_the_summary_and_changes_nothing(stopped, flags):
    """So does one for more steps."""
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    for more in ((), ("--config.training.num_steps=400",)):
        printed = commands.call("train", *flags, *more, f"--workdir={stopped}")
        assert f"which training.patience stopped at step {summary(stopped)['stopped_at']}; nothing to do" in printed
        assert summary(stopped)["params_sha256"] in printed
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before


def interrupted(arguments: list[str], monkeypatch, *, at: str) -> None:
    """A run that SIGTERM ends at its next evaluation: while it is computed, or when it is "written"."""
    noted: list[int] = []
    write, compute = MetricsLog.write, scores.validation_scores

    def writing(log, step, split, values):
        write(log, step, split, values)
        noted.extend([signal.SIGTERM] * (at == "written" and split == "validation"))

    def computing(experiment, params):
        noted.extend([signal.SIGTERM] * (at == "computed"))
        return compute(experiment, params)

    with monkeypatch.context() as patch:
        patch.setattr(signals, "_noted", noted)
        patch.setattr(MetricsLog, "write", writing)
        patch.setattr(scores, "validation_scores", computing)
        with pytest.raises(signals.Interrupted, match="SIGTERM"):
            commands.call("train", *arguments)


def test_a_run_that_is_killed_and_interrupted_stops_and_reports_as_the_uninterrupted_one(
    stopped, flags, tmp_path, monkeypatch
):
    """Killed after its best evaluation; interrupted in the next, and after that and each later one, the last of which
    ends its patience."""
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    (folder / "summary.json").unlink()
    best = summary(stopped)["step"]
    for step in checkpoints(folder):
        if step > best:
            shutil.rmtree(folder / "checkpoints" / str(step))
    arguments = [*flags, f"--workdir={folder}"]
    for at in ("computed", "written", "written", "written"):
        interrupted(arguments, monkeypatch, at=at)
    assert checkpoints(folder)[-1] == summary(stopped)["stopped_at"]
    commands.call("train", *arguments)
    assert summary(folder) == summary(stopped)
    assert lines(folder) == lines(stopped)


def test_a_run_that_reaches_its_last_step_reports_the_best(stopped, short):
    best, written = summary(stopped)["step"], summary(short)
    assert (written["step"], written["stopped_at"], written["stopped_early"]) == (best, best + 10, False)
    assert written["params_sha256"] == summary(stopped)["params_sha256"]


def test_a_run_that_reached_its_last_step_is_finished(short, flags):
    last = summary(short)["stopped_at"]
    printed = commands.call("train", *flags, f"--config.training.num_steps={last}", f"--workdir={short}")
    assert "a finished run of this config; nothing to do" in printed


def test_a_run_that_is_given_more_steps_goes_on_with_its_patience(stopped, short, flags, tmp_path):
    shutil.copytree(short, tmp_path / "run")
    commands.call("train", *flags, f"--workdir={tmp_path / 'run'}")
    assert summary(tmp_path / "run") == summary(stopped)


def test_evaluations_that_are_no_numbers_end_a_run_at_its_last_parameters(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scores, "validation_scores", lambda experiment, params: {"elbo": math.nan})
    config = train.parse(["train", *flags])
    experiment = build.build(config, data_dir=None)
    with workdir.claimed(tmp_path, config, experiment.fingerprint) as place, contextlib.ExitStack() as closing:
        trained = session.train(config, experiment, tmp_path, place, closing=closing)
    assert int(trained.state.step) == trained.stopped_at == 10 * LIMIT
    told = f"training stopped at step {10 * LIMIT} of 300: its last {LIMIT} evaluations gave no better validation ELBO"
    assert told in capsys.readouterr().out


def test_patience_of_no_evaluation_is_refused():
    with pytest.raises(UserError, match=r"training\.patience must be at least 1, got 0"):
        train.parse(["train", "--config.training.patience=0"])
