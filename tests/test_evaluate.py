"""The evaluation of a run: one table, evaluation.json, CSV files and figures that agree; parts that cannot be had."""

import contextlib
import csv
import io
import json
import math
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import evaluate, train
from experiments.command import signals
from experiments.command.errors import UserError
from experiments.command.flags import read_flags
from experiments.configs import digits
from experiments.reporting import assessment, figures, table
from experiments.reporting.rows import rows
from experiments.run import build, scores, session
from tests import commands
from vae_jax import evaluation

SAMPLES = 30
FEW = (f"--num_samples={SAMPLES}", "--annealed_examples=2", "--num_temperatures=5", "--gap_examples=2")
CONFIG = """
from experiments.configs import digits

def get_config():
    config = digits.get_config()
    config.data.binarization = "none"
    config.model.likelihood = "normal(learn=shared)"
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
    samples = f"--config.evaluation.num_samples={SAMPLES}"
    commands.train(workdir, f"--config={folder / 'config.py'}", *commands.SMALL[1:], samples)
    return workdir


@pytest.fixture(scope="module")
def printed(workdir) -> str:
    """Without the figures that are also a training run's."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as told:
        patch.setattr(figures, "draw", lambda *args: None)
        shown = commands.call("evaluate", f"--workdir={workdir}", *FEW)
    assert told.getvalue() == ""
    return shown


@pytest.fixture(scope="module")
def measured(workdir, printed):
    return json.loads((workdir / "evaluation.json").read_text())


def column(workdir: Path, table: str, name: str, **chosen: str) -> np.ndarray:
    with (workdir / "evaluation" / f"{table}.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in chosen.items())]
    return np.array([float(row[name]) for row in rows])


def mean_and_error(values: np.ndarray):
    return pytest.approx((values.mean(), values.std(ddof=1) / math.sqrt(len(values))), rel=1e-5, abs=1e-4)


def figure(part, name: str) -> tuple[float, float]:
    """The value and its standard error."""
    return part[name], part[f"{name}_standard_error"]


def test_figures_of_the_test_set_are_the_means_of_its_examples(workdir, measured):
    assert (measured["step"], measured["weights"]) == (60, "params")
    values, errors, elbos = (column(workdir, "examples", name) for name in ("log_evidence", "standard_error", "elbo"))
    test = measured["test"]
    assert (test["num_examples"], test["nll_num_samples"]) == (len(values), SAMPLES) == (60, SAMPLES)
    assert figure(test, "log_evidence") == mean_and_error(values)
    assert figure(test, "nll") == mean_and_error(-values)
    assert figure(test, "elbo") == mean_and_error(elbos)
    assert test["nll_sampling_error"] == pytest.approx(math.sqrt(np.sum(errors**2)) / 60, rel=1e-5)
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["test"].items() <= test.items()


def test_the_bounds_rise_from_the_elbo_to_the_evidence(workdir, measured):
    sizes, bounds = (column(workdir, "bounds", name) for name in ("num_samples", "bound"))
    assert list(sizes) == [1, 5, SAMPLES]
    assert np.all(np.diff(bounds) > 0)
    test = measured["test"]
    assert [bounds[0], bounds[-1]] == pytest.approx([test["elbo"], -test["nll"]])
    assert [measured["bounds"][f"L{size:.0f}"] for size in sizes] == pytest.approx(list(bounds))


def test_pareto_k_is_summed_up_from_the_examples(workdir, measured):
    pareto_k = column(workdir, "examples", "pareto_k")
    of_samples = measured["importance_weights"]
    assert of_samples["pareto_k_threshold"] == pytest.approx(1 - 1 / math.log10(SAMPLES))
    assert of_samples["median_pareto_k"] == pytest.approx(np.median(pareto_k))
    assert of_samples["share_above_threshold"] == np.mean(pareto_k > of_samples["pareto_k_threshold"])


def test_annealing_is_compared_with_importance_sampling_of_the_same_examples(workdir, measured):
    rows, annealed = (column(workdir, "annealed", name) for name in ("row", "log_evidence"))
    assert list(rows) == [0, 59]
    assert figure(measured["annealed"], "log_evidence") == mean_and_error(annealed)
    by_samples = column(workdir, "examples", "log_evidence")[[0, 59]]
    assert figure(measured["annealed"], "above_importance_sampling") == mean_and_error(annealed - by_samples)
    both = measured["bidirectional"]
    assert both["gap"] == pytest.approx(both["upper"] - both["lower"], rel=1e-4)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_the_gaps_add_up_to_evidence_less_elbo(workdir, measured, split, family):
    of = measured["gaps"][split][family]
    exact = column(workdir, "gaps", "amortization_gap", split=split, family=family)
    assert figure(of, "amortization_gap") == mean_and_error(exact)
    gap = of["log_evidence"] - of["elbo"]
    assert of["approximation_gap"] + of["amortization_gap"] == pytest.approx(gap, rel=1e-3)


def test_the_gap_of_generalisation_is_that_of_amortisation(measured):
    of_train, of_test = (figure(measured["gaps"][split]["diagonal"], "amortization_gap") for split in ("train", "test"))
    exact = of_test[0] - of_train[0], math.hypot(of_train[1], of_test[1])
    assert figure(measured["gaps"], "generalisation_of_inference") == pytest.approx(exact)


def test_latents_and_labels_are_measured(workdir, measured):
    latents, collapse = measured["latents"], measured["collapse"]
    assert latents["num_examples"] == 60
    assert latents["active_units"] == np.sum(column(workdir, "dimensions", "activity") > 0.01)
    assert latents["kl"] == pytest.approx(column(workdir, "dimensions", "kl_per_dimension").sum(), rel=1e-4)
    assert collapse["latent_dim"] == 2
    # σ is learned and one for all pixels: pPCA says how many dimensions it leaves.
    assert collapse["ppca_dimensions"] >= 0
    assert 0 <= measured["linear_probe"]["accuracy"] <= 1


def test_the_table_has_every_figure_with_error_unit_and_examples(printed, measured):
    """And log p(x) with one sign throughout."""
    cells = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:6]] for line in table_lines(printed)
    }

    def shown(name: str) -> list[str]:
        return [f"{number:.2f}" for number in figure(measured["test"], name)]

    assert cells["ELBO"] == [*shown("elbo"), "nats", "60 test"]
    assert cells[f"log p(x), importance sampling, L{SAMPLES}"] == [*shown("log_evidence"), "nats", "60 test"]
    assert cells["log p(x), annealing"][2:] == ["nats", "2 test"]
    assert cells["upper − lower"][2:] == ["nats", "2 simulated"]
    assert cells["linear probe, accuracy"][2:] == ["share", "60 test"]
    assert {"approximation gap, full q*", "amortisation gap, diagonal q*", "I(x; z)"} <= cells.keys()
    assert not any("−log" in name for name in cells)


