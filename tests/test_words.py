"""What a run came to, in sentences: the result, its errors, unused latents, whether validation was still rising."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments.reporting import words
from experiments.reporting.latents import LatentUse
from experiments.reporting.trend import Trend, trend
from experiments.run.config import Config, Training
from vae_jax.evaluation import CollapseDiagnosis

TEST = {"elbo": -108.726, "elbo_standard_error": 1.391, "nll": 102.507, "nll_standard_error": 1.286}
TEST |= {"nll_num_samples": 5000, "num_examples": 500, "bits_per_dimension": 0.18863}


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-116.6361, 1.46468, "−116.64 ± 1.46"),
        (0.20706, 0.00259, "0.2071 ± 0.0026"),
        (0.20706, None, "0.207"),
        (-116.6361, math.nan, "−116.64"),
        (1234, None, "1,234"),
        (5.0, 0.0, "5.00 ± 0.00"),
        (math.nan, 1.0, ""),
        (None, None, ""),
    ],
)
def test_a_number_has_the_digits_that_its_error_leaves(value, error, text):
    assert words.number(value, error) == text


def test_the_result_names_unit_examples_and_which_is_better():
    elbo, nll = words.result({"test": TEST})
    assert elbo.startswith("The test ELBO is −108.73 ± 1.39 nats per example, the mean over 500 test examples: ")
    assert elbo.endswith("A larger ELBO is better.")
    assert (
        "is 102.51 ± 1.29 nats per example, or 0.189 bits per dimension, estimated by 5,000 importance samples" in nll
    )


def test_a_result_that_is_not_known_has_its_reason_and_remarks_are_shown_once():
    summary = {"test": TEST | {"elbo": None, "bits_per_dimension": None}}
    summary |= {
        "reasons": {"test.bits_per_dimension": "a density"},
        "remarks": dict.fromkeys(("test.elbo", "test.nll"), "x is grey"),
    }
    said = words.result(summary)
    assert said[0] == "The test ELBO is not known: it is not finite."
    assert said[2:] == ["Note on the ELBO and −log p(x): x is grey.", "Bits per dimension are not known: a density."]


@pytest.mark.parametrize(
    ("active", "causes", "expected"),
    [
        (50, (), ["All 50 latent dimensions are active: none collapsed."]),
        (0, ("decoder",), ["The posterior collapsed: none of the 50 latent", "free_bits(0.1)"]),
        (1, ("optimisation",), ["1 of 50 latent dimensions is active", "--config.loss.beta='linear(1000)'"]),
        (7, ("data", "beta"), ["7 of 50", "--config.model.latent_dim; the weight of the KL, --config.loss.beta, is"]),
    ],
)
def test_unused_latents_have_a_cause_and_a_remedy_in_one_sentence(active, causes, expected):
    said = words.collapse(LatentUse(None, CollapseDiagnosis(causes, 50, active, None, None, "")), Config())
    assert all(part in said for part in expected), said
    assert said.count(". ") == 0


def test_latents_that_are_not_known_are_said_to_be_so():
    said = words.collapse(LatentUse(None, None, "z is discrete"), Config())
    assert said == "How many latent dimensions are active is not known: z is discrete."


def test_the_slope_is_that_of_least_squares_over_the_last_third():
    steps, elbos = np.arange(1, 31) * 100, np.random.default_rng(0).normal(-100, 1, 30)
    found, line = trend(steps, elbos), scipy.stats.linregress(steps[-10:], elbos[-10:])
    assert (found.slope, found.slope_error) == pytest.approx((line.slope, line.stderr))
    assert (found.best_step, found.best) == (steps[elbos.argmax()], elbos.max())


NOISE = np.random.default_rng(1).normal(0, 0.01, 20)


@pytest.mark.parametrize(
    ("elbos", "kind"),
    [
        (np.linspace(-120, -110, 20) + NOISE, "rising"),
        (-110 - 10 * np.exp(-np.arange(20.0)) + NOISE, "level"),
        (-110 - 0.1 * (np.arange(20) - 6.0) ** 2 + NOISE, "falling"),
        # A rise of which the best is not at the end.
        (np.where(np.arange(20) == 8, -100, np.linspace(-120, -110, 20)) + NOISE, "level"),
        ([-120.0, math.nan, -110.0, -100.0], "unknown"),
        ([-120.0, math.nan, -110.0, -100.0, -90.0], "rising"),
        ([math.nan], "unknown"),
    ],
)
def test_validation_rises_where_its_end_is_best_and_its_slope_exceeds_chance(elbos, kind):
    found = trend(range(len(elbos)), elbos)
    assert (found.kind, found.number) == (kind, int(np.sum(np.isfinite(elbos))))


@pytest.mark.parametrize(
    ("found", "training", "parts"),
    [
        (Trend("rising", 20, slope=1e-3, slope_error=1e-4), {}, ["1.00 ± 0.10 nats per 1,000 steps", "same command"]),
        (Trend("rising", 20, slope=1e-3, slope_error=1e-4), {"schedule": "cosine"}, ["new --workdir", "=20000."]),
        (Trend("falling", 20, 900, -99.0, 2000, -105.0), {}, ["best is −99.00 nats at step 900", "patience=5 keeps"]),
        (Trend("falling", 20, 900, -99.0, 2000, -105.0), {"patience": 3}, ["overfits; the parameters of the best"]),
        (Trend("level", 20, 1900, -99.0, 2000, -99.1), {}, ["stopped rising: its best is −99.00 nats at step 1,900"]),
        (Trend("unknown", 0), {}, ["there are 0 evaluations of it, and four are needed", "eval_every."]),
    ],
)
def test_the_sentence_on_validation_says_what_to_do(found, training, parts):
    said = words.improvement(found, Config(training=Training(**training)))
    assert all(part in said for part in parts), said


def test_the_next_commands_are_quoted_and_trust_the_packages_of_the_run():
    config = Config()
    config.model.prior = "mypackage.prior:ring(num_components=3)"
    commands = [command for command, _ in words.next_commands(Path("runs/a b"), config, ["--data_dir=d"])]
    assert commands[0] == "./launch.sh evaluate '--workdir=runs/a b' --data_dir=d --trust=mypackage"
    assert [command.split()[1] for command in commands] == ["evaluate", "sample", "report"]
