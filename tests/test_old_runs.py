"""Runs of earlier versions: they are loaded, evaluated and resumed by this one."""

import json
import shutil
import tarfile

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.run import build, scores, workdir
from tests import commands
from vae_jax import runs

_OLD_RUNS = commands.ROOT / "tests" / "old_runs"


@pytest.fixture(scope="module", params=sorted(path.name for path in _OLD_RUNS.glob("*.tar.gz")))
def old(request, tmp_path_factory):
    """A folder with a finished run, an interrupted one, and the summary that the latter comes to."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(_OLD_RUNS / request.param) as archive:
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


def test_an_interrupted_run_comes_to_its_end(old, tmp_path):
    shutil.copytree(old / "interrupted", tmp_path / "run")
    assert "from step 20\n" in commands.train(tmp_path / "run")
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    expected = json.loads((old / "interrupted_expected.json").read_text())
    assert found["step"] == expected["step"]
    for name in ("elbo", "nll"):  # its test images were binarised by its seed, and are by none now
        error = expected["test"][f"{name}_standard_error"]
        np.testing.assert_allclose(found["test"][name], expected["test"][name], atol=error, err_msg=name)