def table_lines(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("│")]


def test_the_diagnosis_of_the_latents_stands_above_the_table(printed, measured):
    title, below = printed.split("┏")[0].rstrip().splitlines()[-2:]
    assert title.strip().endswith("step 60, params")
    assert below.strip() == measured["collapse"]["explanation"]


def test_table_json_and_csv_hold_the_same_rows(workdir, printed, measured):
    with (workdir / "evaluation" / "summary.csv").open() as file:
        listed = list(csv.DictReader(file))
    for row in listed:
        found = measured
        for place in row["path"].split("."):
            at, found = found, found[place]
        written = ["" if number is None else str(number) for number in (found, at.get(f"{place}_standard_error"))]
        assert written == [row["value"], row["standard_error"]]
        assert measured["remarks"].get(row["path"], "") == row["remark"]
    labels = [row["label"].strip() for row in listed if row["label"]]
    assert [name for line in table_lines(printed) if (name := line.split("│")[1].strip())] == labels


def test_figures_are_drawn(workdir, printed):
    for name in FIGURES:
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 5000


def test_the_report_page_has_the_rows_of_the_table(workdir, printed, measured):
    assert printed.endswith(f"the report is {workdir / 'report.html'}\n")
    page = (workdir / "report.html").read_text()
    cell = '</th><td class="number">'
    assert f"linear probe, accuracy{cell}{measured['linear_probe']['accuracy']:.3f}</td>" in page
    assert f"ELBO{cell}−{-measured['test']['elbo']:.2f}</td>" in page


