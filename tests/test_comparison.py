"""Runs beside one another: differences with errors, paired where both evaluations have the examples."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments.command.errors import UserError
from experiments.reporting import comparison, comparison_page, record
from experiments.run import workdir
from experiments.run.config import Config, Data, Training
from tests import commands

RNG = np.random.default_rng(0)
HARD = RNG.normal(-100, 30, 40)  # how hard each example is, for every run
FINGERPRINT = {"test": {"examples": 40, "sha256": "a"}}


def made(folder: Path, elbos: np.ndarray, *, evaluated: bool = True, config: Config | None = None, **fingerprint: dict):
    """Returns the record of a run of these ELBOs of its test examples, and of log p(x) two nats above them."""
    with workdir.claimed(folder, config or Config(), FINGERPRINT | fingerprint):
        pass
    error = elbos.std(ddof=1) / math.sqrt(len(elbos))
    test = {"elbo": elbos.mean(), "elbo_standard_error": error, "nll": -elbos.mean() - 2, "nll_standard_error": error}
    test |= {"num_examples": len(elbos), "bits_per_dimension": 0.2}
    workdir.write_json(folder / "summary.json", {"step": 7, "test": test})
    lines = [{"step": 1, "split": split, "seconds": 1.0, "elbo": -200.0} for split in ("train", "validation")]
    lines += [{"step": 7, "split": "validation", "seconds": 2.0, "elbo": elbos.mean()}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if evaluated:
        workdir.write_json(folder / "evaluation.json", {"step": 7, "linear_probe": {"accuracy": 0.5}})
        (folder / "evaluation").mkdir()
        with (folder / "evaluation" / "examples.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("elbo", "log_evidence"), *zip(elbos, elbos + 2, strict=True)])
    return record.read(folder)


def test_a_paired_difference_has_the_error_of_the_differences_of_the_examples(tmp_path):
    other = HARD + 1 + RNG.normal(0, 0.5, 40)
    found = comparison.compare([made(tmp_path / "a", HARD), made(tmp_path / "b", other)])
    elbo, nll = found.lines[:2]
    differences = other - HARD
    exact = (differences.mean(), differences.std(ddof=1) / math.sqrt(40))
    assert elbo.differences[1][:2] == pytest.approx(exact)
    assert nll.differences[1][:2] == pytest.approx((-exact[0], exact[1]))
    assert elbo.differences[1].is_paired
    assert (elbo.best, nll.best) == ([1], [1])
    assert "of b is 1." in comparison_page.sentences(found)[0]
    assert "more than two of its errors" in comparison_page.sentences(found)[0]


@pytest.mark.parametrize("lacks", ["evaluation", "same step"])
def test_a_difference_without_both_examples_has_the_errors_in_quadrature(tmp_path, lacks):
    a, b = made(tmp_path / "a", HARD), made(tmp_path / "b", HARD + 1, evaluated=lacks != "evaluation")
    if lacks == "same step":
        b.evaluation["step"] = 6
    difference = comparison.compare([a, b]).lines[0].differences[1]
    assert difference[:2] == pytest.approx((1.0, math.sqrt(2) * HARD.std(ddof=1) / math.sqrt(40)))
    assert not difference.is_paired
    assert "as if the runs were of independent test examples" in comparison_page.render([a, b])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"test": {"examples": 40, "sha256": "b"}}, "its test data are others"),
        ({"config": Config(data=Data(binarization="none"))}, "it differs in data.binarization"),
    ],
)
def test_runs_of_other_data_have_neither_differences_nor_a_best(tmp_path, options, reason):
    found = comparison.compare([made(tmp_path / "a", HARD), made(tmp_path / "b", HARD + 1, **options)])
    assert found.reasons == ["", reason]
    assert (found.lines[0].differences, found.lines[0].best) == ([None, None], [])
    assert comparison_page.sentences(found) == [f"The figures of b do not compare with those of a: {reason}."]


def test_the_fields_that_differ_are_those_of_any_two_runs(tmp_path):
    configs = [Config(), Config(seed=3), Config(training=Training(num_steps=7))]
    records = [made(tmp_path / str(i), HARD, config=config) for i, config in enumerate(configs)]
    assert comparison.compare(records).fields == [
        ("seed", ["0", "3", "0"]),
        ("training.num_steps", ["10000", "10000", "7"]),
    ]


def test_the_command_writes_a_page_of_the_json_files_alone(tmp_path, monkeypatch):
    """With runs of one name by their paths, and names that are no HTML."""
    folders = [tmp_path / "<i>x" / "run", tmp_path / "y" / "run"]
    for folder in folders:
        folder.mkdir(parents=True)
        made(folder, HARD + RNG.normal())
    monkeypatch.chdir(tmp_path)
    printed = commands.call("report", *(f"--workdir={folder}" for folder in folders))
    assert printed == "the comparison is comparison.html\n"
    page = (tmp_path / "comparison.html").read_text()
    assert "&lt;i&gt;x/run" in page
    assert "<i>" not in page
    assert page.count(" (best)") >= 2


def test_a_folder_without_a_run_is_refused_by_name(tmp_path):
    made(tmp_path / "a", HARD)
    with pytest.raises(UserError, match="none holds no run"):
        commands.call("report", f"--workdir={tmp_path / 'a'}", f"--workdir={tmp_path / 'none'}")
