"""Runs and exports of earlier versions: they are loaded and evaluated by this one, and the runs are resumed."""

import json
import shutil
import tarfile
from pathlib import Path

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.run import build, scores, workdir
from tests import commands
from vae_jax import exports, runs
from vae_jax.training import json_files

_OLD_RUNS = commands.ROOT / "tests" / "old_runs"


@pytest.fixture(scope="module", params=sorted(path.name for path in _OLD_RUNS.glob("version_*.tar.gz")))
def old(request, tmp_path_factory):
    """A folder with a finished run, an interrupted one, and the summary that the latter comes to."""
    return unpacked(request.param, tmp_path_factory.mktemp("old"))


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(_OLD_RUNS / name) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_a_finished_run_has_the_figures_that_it_had(old):
    config = workdir.read_config(old / "finished")
    experiment = build.build(config, data_dir=None)
    step, params = scores.load_weights(
        experiment, old / "finished", checkpoint="best", weights=scores.evaluated_weights(config)
    )
    summary = workdir.finished(old / "finished", config, experiment.fingerprint)
    found = scores.test_scores(experiment, params, num_samples=config.evaluation.num_samples)._asdict()
    assert step == summary["step"]
    for name, value in found.items():
        np.testing.assert_allclose(value, summary["test"][name], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(("name", "step"), [("finished", 40), ("interrupted", 20)])
def test_a_run_is_loaded_as_a_model(old, name, step):
    vae, params, config = runs.load(old / name, checkpoint=step)
    prior = vae.prior(params)
    assert prior.event_shape == tuple(config.model.latent_dim)
    assert vae.decode(params, jnp.zeros(2)).mean.shape == (28, 28, 1)


def test_a_run_is_exported_to_the_bit(old, tmp_path):
    commands.call("export", f"--workdir={old / 'finished'}", f"--output={tmp_path / 'export'}")
    for average in (False, True):
        expected, found = (runs.load(folder, average=average)[1] for folder in (old / "finished", tmp_path / "export"))
        chex.assert_trees_all_equal(found, expected)
    assert (tmp_path / "export" / exports.ENCODE).exists()


def test_an_interrupted_run_comes_to_its_end(old, tmp_path):
    shutil.copytree(old / "interrupted", tmp_path / "run")
    assert "from step 20\n" in commands.train(tmp_path / "run")
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    expected = json.loads((old / "interrupted_expected.json").read_text())
    assert found["step"] == expected["step"]
    for name in ("elbo", "nll"):  # its test images were binarised by its seed, and are by none now
        error = expected["test"][f"{name}_standard_error"]
        np.testing.assert_allclose(found["test"][name], expected["test"][name], atol=error, err_msg=name)


@pytest.mark.parametrize("name", sorted(path.name for path in _OLD_RUNS.glob("export_*.tar.gz")))
def test_an_export_has_the_parameters_and_the_figures_that_it_had(name, tmp_path):
    """The parameters to the bit. How long its functions can be called JAX promises, and not for ever."""
    folder = unpacked(name, tmp_path)
    expected = json.loads((folder / "expected.json").read_text())
    for part in ("params", "average"):
        _, params, config = runs.load(folder / "export", average=part == "average")
        assert scores.params_sha256(params) == expected[f"{part}_sha256"]
    _, experiment = workdir.load(folder / "export", data_dir=None, data_path=None)
    found = scores.test_scores(experiment, params, num_samples=config.evaluation.num_samples)
    for figure in ("elbo", "nll"):
        np.testing.assert_allclose(getattr(found, figure), expected["test"][figure], rtol=1e-3, err_msg=figure)


def test_every_version_of_the_format_since_the_first_kept_has_its_folder():
    """Of version 1 none was kept."""
    kept = {int(path.name.split("_")[1].split(".")[0]) for path in _OLD_RUNS.glob("version_*.tar.gz")}
    assert kept == set(range(json_files.FORMAT_VERSION + 1)) - {1}
    exported = {int(path.name.split("_")[1].split(".")[0]) for path in _OLD_RUNS.glob("export_*.tar.gz")}
    assert exported == set(range(1, exports.EXPORT_VERSION + 1))
