"""A run goes on, and is evaluated, on the data that it began with; others are refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import gradient_study, train
from experiments.command.errors import UserError
from experiments.command.flags import read_flags
from experiments.run import build, workdir
from tests import commands
from tests.own_files import GREY, save_npy
from vae_jax import data, runs

SMALL = {
    "model.latent_dim": 2,
    "model.network": "mlp(hidden=(2,))",
    "training.batch_size": 2,
    "evaluation.num_examples": 2,
}


def arguments(folder: Path, *more: str) -> list[str]:
    return [f"--workdir={folder}", *(f"--config.{name}={value}" for name, value in SMALL.items()), *more]


def begun(folder: Path, data_path: Path | None) -> build.Experiment:
    """A run that has claimed its folder."""
    given = [] if data_path is None else [f"--config.data.path={data_path}"]
    config = train.parse(["train", *arguments(folder, *given)])
    experiment = build.build(config, data_dir=None)
    with workdir.claimed(folder, experiment.config, experiment.fingerprint):
        pass
    return experiment


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run on images.npy beside it."""
    begun(tmp_path / "run", save_npy(tmp_path / "images.npy", GREY))
    return tmp_path / "run"


def command(name: str, folder: Path, *more: str) -> None:
    own = {"train": ["--stuck_after=0"], "evaluate": [], "gradient_study": ["--num_replicates=2", "--num_samples=4"]}
    output = [f"--output={folder.parent / 'study'}"] if name == "gradient_study" else []
    commands.call(name, f"--workdir={folder}", *own[name], *output, *more)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["train", "evaluate", "gradient_study"])
def test_a_row_more_is_refused_with_both_numbers_and_leaves_the_folder(run, name):
    before = files(run)
    save_npy(run.parent / "images.npy", np.concatenate([GREY, GREY[:20] // 2]))
    message = rf"the run in --workdir={run} began with.*--init_from=(.|\n)*  train: \d+ examples now, \d+ then"
    with pytest.raises(UserError, match=message):
        command(name, run)
    assert files(run) == before


def test_other_content_in_as_many_rows_is_refused(run):
    save_npy(run.parent / "images.npy", np.concatenate([255 - GREY[:1], GREY[1:]]))
    with pytest.raises(UserError, match=r"\n  \w+: .*(other content|then)"):
        workdir.load(run, data_dir=None, data_path=None)


def test_a_finished_run_on_other_data_is_refused(run):
    config = workdir.read_config(run)
    (run / "summary.json").write_text('{"step": 10000}')
    other = build.build(config, data_dir=None, split_rule="position").fingerprint
    assert workdir.finished(run, config, workdir.read_stored(run).fingerprint) == {"step": 10000}
    with pytest.raises(UserError, match="began with"):
        workdir.finished(run, config, other)


def test_a_named_data_set_is_compared_too(tmp_path):
    begun(tmp_path, None)
    stored = json.loads((tmp_path / "config.json").read_text())
    stored["data_fingerprint"]["test"]["sha256"] = "0" * 64
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="test: the same number of examples, 500, with other content"):
        workdir.load(tmp_path, data_dir=None, data_path=None)


def test_data_that_have_moved_are_found_at_data_path_and_the_config_stays(run):
    (run.parent / "images.npy").rename(run.parent / "moved.npy")
    with pytest.raises(UserError, match=r"images\.npy does not exist; .* --data_path names their new place"):
        workdir.load(run, data_dir=None, data_path=None)
    config, experiment = workdir.load(run, data_dir=None, data_path=str(run.parent / "moved.npy"))
    assert config.data.path == str(run.parent / "images.npy")
    assert len(experiment.dataset.train.examples) > 20


def test_other_data_at_data_path_are_refused(run):
    other = save_npy(run.parent / "other.npy", 255 - GREY)
    with pytest.raises(UserError, match="the data are not those"):
        command("train", run, f"--data_path={other}")


def test_another_path_in_the_config_is_refused_naming_data_path(run):
    shutil.copy(run.parent / "images.npy", run.parent / "copy.npy")
    config = train.parse(["train", f"--workdir={run}", f"--config.data.path={run.parent / 'copy.npy'}"])
    with pytest.raises(UserError, match=r"--data_path names a new place(.|\n)*data\.path: .*images\.npy' there"):
        workdir.check(run, config, {})


def test_data_path_without_a_path_in_the_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--data_path=here is a new place .* its data set is digits_5k"):
        build.build(train.parse(["train", *arguments(tmp_path)]), data_dir=None, data_path="here")


def without_fingerprint(folder: Path) -> None:
    """Makes a run's folder one of an earlier version."""
    stored = json.loads((folder / "config.json").read_text())
    del stored["data_fingerprint"]
    (folder / "config.json").write_text(json.dumps({**stored, "format_version": 1}))


def test_a_run_of_an_earlier_version_keeps_the_split_of_its_version_and_takes_a_fingerprint(run):
    without_fingerprint(run)
    for _ in range(2):  # the second time with the fingerprint
        config, experiment = workdir.load(run, data_dir=None, data_path=None)
        np.testing.assert_array_equal(experiment.dataset.test.examples, GREY[[2, 28]])  # of rows 2, 13, 28
        with workdir.claimed(run, config, experiment.fingerprint):
            pass
        assert workdir.read_stored(run).fingerprint == experiment.fingerprint


def test_the_study_of_gradients_takes_data_path(run):
    read_flags(gradient_study.FLAGS, ["gradient_study", f"--workdir={run}", "--data_path=nowhere.npy"])
    with pytest.raises(UserError, match=r"data\.path nowhere\.npy does not exist"):
        gradient_study.main()


def test_the_mean_of_the_data_is_the_one_that_the_run_began_with(trained, monkeypatch):
    """An array in its checkpoints, which no later command computes again, by another NumPy or from other rows."""
    monkeypatch.setattr(data, "statistics", lambda dataset: pytest.fail("the mean was computed again"))
    _, experiment = workdir.load(trained, data_dir=None, data_path=None)
    with runs.open_checkpoints(trained) as checkpoints:
        stored = [runs.stored_model(checkpoints, step).fitted.statistics.x[""].mean for step in checkpoints.steps()]
    exact = experiment.dataset.train.examples.mean(axis=0, dtype=np.float64) / 255
    for mean in (experiment.data_mean, workdir.as_stored(trained)["fitted"].statistics.x[""].mean, *stored):
        np.testing.assert_array_equal(mean, exact)
