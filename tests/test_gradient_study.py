"""`gradient_study`: a table and figures of estimators against the number of samples."""

import csv

import numpy as np
import pytest

from experiments.command.errors import UserError
from tests import commands


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    options = ("--num_samples=2,8", "--num_replicates=2000", "--gradients=pathwise,naive", f"--output={folder}")
    printed = commands.call("gradient_study", "--oracle=ppca", *options)
    with (folder / "study.csv").open() as file:
        return folder, printed, list(csv.DictReader(file))


def test_there_is_a_row_for_each_estimator_number_and_block(study):
    _, _, rows = study
    found = [(row["gradient"], row["num_samples"], row["block"]) for row in rows]
    blocks = ("decoder", "encoder")
    assert found == [(g, k, b) for g in ("pathwise", "naive") for k in ("2", "8") for b in blocks]


def test_the_naive_encoder_gradient_alone_is_found_biased(study):
    """Against the exact gradient of the IWAE bound, which the oracle of one latent has."""
    _, _, rows = study
    biased = {(row["gradient"], row["block"]) for row in rows if float(row["bias_z"]) > float(row["bias_z_threshold"])}
    assert biased == {("naive", "encoder")}


def test_the_figures_are_drawn_and_the_reports_printed(study):
    folder, printed, _ = study
    drawn = {file.stem for file in folder.glob("*.png")}
    assert drawn == {f"{s}_{b}" for s in ("bias", "variance", "snr") for b in ("decoder", "encoder")}
    assert printed.count("2000 replicates") == 4


def test_more_samples_lower_the_variance(study):
    _, _, rows = study
    variance = {(row["gradient"], row["block"], row["num_samples"]): float(row["variance"]) for row in rows}
    assert variance["pathwise", "decoder", "8"] < variance["pathwise", "decoder", "2"]
    assert np.all(np.isfinite(list(variance.values())))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--num_samples=2,x", "--num_samples='x'"),
        ("--gradients=pathwize", "--gradients=pathwize: iwae has pathwise"),
        ("--workdir=/nowhere", "/nowhere"),
    ],
)
def test_a_mistake_gets_one_message(option, message):
    with pytest.raises(UserError, match=message):
        commands.call("gradient_study", option, "--output=unused")
