"""The evaluation of a run by the command: one table, evaluation.json, CSV files and figures that agree."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import commands
from tests.test_bad_input import check_refused

SAMPLES = 30
FEW = (f"--num_samples={SAMPLES}", "--annealed_examples=2", "--num_temperatures=5", "--gap_examples=2")
CONFIG = """
from experiments.configs import digits

def get_config():
    config = digits.get_config()
    config.data.binarization = "none"
    config.model.likelihood = "gaussian_shared"
    config.training.average_decay = None
    config.evaluation.num_examples = 60
    return config
"""
FIGURES = ("bounds", "pareto_k", "kl_per_dimension", "gaps")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """Of a run with a Gaussian likelihood, whose σ is learned, and without a weight average."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "config.py").write_text(CONFIG)
    workdir = folder / "run"
    result = commands.run("train", f"--config={folder / 'config.py'}", *commands.SMALL[1:], f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.fixture(scope="module")
def printed(workdir) -> str:
    result = commands.run("evaluate", f"--workdir={workdir}", *FEW)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture(scope="module")
def measured(workdir, printed):
    return json.loads((workdir / "evaluation.json").read_text())


def column(workdir: Path, table: str, name: str, **chosen: str) -> np.ndarray:
    with (workdir / "evaluation" / f"{table}.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in chosen.items())]
    return np.array([float(row[name]) for row in rows])


def mean_and_error(values: np.ndarray):
    return pytest.approx(
        {"value": values.mean(), "standard_error": values.std(ddof=1) / math.sqrt(len(values))}, rel=1e-5, abs=1e-4
    )


def test_figures_of_the_test_set_are_the_means_of_its_examples(workdir, measured):
    assert (measured["step"], measured["weights"]) == (60, "params")
    values, errors, elbos = (column(workdir, "examples", name) for name in ("log_evidence", "standard_error", "elbo"))
    test = measured["test"]
    assert (test["num_examples"], test["nll_num_samples"]) == (len(values), SAMPLES) == (60, SAMPLES)
    assert {"value": -test["nll"], "standard_error": test["nll_standard_error"]} == mean_and_error(values)
    assert {"value": test["elbo"], "standard_error": test["elbo_standard_error"]} == mean_and_error(elbos)
    assert test["nll_sampling_error"] == pytest.approx(math.sqrt(np.sum(errors**2)) / 60, rel=1e-5)
    summary = json.loads((workdir / "summary.json").read_text())
    assert test["elbo"] == pytest.approx(summary["test"]["elbo"], abs=5 * test["elbo_standard_error"])


def test_the_bounds_rise_from_the_elbo_to_the_evidence(workdir, measured):
    sizes, bounds = (column(workdir, "bounds", name) for name in ("num_samples", "bound"))
    assert list(sizes) == [1, 5, SAMPLES]
    assert np.all(np.diff(bounds) > 0)
    test = measured["test"]
    assert [bounds[0], bounds[-1]] == pytest.approx([test["elbo"], -test["nll"]])
    assert [bound["value"] for bound in measured["bounds"]] == pytest.approx(list(bounds))


def test_pareto_k_is_summed_up_from_the_examples(workdir, measured):
    pareto_k = column(workdir, "examples", "pareto_k")
    of_samples = measured["weights_of_samples"]
    assert of_samples["pareto_k_threshold"] == pytest.approx(1 - 1 / math.log10(SAMPLES))
    assert of_samples["median_pareto_k"] == pytest.approx(np.median(pareto_k))
    assert of_samples["share_above_threshold"] == np.mean(pareto_k > of_samples["pareto_k_threshold"])


def test_annealing_is_compared_with_importance_sampling_of_the_same_examples(workdir, measured):
    rows, annealed = (column(workdir, "annealed", name) for name in ("row", "log_evidence"))
    assert list(rows) == [0, 59]
    assert measured["annealed"]["log_evidence"] == mean_and_error(annealed)
    by_samples = column(workdir, "examples", "log_evidence")[[0, 59]]
    assert measured["annealed"]["above_importance_sampling"] == mean_and_error(annealed - by_samples)
    both = measured["bidirectional"]
    assert both["gap"]["value"] == pytest.approx(both["upper"]["value"] - both["lower"]["value"], rel=1e-4)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_the_gaps_add_up_to_evidence_less_elbo(workdir, measured, split, family):
    of = measured["gaps"][split][family]
    assert of["amortization_gap"] == mean_and_error(
        column(workdir, "gaps", "amortization_gap", split=split, family=family)
    )
    gap = of["log_evidence"]["value"] - of["elbo"]["value"]
    assert of["approximation_gap"]["value"] + of["amortization_gap"]["value"] == pytest.approx(gap, rel=1e-3)


def test_the_gap_of_generalisation_is_that_of_amortisation(measured):
    train, test = (measured["gaps"][split]["diagonal"]["amortization_gap"] for split in ("train", "test"))
    exact = {
        "value": test["value"] - train["value"],
        "standard_error": math.hypot(train["standard_error"], test["standard_error"]),
    }
    assert measured["generalisation_of_inference"] == pytest.approx(exact)


def test_latents_and_labels_are_measured(workdir, measured):
    latents, collapse = measured["latents"], measured["collapse"]
    assert latents["num_examples"] == 60
    assert latents["active_units"] == np.sum(column(workdir, "dimensions", "activity") > 0.01)
    assert latents["kl"]["value"] == pytest.approx(column(workdir, "dimensions", "kl_per_dimension").sum(), rel=1e-4)
    assert collapse["latent_dim"] == 2
    # σ is learned and one for all pixels: pPCA says how many dimensions it leaves.
    assert collapse["ppca_dimensions"] >= 0
    assert 0 <= measured["linear_probe"]["accuracy"] <= 1


def test_the_table_has_every_figure_with_its_error(printed, measured):
    test = measured["test"]
    lines = [line for line in printed.splitlines() if line.startswith("│")]
    cells = {line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:4]] for line in lines}
    assert cells["ELBO"] == [f"{test['elbo']:.2f}", f"{test['elbo_standard_error']:.2f}"]
    assert cells[f"−log p(x), by L{SAMPLES}"] == [f"{test['nll']:.2f}", f"{test['nll_standard_error']:.2f}"]
    for name in ("log p(x), by annealing", "upper − lower", "approximation gap", "amortisation gap", "I(x; z)"):
        assert name in cells
    assert measured["collapse"]["explanation"] in printed


def test_figures_are_drawn(workdir, printed):
    for name in FIGURES:
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 5000


def test_of_one_sample_one_temperature_and_one_example_there_is_what_they_can_tell(workdir, measured, tmp_path):
    """No k̂, no acceptance and no error of one example: null in the file, and nothing in the table."""
    shutil.copytree(workdir, tmp_path / "run")
    few = ("--num_samples=1", "--annealed_examples=1", "--num_temperatures=1", "--gap_examples=0")
    result = commands.run("evaluate", f"--workdir={tmp_path / 'run'}", *few)
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["annealed"]["acceptance"] is None
    assert found["annealed"]["log_evidence"]["standard_error"] is None
    assert found["weights_of_samples"]["median_pareto_k"] is None
    assert found["gaps"] == {}
    assert "Pareto" not in result.stdout
    assert "acceptance" not in result.stdout


def test_an_average_that_the_run_does_not_keep_is_refused(workdir):
    check_refused(commands.run("evaluate", f"--workdir={workdir}", "--weights=average"), "holds no weight average")