def run_evaluate(workdir: Path, *arguments: str) -> dict:
    """Runs the command in this process."""
    read_flags(evaluate.FLAGS, ["evaluate", f"--workdir={workdir}", *arguments])
    evaluate.main()
    return json.loads((workdir / "evaluation.json").read_text())


@pytest.fixture
def copied(workdir, tmp_path) -> Path:
    """A run without an evaluation."""
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("evaluation*", "figures"))
    return copy


def test_an_interruption_keeps_what_was_measured_before(copied, monkeypatch):
    def interrupted(*args, **options):
        raise signals.Interrupted(signal.SIGTERM)

    monkeypatch.setattr(evaluation, "latent_statistics", interrupted)
    with pytest.raises(signals.Interrupted, match="SIGTERM"):
        run_evaluate(copied, *FEW)
    found = json.loads((copied / "evaluation.json").read_text())
    assert found["test"]["num_examples"] == 60
    assert found["reasons"]["latents"] == "the evaluation ended before"


@pytest.mark.parametrize("place", ["evaluation", "figures"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(copied, monkeypatch, place):
    monkeypatch.setattr(build, "build", lambda *args, **options: pytest.fail("it was computed"))
    (copied / place).write_text("in the way")
    with pytest.raises(UserError, match=rf"/{place} cannot be written \(File exists\).* name that as --workdir"):
        run_evaluate(copied)


def test_an_average_that_the_run_does_not_keep_is_refused(copied):
    with pytest.raises(UserError, match="holds no weight average"):
        run_evaluate(copied, "--weights=average")


@pytest.fixture(scope="module")
def config():
    config = digits.get_config()
    config.model.network, config.model.latent_dim = "mlp(hidden=(4,))", (2,)
    config.evaluation.num_examples, config.evaluation.num_samples = 6, 2
    return config


@pytest.fixture(scope="module")
def experiment(config):
    return build.build(config, data_dir=None)


def assessed(config, experiment, **options: int) -> dict:
    """Returns the evaluation, as JSON, of parameters that were not trained."""
    chosen = assessment.Options(
        **{"num_samples": 2, "annealed_examples": 0, "num_temperatures": 1, "gap_examples": 0} | options
    )
    params = experiment.vae.init(jax.random.key(0))
    subject = assessment.Subject(config, experiment, params, chosen, lambda what: None)
    found = assessment.assess(subject, lambda found: None)
    return json.loads(json.dumps(table.as_json(rows(found, chosen)), allow_nan=False))


def test_of_one_sample_one_temperature_and_one_example_there_is_what_they_can_tell(config, experiment):
    """Null, with the reason, for the rest."""
    found = assessed(config, experiment, num_samples=1, annealed_examples=1)
    assert found["annealed"]["log_evidence"] < 0
    reasons = {
        "annealed.acceptance": "one temperature has no transition",
        "annealed.log_evidence_standard_error": "it needs two examples",
        "importance_weights.median_pareto_k": "k̂ needs 25 samples, there are 1",
        "test.nll_sampling_error": "it needs two samples",
        "gaps": "--gap_examples=0",
    }
    assert {path: found["reasons"].get(path) for path in reasons} == reasons
    for path in reasons:
        *places, name = path.split(".")
        assert (found[places[0]] if places else found)[name] is None


def with_split(experiment, name: str, change):
    split = getattr(experiment.dataset, name)
    return experiment._replace(dataset=experiment.dataset._replace(**{name: change(split)}))


@pytest.mark.parametrize(
    ("name", "change", "reasons"),
    [
        ("train", lambda split: split._replace(labels=None), {"linear_probe": "the data have no labels"}),
        (
            "train",
            lambda split: split._replace(labels=np.zeros_like(split.labels)),
            {"linear_probe": "train_labels must have at least two classes, got only 0"},
        ),
        (
            "test",
            lambda split: type(split)(split.examples[:1], split.labels[:1]),
            {
                "latents": "xs must have at least 2 rows, got 1",
                "collapse": "the latents are not known: xs must have at least 2 rows, got 1",
                "test.elbo_standard_error": "it needs two examples",
            },
        ),
    ],
    ids=["no-labels", "one-class", "one-example"],
)
def test_what_the_data_do_not_allow_is_null_with_the_reason(config, experiment, name, change, reasons):
    found = assessed(config, with_split(experiment, name, change))
    assert found["test"]["elbo"] < 0
    assert {path: found["reasons"].get(path) for path in reasons} == reasons
    assert found["linear_probe" if name == "train" else "latents"] is None


def test_a_part_that_fails_is_null_and_the_others_are_measured(config, experiment, monkeypatch):
    def fails(*args, **options):
        raise MemoryError("9 GiB")

    monkeypatch.setattr(evaluation, "latent_statistics", fails)
    found = assessed(config, experiment)
    assert found["reasons"]["latents"] == "MemoryError: 9 GiB"
    assert found["linear_probe"]["accuracy"] >= 0


class SinhFlow:
    """z = μ + sinh(e), which knows neither its mean nor a scale; no pytree either."""

    reparameterized = True

    def __init__(self, location):
        self.location, self.event_shape = location, location.shape

    def sample(self, key):
        return self.location + jnp.sinh(jax.random.normal(key, self.event_shape))

    def log_prob(self, value):
        noise = jnp.arcsinh(value - self.location)
        return jnp.sum(jax.scipy.stats.norm.logpdf(noise) - jnp.log(jnp.cosh(noise)))


@pytest.fixture(scope="module")
def flow(experiment):
    """The experiment with such a q(z|x)."""
    gaussian = experiment.vae
    encode = lambda params, x: SinhFlow(gaussian.encode(params, x).mean)
    return experiment._replace(vae=type(gaussian)(gaussian.init, encode, gaussian.decode, gaussian.prior))


def test_a_posterior_without_a_mean_is_evaluated_by_its_draws(config, flow):
    found = assessed(config, flow, gap_examples=1)
    assert found["test"]["elbo"] < 0
    assert found["remarks"]["linear_probe.accuracy"] == "labels from the means of 32 draws of q(z|x)"
    assert found["remarks"]["latents.active_units"] == "from 64 draws of each q(z|x)"
    assert found["latents"]["kl"] > 0
    gaps = found["gaps"]["test"]["full"]
    total = gaps["approximation_gap"] + gaps["amortization_gap"]
    assert total == pytest.approx(gaps["log_evidence"] - gaps["elbo"], rel=1e-3)


def test_what_needs_a_gaussian_posterior_is_null_with_the_reason_and_estimates_are_named_so(tmp_path):
    xs, unknown = np.zeros(2), (None, None, None)
    latents = evaluation.LatentStatistics(6, 64, xs, xs > 1, 0, 1.5, 0.1, *unknown, *unknown, "of the flow")
    options = assessment.Options(num_samples=20, annealed_examples=0, num_temperatures=1, gap_examples=0)
    others = {part: "not asked for" for part in assessment.PARTS if part != "latents"}
    found = assessment.Assessment(evidence_of(3), others, scores.Meaning("", None), latents=latents)
    listed = rows(found, options)
    report = table.as_json(listed)
    names = ("mutual_information", "marginal_kl", "total_correlation")
    for name in ("collapsed_dimensions", *names, *(f"{name}_standard_error" for name in names)):
        assert report["latents"][name] is None
        assert report["reasons"][f"latents.{name}"] == "of the flow"
    assert not any(name in path for name in names for path in report["remarks"])
    table.write_tables(listed, found, None, tmp_path)
    first = (tmp_path / "dimensions.csv").read_text().splitlines()[0]
    assert first == "dimension,activity_from_64_draws,active_from_64_draws"
    assert figures._kl_per_dimension(latents) is None


def test_a_posterior_without_a_mean_is_drawn_by_its_draws(flow, tmp_path, capsys, monkeypatch):
    titles = []
    scatter = figures.figures.latent_scatter
    monkeypatch.setattr(
        figures.figures, "latent_scatter", lambda *args, title, **more: titles.append(title) or scatter(*args, **more)
    )
    figures.draw(flow, flow.vae.init(jax.random.key(0)), [], tmp_path)
    assert capsys.readouterr().err == ""
    drawn = {"learning_curves", "reconstructions", "samples", "neighbours", "traversal", "latents", "manifold"}
    assert {path.stem for path in tmp_path.iterdir()} == drawn
    assert titles == ["means of 32 draws of q(z|x) of 6 test examples"]


def finish(config, experiment, folder: Path) -> None:
    state = SimpleNamespace(params=experiment.vae.init(jax.random.key(0)), average=None, step=3)
    log = SimpleNamespace(lines=[], seconds=lambda: 1.0, show_results=lambda *told: None)
    train.finish(config, experiment, session.Trained(state, log, None, stopped_at=3, stopped_early=False), folder)


def test_a_run_writes_its_numbers_before_its_pictures(config, experiment, tmp_path, monkeypatch, capsys):
    """And says what to do next."""
    seen = []
    monkeypatch.setattr(figures, "draw", lambda *args: seen.append(json.loads((tmp_path / "summary.json").read_text())))
    finish(config, experiment, tmp_path)
    assert seen[0]["test"]["num_examples"] == 6
    assert f"./launch.sh evaluate --workdir={tmp_path}  # every number" in capsys.readouterr().out


def test_the_summary_of_one_held_out_image_has_null_for_its_error(config, experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *args: None)
    finish(
        config,
        with_split(experiment, "test", lambda split: type(split)(split.examples[:1], split.labels[:1])),
        tmp_path,
    )
    test = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)["test"]
    assert test["elbo"] < 0
    assert (test["elbo_standard_error"], test["nll_standard_error"]) == (None, None)


def test_a_million_samples_are_drawn_of_one_image_at_a_time(experiment, monkeypatch):
    """So that a signal is noticed, and progress told, between images."""
    blocks, told = [], []

    def estimate(params, keys, xs, *, num_samples, **options):
        blocks.append((len(xs), num_samples))
        return evaluation.LogEvidence(*np.zeros((4, len(xs))), bounds=np.zeros((len(xs), 2)))

    monkeypatch.setattr(evaluation, "log_evidence", estimate)
    on_block = lambda done, number: told.append((done, number))
    params = experiment.vae.init(jax.random.key(0))
    scores.log_evidence(experiment, params, "test", 10**6, on_block=on_block)
    assert blocks == [(1, 10**6)] * 6
    assert told == [(done, 6) for done in range(1, 7)]


def evidence_of(num: int) -> evaluation.LogEvidence:
    ones = np.ones(num, np.float32)
    return evaluation.LogEvidence(ones, ones, ones, ones, np.ones((num, 3), np.float32))


def test_every_figure_of_a_density_of_grey_images_is_marked():
    """And no other: the weights of the samples are what they are."""
    options = assessment.Options(num_samples=20, annealed_examples=0, num_temperatures=1, gap_examples=0)
    nothing = dict.fromkeys(assessment.PARTS, "not asked for")
    meaning = scores.Meaning("not a density", None, reason="grey")
    listed = rows(assessment.Assessment(evidence_of(3), nothing, meaning), options)
    marked = {row.path for row in listed if "not a density" in row.remark}
    assert marked == {"test.elbo", "bounds.L1", "bounds.L5", "bounds.L20", "test.log_evidence", "test.nll"}


@pytest.mark.parametrize(
    ("binarization", "likelihood", "marked", "reason", "bits"),
    [
        ("none", "bernoulli", True, "not a density: x is grey", math.nan),
        ("dynamic", "bernoulli", False, "", 5.0),
        ("none", "normal", False, "of the density at each level, times the width of a level", 5 + math.log2(255)),
        ("none", "discretized_logistic", False, "", 5.0),
    ],
)
def test_what_a_log_likelihood_is_of_is_said(binarization, likelihood, marked, reason, bits):
    """Of grey images under a Bernoulli likelihood that it is no density; of others, bits per dimension."""
    config = digits.get_config()
    config.data.binarization, config.model.likelihood = binarization, likelihood
    config.model.network, config.model.latent_dim = "mlp(hidden=(4,))", (2,)
    experiment = build.build(config, data_dir=None)
    meaning = scores.meaning(experiment, experiment.vae.init(jax.random.key(0)))
    assert meaning.not_a_density.startswith("not a density: x is grey") == marked
    assert reason in meaning.reason
    assert bool(meaning.reason) == bool(reason)
    assert meaning.in_bits(784 * math.log(2) * 5) == pytest.approx(bits, nan_ok=True)
