"""The linear probe, against Bayes' rule and an optimiser of the same objective; and what it refuses."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from tests.test_import import loaded_by
from vae_jax.evaluation import linear_probe

DISTANCE = 2.0


def classes(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes N(±DISTANCE/2 · u, I), u = (0.6, 0.8), equally likely, in a latent of three dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=num)
    latents = rng.normal(size=(num, 3)) + DISTANCE * (labels - 0.5)[:, None] * np.asarray([0.6, 0.8, 0])
    return latents.astype(np.float32), labels


def test_the_accuracy_is_that_of_bayes_rule():
    """Φ(distance / 2); an affine rule is optimal, and 4,000 examples find it to a part of the error."""
    probe = linear_probe(*classes(4000, 0), *classes(4000, 1))
    exact = scipy.stats.norm.cdf(DISTANCE / 2)
    assert abs(probe.accuracy - exact) < 3.3 * probe.standard_error
    assert probe.standard_error == pytest.approx(math.sqrt(exact * (1 - exact) / 4000), rel=0.05)
    assert probe.num_examples == 4000


def test_the_accuracy_is_that_of_a_penalised_logistic_regression():
    """½‖w‖² + Σ log(1 + exp(−y(wᵀz + b))) by scipy, on so few examples that the penalty matters."""
    (train, labels), (test, test_labels) = classes(12, 2), classes(2000, 3)

    def objective(flat: np.ndarray) -> float:
        margins = (2 * labels - 1) * (train @ flat[:3] + flat[3])
        return flat[:3] @ flat[:3] / 2 + np.logaddexp(0, -margins).sum()

    optimum = scipy.optimize.minimize(objective, np.zeros(4)).x
    accuracy = np.mean((test @ optimum[:3] + optimum[3] > 0) == test_labels)
    assert linear_probe(train, labels, test, test_labels).accuracy == pytest.approx(accuracy, abs=2 / 2000)


def test_labels_that_have_nothing_to_do_with_the_latents_are_guessed():
    rng = np.random.default_rng(4)
    latents, names = rng.normal(size=(2000, 3)), np.asarray(["cat", "dog", "fox"])[rng.integers(3, size=2000)]
    probe = linear_probe(latents[:1000], names[:1000], latents[1000:], names[1000:])
    assert abs(probe.accuracy - 1 / 3) < 3.3 * probe.standard_error


def test_a_label_that_training_did_not_show_is_an_error():
    latents, labels = classes(100, 0)
    assert linear_probe(latents, labels, latents, np.full(100, 7)) == (0, 0, 100)


LATENTS, LABELS = classes(6, 5)
LABELS[:2] = 0, 1
NAN = np.where(np.arange(6)[:, None] == 4, np.nan, LATENTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LATENTS, None, LATENTS, LABELS), "train_labels are missing"),
        ((LATENTS, LABELS, LATENTS, None), "test_labels are missing"),
        ((LATENTS, LABELS[:5], LATENTS, LABELS), r"train_labels must be 6, one for each example; got shape \(5,\)"),
        ((LATENTS, LABELS, LATENTS, LABELS[:, None]), r"test_labels must be 6, .* got shape \(6, 1\)"),
        ((LATENTS, LABELS / 2, LATENTS, LABELS), "train_labels must be whole numbers or strings, got float64"),
        ((LATENTS, 0 * LABELS, LATENTS, LABELS), "train_labels must have at least two classes, got only 0"),
        ((NAN, LABELS, LATENTS, LABELS), "train_latents must be finite; 1 of 6 rows are not: 4"),
        ((LATENTS, LABELS, LATENTS[:0], LABELS[:0]), "test_latents must have at least 1 rows, got 0"),
        ((LATENTS[:, 0], LABELS, LATENTS, LABELS), r"train_latents must be a matrix \[n, d\], got shape \(6,\)"),
        ((LATENTS, LABELS, LATENTS[:, :2], LABELS), "train_latents have 3 dimensions, test_latents 2"),
    ],
    ids=["no-train", "no-test", "fewer", "column", "fractions", "one-class", "nan", "empty", "vector", "width"],
)
def test_bad_latents_and_labels_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(*arguments)


def test_scikit_learn_loads_where_it_is_used():
    assert "sklearn" not in loaded_by("from vae_jax import evaluation")
