"""A run is its config: started twice, or killed and started again, it gives the same bits."""

import json
import shutil
import subprocess
import time

import jax
import numpy as np
import pytest

from experiments import train
from experiments.command.errors import UserError
from experiments.run import build, scores, session
from experiments.run import workdir as workdirs
from tests import commands
from tests.test_bad_input import check_refused


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and output of one run from start to end."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    result = commands.run("train", *commands.SMALL, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    return workdir, result


def summary(workdir) -> dict:
    return json.loads((workdir / "summary.json").read_text())


def metrics(workdir) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_run_leaves_the_files_that_are_promised(finished):
    workdir, _ = finished
    present = {path.relative_to(workdir).as_posix() for path in workdir.rglob("*.png")}
    drawn = ("learning_curves", "reconstructions", "samples", "neighbours", "traversal", "latents", "manifold")
    assert present == {f"figures/{name}.png" for name in drawn}
    assert (workdir / "config.json").exists()
    assert list(workdir.glob("events.out.tfevents.*"))
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["40", "60"]
    train = [line["step"] for line in metrics(workdir) if line["split"] == "train"]
    assert train == [10, 20, 30, 40, 50, 60]
    assert [line["step"] for line in metrics(workdir) if line["split"] == "validation"] == [30, 60]


def test_the_summary_has_exactly_the_promised_fields(finished):
    workdir, _ = finished
    written = summary(workdir)
    assert list(written) == ["step", "params_sha256", "wall_seconds", "examples_per_second", "test"]
    assert list(written["test"]) == [
        "elbo",
        "elbo_standard_error",
        "nll",
        "nll_standard_error",
        "nll_num_samples",
        "num_examples",
    ]
    assert written["step"] == 60
    assert written["test"]["num_examples"] == 500
    assert written["test"]["nll_num_samples"] == 20
    assert written["examples_per_second"] > 0
    assert written["test"]["elbo"] < -written["test"]["nll"] < 0


def test_without_a_terminal_the_progress_is_plain_lines(finished):
    _, result = finished
    last = [line for line in result.stdout.splitlines() if line.startswith("step 60/60")]
    assert len(last) == 1
    for part in ("loss", "elbo", "kl", "steps/s", "left"):
        assert part in last[0]
    assert "\r" not in result.stdout + result.stderr


def test_the_same_command_elsewhere_gives_the_same_bits(finished, tmp_path):
    workdir, _ = finished
    again = commands.run("train", *commands.SMALL, f"--workdir={tmp_path / 'again'}")
    assert again.returncode == 0, again.stderr
    assert summary(tmp_path / "again")["params_sha256"] == summary(workdir)["params_sha256"]
    assert summary(tmp_path / "again")["test"] == summary(workdir)["test"]


def test_a_killed_run_resumes_to_the_bits_of_the_uninterrupted_one(finished, tmp_path):
    workdir, _ = finished
    killed = tmp_path / "killed"
    arguments = commands.command("train", *commands.SMALL, f"--workdir={killed}")
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with commands.started(arguments, env=commands.environment(), **silent):  # SIGKILL ends it
        # The first checkpoint is at step 20; the first validation, at 30, takes seconds to compile.
        deadline = time.monotonic() + 120
        while not (killed / "checkpoints" / "20").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert (killed / "checkpoints" / "20").exists()
    assert not (killed / "summary.json").exists()
    resumed = commands.run("train", *commands.SMALL, f"--workdir={killed}")
    assert "resuming" in resumed.stdout, resumed.stderr
    assert summary(killed)["params_sha256"] == summary(workdir)["params_sha256"]
    assert summary(killed)["test"] == summary(workdir)["test"]
    assert metrics(killed) == metrics(workdir)


def test_a_finished_run_prints_its_summary_and_changes_nothing(finished):
    workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    result = commands.run("train", *commands.SMALL, f"--workdir={workdir}")
    assert result.returncode == 0
    assert summary(workdir)["params_sha256"] in result.stdout
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_a_checkpoint_of_another_model_is_refused(finished, tmp_path):
    workdir, _ = finished
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    (other / "summary.json").unlink()
    config = json.loads((other / "config.json").read_text())
    config["model"]["hidden"] = [17]
    (other / "config.json").write_text(json.dumps(config))
    for name in ("train", "evaluate"):
        arguments = (*commands.SMALL, "--config.model.hidden=(17,)") if name == "train" else ()
        result = commands.run(name, *arguments, f"--workdir={other}")
        check_refused(result, str(other / "checkpoints" / "60"), "does not fit this model")


def test_evaluate_writes_its_figures_of_the_newest_checkpoint(finished):
    workdir, _ = finished
    result = commands.run("evaluate", f"--workdir={workdir}", "--num_samples=20", *commands.NO_CHAINS)
    assert result.returncode == 0, result.stderr
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["step"] == 60
    assert evaluation["test"].items() > summary(workdir)["test"].items()


def test_a_run_of_four_devices_is_evaluated_and_resumed_on_one(tmp_path):
    workdir = tmp_path / "run"
    trained = commands.run("train", *commands.SMALL, f"--workdir={workdir}", devices=4)
    assert trained.returncode == 0, trained.stderr
    written = summary(workdir)
    evaluated = commands.run("evaluate", f"--workdir={workdir}", *commands.NO_CHAINS)
    assert evaluated.returncode == 0, evaluated.stderr
    elbo = json.loads((workdir / "evaluation.json").read_text())["test"]["elbo"]
    np.testing.assert_allclose(elbo, written["test"]["elbo"], rtol=1e-5)
    (workdir / "summary.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "60")
    resumed = commands.run("train", *commands.SMALL, f"--workdir={workdir}")
    assert "from step 40" in resumed.stdout, resumed.stderr
    np.testing.assert_allclose(summary(workdir)["test"]["elbo"], written["test"]["elbo"], rtol=1e-3)


def small(num_steps: int, **changes: str) -> tuple:
    """A config of so many steps, and what it builds."""
    tiny = {
        "model.latent_dim": "2",
        "model.hidden": "(2,)",
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


def trained(folder, num_steps: int) -> session.Trained:
    config, experiment = small(num_steps)
    with workdirs.claimed(folder, config) as place:
        return session.train(config, experiment, folder, place, wandb_project=None)


def test_a_run_that_is_given_more_steps_comes_to_the_bits_of_one_that_had_them(tmp_path):
    trained(tmp_path / "grown", 20)
    grown, whole = trained(tmp_path / "grown", 30), trained(tmp_path / "whole", 30)
    for part in ("params", "opt_state", "average"):
        leaves = (jax.tree.leaves(getattr(run.state, part)) for run in (grown, whole))
        for mine, other in zip(*leaves, strict=True):
            np.testing.assert_array_equal(mine, other)
    assert metrics(tmp_path / "grown") == metrics(tmp_path / "whole")


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
        trained(tmp_path / "run", 30)
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    assert (tmp_path / "moved" / "checkpoints" / "10").exists() == (at == 20)
