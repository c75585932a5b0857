"""What the commands make of a run's checkpoints: a list, an evaluation, another run's start."""

import json
import re
import shutil
import subprocess

import jax
import numpy as np
import pytest

from experiments.command.errors import UserError
from tests import commands
from tests.test_bad_input import check_refused
from vae_jax import runs


def words(text: str) -> list[list[str]]:
    return [[word for word in line.split() if word.isalnum() or "(" in word] for line in text.splitlines()]


def test_good_checkpoints_are_listed(trained):
    """At 40 and 60, of which the last has a score."""
    printed = commands.call("checkpoints", f"--workdir={trained}")
    rows = [row for row in words(printed) if row and row[0] in ("40", "60")]
    assert [(row[0], row[-2:]) for row in rows] == [("40", ["40", "good"]), ("60", ["(latest)", "(best)"])]


def test_damaged_checkpoints_are_listed_by_file_with_status_1(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    (folder / "40" / "metadata.json").write_text("{}")
    shutil.rmtree(folder / "60")
    (folder / "60").mkdir()
    (folder / "80.untrained").mkdir()
    result = commands.run("checkpoints", f"--workdir={tmp_path / 'run'}")
    check_refused(result, f"damaged checkpoints in {folder}", "40: metadata.json has other bytes", "60: ", "MANIFEST")
    assert result.stdout.count("DAMAGED") == 2
    assert "not whole, or set aside as damaged: 80.untrained" in result.stdout


@pytest.mark.parametrize("named", ["holds no run", "holds no whole checkpoint"])
def test_a_folder_without_checkpoints_has_no_list(tmp_path, named):
    if "whole" in named:
        (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=f"{re.escape(str(tmp_path))}.* {named}"):
        commands.call("checkpoints", f"--workdir={tmp_path}")


def test_evaluate_takes_the_checkpoint_that_it_is_told(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    options = ("--checkpoint=40", "--num_samples=2", *commands.NO_CHAINS)
    commands.call("evaluate", f"--workdir={tmp_path / 'run'}", *options)
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["step"] == 40


def test_evaluate_refuses_a_checkpoint_that_is_not_there(trained):
    with pytest.raises(UserError, match=r"has no checkpoint 50, but \[40, 60\]"):
        commands.call("evaluate", f"--workdir={trained}", "--checkpoint=50")
    assert not (trained / "evaluation.json").exists()


def test_a_run_begins_with_the_parameters_of_another(trained, tmp_path):
    """It takes one step of a size that no parameter shows."""
    still = (
        "--config.training.num_steps=1",
        "--config.training.optimizer=sgd",
        "--config.training.learning_rate=1e-30",
    )
    commands.train(tmp_path, *commands.SMALL, *still, f"--init_from={trained}")
    for there, here in zip(*(jax.tree.leaves(runs.load(place)[1]) for place in (trained, tmp_path)), strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-20)


def test_a_save_that_fails_half_way_ends_a_run_with_one_message(tmp_path):
    """Orbax's threads would print tracebacks by the dozen. The limit on a file's size fails them as a full disk does,
    and the room that is looked for beforehand is there."""
    limited = ["bash", "-c", 'ulimit -f 40; exec "$@"', "bash"]
    workdir = tmp_path / "run"
    uncached = {k: v for k, v in commands.environment().items() if not k.startswith("JAX_PERSISTENT_CACHE")}
    result = subprocess.run(
        [*limited, *commands.command("train", *commands.SMALL, f"--workdir={workdir}")],
        env=uncached | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = f"error: {workdir / 'checkpoints'}: File too large; there is no checkpoint yet\n"
    assert (result.returncode, result.stderr) == (1, told)
    assert list((workdir / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("run", "named"), [("trained", "does not fit this model"), ("none", "none holds no run")], ids=["other", "none"]
)
def test_the_parameters_of_no_such_model_are_no_beginning(trained, tmp_path, run, named):
    """Nothing is written."""
    other = (*commands.SMALL, "--config.model.network=mlp(hidden=(17,))", f"--workdir={tmp_path / 'run'}")
    with pytest.raises(UserError, match=named):
        commands.call("train", *other, f"--init_from={trained if run == 'trained' else tmp_path / run}")
    assert not (tmp_path / "run").exists()
