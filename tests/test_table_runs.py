"""A table with holes and side information through the commands."""

import csv
import json
import math
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import commands
from tests.test_report import data_of
from vae_jax import data, evaluation, runs
from vae_jax.fitted import Fitted, build_vae

ROWS, COLOURS = 240, ("blue", "green", "red")
ARGUMENTS = (
    "--config.model.network=mlp(hidden=(8,))",
    "--config.model.latent_dim=2",
    "--config.model.prior=vamp(3)",
    "--config.training.num_steps=20",
    "--config.training.batch_size=20",
    "--config.training.log_every=10",
    "--config.training.eval_every=10",
    "--config.training.checkpoint_every=10",
    "--config.evaluation.num_samples=30",
)


def written(path: Path, *, unit: float = 1.0) -> Path:
    """Animals: their weight in some unit, legs, colour and site, of which the first three have holes."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["weight", "legs", "colour", "site"])
        for row in range(ROWS):
            cells = [f"{unit * rng.normal(50, 10):.9g}", str(rng.poisson(4)), str(rng.choice(COLOURS))]
            hidden = rng.random(3) < 0.2
            hidden[row % 3] = False
            writer.writerow([*("" if h else cell for cell, h in zip(cells, hidden, strict=True)), "ab"[row % 2]])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, its table and what it printed."""
    folder = tmp_path_factory.mktemp("table")
    table = written(folder / "animals.csv")
    data = (f"--config.data.path={table}", "--config.data.condition=site")
    result = commands.run("train", *ARGUMENTS, *data, f"--workdir={folder / 'run'}")
    assert result.returncode == 0, result.stderr
    (folder / "printed").write_text(result.stdout)
    return folder


def test_the_guessed_schema_is_printed_and_the_likelihood_is_joint(run):
    printed = (run / "printed").read_text()
    start = printed.index("{")
    schema = json.loads(printed[start : printed.index("\n}\n", start) + 2])
    assert {name: entry["kind"] if isinstance(entry, dict) else entry for name, entry in schema.items()} == {
        "weight": "real",
        "legs": "count",
        "colour": "category",
        "site": "binary",
    }
    config = json.loads((run / "run" / "config.json").read_text())
    assert (config["model"]["likelihood"], config["data"]["binarization"]) == ("joint", "none")


def test_the_summary_says_what_log_p_is_conditional_on(run):
    summary = json.loads((run / "run" / "summary.json").read_text())
    assert summary["remarks"]["test.nll"] == "log p(x|site)"
    assert "entries of x are missing" in summary["reasons"]["test.bits_per_dimension"]
    assert {path.stem for path in (run / "run" / "figures").iterdir()} == {"columns", "latents", "learning_curves"}


def test_the_report_has_sliders_over_numbers_and_the_shares_of_classes(run):
    explorer = data_of((run / "run" / "report.html").read_text())["explorer"]
    bars = [(bar["column"], bar["level"]) for bar in explorer["bars"]]
    assert bars == [("weight", ""), ("legs", ""), *(("colour", colour) for colour in COLOURS)]
    values = np.asarray(explorer["values"])
    np.testing.assert_allclose(values[:, 2:].sum(axis=1), 1, atol=1e-3)
    assert 20 < values[:, 0].min() <= values[:, 0].max() < 80


def test_evaluate_reports_each_column(run):
    result = commands.run("evaluate", f"--workdir={run / 'run'}", *commands.NO_CHAINS)
    assert result.returncode == 0, result.stderr
    columns = json.loads((run / "run" / "evaluation.json").read_text())["columns"]
    assert {name: set(of) & {"rmse", "accuracy"} for name, of in columns.items()} == {
        "weight": {"rmse"},
        "legs": {"rmse"},
        "colour": {"accuracy"},
    }
    # Of numbers whose standard deviation is 10.
    assert 3 < columns["weight"]["rmse"] < 30
    assert "weight: RMSE" in result.stdout


def test_samples_are_rows_of_the_table(run):
    result = commands.run("sample", f"--workdir={run / 'run'}", "--num_images=7", f"--output={run / 'drawn'}")
    assert result.returncode == 0, result.stderr
    with (run / "drawn" / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert {row["colour"] for row in rows} <= set(COLOURS)
    assert all(float(row["legs"]) == round(float(row["legs"])) >= 0 for row in rows)
    result = commands.run("sample", f"--workdir={run / 'run'}", "--draw=mean", f"--output={run / 'mean'}")
    assert "--draw=mean: classes have no mean" in result.stderr


def test_a_loaded_run_takes_rows_in_their_own_units(run):
    """And keeps the pseudo-inputs of its prior, which are examples and no parameters."""
    vae, params, _ = runs.load(run / "run", average=True)
    row = {"weight": np.float32(50.0), "legs": np.int32(4), "colour": np.int32(1)}
    x, at = vae.at((row, {"site": np.float32(0)}))
    p = at.decode(params, at.encode(params, x).mean)
    assert 20 < p.parts["weight"].mean < 80
    assert "prior" not in params
    assert np.isfinite(at.prior(params).log_prob(jnp.zeros(2)))


def test_a_table_that_grew_or_whose_columns_differ_is_refused_and_nothing_is_written(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "copy")
    text = (folder / "animals.csv").read_text()
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "run").iterdir()}
    for changed, message in (
        (text + "50,4,red,a\n", "examples now"),
        (text.replace("weight", "mass", 1), "the column of the schema 'weight'"),
        (text.replace("red", "mauve"), "'mauve'"),
    ):
        (tmp_path / "other.csv").write_text(changed)
        result = commands.run("evaluate", f"--workdir={folder / 'run'}", f"--data_path={tmp_path / 'other.csv'}")
        assert result.returncode == 1
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "run").iterdir()} == before


def test_nats_are_those_of_the_data_in_its_own_units():
    """In grams instead of kilograms and metres instead of kilometres, log p is less by log 1000 for each number."""
    rng = np.random.default_rng(0)
    columns = {"weight": rng.normal(50, 10, 100), "distance": rng.lognormal(1, 0.5, 100)}
    contents = data.Contents({"weight": data.Variable("real"), "distance": data.Variable("positive")})
    model = {"network": "mlp(hidden=(4,))", "latent_dim": (2,), "likelihood": "joint"}
    found = []
    for unit in (1.0, 1000.0):
        x = {name: (unit * values).astype(np.float32) for name, values in columns.items()}
        split = data.Split(x, None)
        dataset = data.Dataset("numbers", split, split, split, contents)
        vae = build_vae(model, Fitted(contents, data.statistics(dataset)))
        keys = jax.random.split(jax.random.key(1), 100)
        found.append(evaluation.log_evidence(vae.init(jax.random.key(0)), keys, x, vae=vae, num_samples=10))
    np.testing.assert_allclose(found[0].value - found[1].value, 2 * math.log(1000), rtol=1e-4)
    assert np.ptp(found[0].value) > 1
