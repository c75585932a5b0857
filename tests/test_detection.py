"""How well scores tell abnormal examples from normal ones."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from vae_jax import evaluation


def test_the_area_is_that_of_the_curve_also_where_scores_are_equal():
    rng = np.random.default_rng(0)
    is_abnormal = rng.random(500) < 0.3
    scores = np.round(rng.normal(size=500) + is_abnormal, 1)
    assert evaluation.auroc(scores, is_abnormal).value == pytest.approx(roc_auc_score(is_abnormal, scores), abs=1e-12)


@pytest.mark.parametrize(("num_abnormal", "num_normal"), [(20, 20), (15, 200)])
@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_the_interval_holds_the_true_area_as_often_as_it_says(num_abnormal, num_normal, shift):
    """Of scores N(shift, 1) and N(0, 1) it is Φ(shift / √2)."""
    rng, truth, number = np.random.default_rng(1), stats.norm.cdf(shift / np.sqrt(2)), 400
    is_abnormal = np.arange(num_abnormal + num_normal) < num_abnormal
    drawn = (rng.normal(size=len(is_abnormal)) + shift * is_abnormal for _ in range(number))
    found = [evaluation.auroc(scores, is_abnormal) for scores in drawn]
    share = np.mean([area.low <= truth <= area.high for area in found])
    assert 0.95 - 4 * np.sqrt(0.05 * 0.95 / number) <= share


@pytest.mark.parametrize("level", [0.5, 0.99])
def test_an_end_is_as_many_standard_errors_away_as_the_level_says(level):
    """Of Hanley and McNeil, at the end, with both numbers of examples in it half of all."""
    is_abnormal = np.arange(40) < 8
    area = evaluation.auroc(np.random.default_rng(0).normal(size=40) + is_abnormal, is_abnormal, level=level)
    for end in (area.low, area.high):
        triples = end / (2 - end) + 2 * end**2 / (1 + end) - 2 * end**2
        error = np.sqrt((end * (1 - end) + (40 / 2 - 1) * triples) / (8 * 32))
        assert abs(area.value - end) == pytest.approx(stats.norm.isf((1 - level) / 2) * error, rel=1e-6)


def test_the_interval_of_a_perfect_score_has_a_length_and_ends_at_one():
    area = evaluation.auroc(np.arange(20.0), np.arange(20) >= 10)
    assert area.value == area.high == 1
    assert 0.7 < area.low < 0.95
    worst = evaluation.auroc(-np.arange(20.0), np.arange(20) >= 10)
    assert worst.value == worst.low == 0
    assert worst.high == pytest.approx(1 - area.low)


def test_an_infinite_score_is_the_largest():
    scores, is_abnormal = np.array([np.inf, 1e300, np.inf, -np.inf]), np.arange(4) == 0
    assert evaluation.auroc(scores, is_abnormal).value == 2.5 / 3


@pytest.mark.parametrize(
    ("scores", "is_abnormal", "message"),
    [
        ([1.0, np.nan], [True, False], "that of row 1 is nan"),
        ([1.0, 2.0], [True, True], "2 abnormal and 0 normal"),
        ([1.0, 2.0], [False, False], "0 abnormal and 2 normal"),
    ],
)
def test_scores_that_tell_nothing_are_refused(scores, is_abnormal, message):
    with pytest.raises(ValueError, match=message):
        evaluation.auroc(np.array(scores), np.array(is_abnormal))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_level_of_no_or_of_every_theta_is_refused(level):
    with pytest.raises(ValueError, match=f"level must be between 0 and 1, got {level}"):
        evaluation.auroc(np.arange(2.0), np.array([True, False]), level=level)
