"""A run is its config: started twice, or killed and started again, it gives the same bits."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from experiments import train
from experiments.command import signals
from experiments.command.errors import UserError
from experiments.reporting import figures
from experiments.run import build, scores, session
from experiments.run import workdir as workdirs
from experiments.run.metrics import MetricsLog
from tests import commands


def summary(workdir) -> dict:
    return json.loads((workdir / "summary.json").read_text())


def metrics(workdir) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_run_leaves_the_files_that_are_promised(trained):
    present = {path.relative_to(trained).as_posix() for path in trained.rglob("*.png")}
    drawn = ("learning_curves", "reconstructions", "samples", "neighbours", "traversal", "latents", "manifold")
    assert present == {f"figures/{name}.png" for name in drawn}
    assert (trained / "config.json").exists()
    assert list(trained.glob("events.out.tfevents.*"))
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == ["40", "60"]
    train = [line["step"] for line in metrics(trained) if line["split"] == "train"]
    assert train == [10, 20, 30, 40, 50, 60]
    assert [line["step"] for line in metrics(trained) if line["split"] == "validation"] == [30, 60]


def test_the_summary_has_exactly_the_promised_fields(trained):
    written = summary(trained)
    assert list(written) == ["step", "params_sha256", "wall_seconds", "examples_per_second", "test"]
    assert list(written["test"]) == [
        "elbo",
        "elbo_standard_error",
        "nll",
        "nll_standard_error",
        "nll_num_samples",
        "num_examples",
        "bits_per_dimension",
    ]
    np.testing.assert_allclose(written["test"]["bits_per_dimension"], written["test"]["nll"] / 784 / np.log(2))
    assert written["step"] == 60
    assert written["test"]["num_examples"] == 500
    assert written["test"]["nll_num_samples"] == 20
    assert written["examples_per_second"] > 0
    assert written["test"]["elbo"] < -written["test"]["nll"] < 0


def test_without_a_terminal_the_progress_is_plain_lines(trained):
    printed = (trained.parent / "printed").read_text()
    last = [line for line in printed.splitlines() if line.startswith("step 60/60")]
    assert len(last) == 1
    for part in ("loss", "elbo", "kl", "steps/s", "left"):
        assert part in last[0]
    assert "\r" not in printed


class Hurt(NamedTuple):
    """A run that was killed, then told to end, then left to finish."""

    workdir: Path
    told_to_end: subprocess.CompletedProcess[str]
    last_told: int
    saved: int
    resumed: str


@pytest.fixture(scope="module")
def hurt(tmp_path_factory) -> Hurt:
    workdir = tmp_path_factory.mktemp("hurt") / "run"
    arguments = ("train", *commands.SMALL, f"--workdir={workdir}")
    with commands.Started(*arguments) as process:  # SIGKILL ends it
        # The first checkpoint is at step 20; the first validation, at 30, takes seconds to compile.
        commands.wait_until((workdir / "checkpoints" / "20").exists, process)
    with commands.Started(*arguments) as process:
        commands.wait_until(lambda: "resuming" in process.stdout, process)
        process.send_signal(signal.SIGTERM)
        status = process.wait()
        told = subprocess.CompletedProcess(process.args, status, process.stdout, process.stderr)
    assert not (workdir / "summary.json").exists()
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    last_told = metrics(workdir)[-1]["step"]
    return Hurt(workdir, told, last_told, saved, commands.train(workdir, *commands.SMALL))


def test_a_run_that_is_told_to_end_saves_what_it_told_of_and_ends_with_143(hurt):
    assert hurt.told_to_end.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in hurt.told_to_end.stderr
    assert 20 <= hurt.last_told <= hurt.saved


def test_a_hurt_run_resumes_to_the_bits_of_the_uninterrupted_one(trained, hurt):
    """In other processes, in another folder."""
    assert f"from step {hurt.saved}\n" in hurt.resumed
    assert summary(hurt.workdir)["params_sha256"] == summary(trained)["params_sha256"]
    assert summary(hurt.workdir)["test"] == summary(trained)["test"]
    assert metrics(hurt.workdir) == metrics(trained)


def test_a_finished_run_prints_its_summary_and_changes_nothing(trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    printed = commands.call("train", *commands.SMALL, f"--workdir={trained}", "--stuck_after=0")
    assert summary(trained)["params_sha256"] in printed
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_a_checkpoint_of_another_model_is_refused(trained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    (other / "summary.json").unlink()
    config = json.loads((other / "config.json").read_text())
    config["model"]["network"] = "mlp(hidden=(17,))"
    (other / "config.json").write_text(json.dumps(config))
    for arguments in (("train", "--stuck_after=0"), ("evaluate",)):
        with pytest.raises(UserError, match=rf"{re.escape(str(other))}/checkpoints/60 does not fit this model"):
            commands.call(*arguments, f"--workdir={other}")


def test_a_run_of_four_devices_is_evaluated_and_resumed_on_one(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *args: None)
    workdir = tmp_path / "run"
    commands.train(workdir, *commands.SMALL, devices=4)
    written = summary(workdir)
    config = workdirs.read_config(workdir)
    experiment = build.build(config, data_dir=None)
    _, params = scores.load_weights(experiment, workdir, checkpoint="latest", weights="average")
    evaluated = scores.test_scores(experiment, params, num_samples=config.evaluation.num_samples)
    np.testing.assert_allclose(evaluated.elbo, written["test"]["elbo"], rtol=1e-5)
    (workdir / "summary.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "60")
    assert "from step 40" in commands.call("train", f"--workdir={workdir}", "--stuck_after=0")
    np.testing.assert_allclose(summary(workdir)["test"]["elbo"], written["test"]["elbo"], rtol=1e-3)


def small(num_steps: int, **changes: str) -> tuple:
    """A config of so many steps, and what it builds."""
    tiny = {
        "model.latent_dim": "2",
        "model.network": "mlp(hidden=(2,))",
        "training.schedule": "constant",
        "training.num_steps": str(num_steps),
        "training.log_every": "10",
        "training.eval_every": "10",
        "training.checkpoint_every": "10",
        "evaluation.num_examples": "20",
        **changes,
    }
    config = train.parse(["train", *(f"--config.{name}={value}" for name, value in tiny.items())])
    return config, build.build(config, data_dir=None)


def train_small(folder, num_steps: int) -> session.Trained:
    config, experiment = small(num_steps)
    with workdirs.claimed(folder, config, experiment.fingerprint) as place, contextlib.ExitStack() as closing:
        return session.train(config, experiment, folder, place, closing=closing)


def test_a_run_that_is_given_more_steps_comes_to_the_bits_of_one_that_had_them(tmp_path):
    train_small(tmp_path / "grown", 20)
    grown, whole = train_small(tmp_path / "grown", 30), train_small(tmp_path / "whole", 30)
    for part in ("params", "opt_state", "average"):
        leaves = (jax.tree.leaves(getattr(run.state, part)) for run in (grown, whole))
        for mine, other in zip(*leaves, strict=True):
            np.testing.assert_array_equal(mine, other)
    assert metrics(tmp_path / "grown") == metrics(tmp_path / "whole")


@pytest.mark.parametrize("during", ["steps", "validation"])
def test_a_signal_between_checkpoints_saves_every_step_that_was_told_of(tmp_path, monkeypatch, during):
    told, noted = [], []
    monkeypatch.setattr(signals, "_noted", noted)
    write, validation = MetricsLog.write, scores.validation_scores

    def writing(log, step, split, values):
        write(log, step, split, values)
        told.append(step)
        if during == "steps":
            noted.append(signal.SIGTERM)

    def validating(experiment, params):
        noted.append(signal.SIGTERM)
        return validation(experiment, params)

    monkeypatch.setattr(MetricsLog, "write", writing)
    if during == "validation":
        monkeypatch.setattr(scores, "validation_scores", validating)
    config, experiment = small(
        40, **{"training.eval_every": "20" if during == "validation" else "40", "training.checkpoint_every": "40"}
    )
    with (
        workdirs.claimed(tmp_path / "run", config, experiment.fingerprint) as place,
        contextlib.ExitStack() as closing,
        pytest.raises(signals.Interrupted, match="SIGTERM"),
    ):
        session.train(config, experiment, tmp_path / "run", place, closing=closing)
    (saved,) = (int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert 0 < told[-1] <= saved < 40


@pytest.mark.parametrize("at", [10, 20])
def test_a_run_whose_folder_is_moved_ends_and_makes_no_other(tmp_path, monkeypatch, at):
    """Before its first checkpoint, or after it; no save is going on, whose threads in Orbax would complain."""
    validation, steps = scores.validation_scores, iter(range(10, 40, 10))

    def moving(experiment, params):
        found = validation(experiment, params)
        if next(steps) == at:
            deadline = time.monotonic() + 60
            while at == 20 and not (tmp_path / "run" / "checkpoints" / "10").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            (tmp_path / "run").rename(tmp_path / "moved")
        return found

    monkeypatch.setattr(scores, "validation_scores", moving)
    with pytest.raises(UserError, match=r"run was moved, deleted or replaced"):
        train_small(tmp_path / "run", 30)
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    assert (tmp_path / "moved" / "checkpoints" / "10").exists() == (at == 20)
