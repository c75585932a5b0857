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
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_the_interval_holds_the_true_area_as_often_as_it_says(num_abnormal, num_normal, shift):
    """Of scores N(shift, 1) and N(0, 1) it is Φ(shift / √2)."""
    rng, truth, number = np.random.default_rng(1), stats.norm.cdf(shift / np.sqrt(2)), 400
    is_abnormal = np.arange(num_abnormal + num_normal) < num_abnormal
    drawn = (rng.normal(size=len(is_abnormal)) + shift * is_abnormal for _ in range(number))
    found = [evaluation.auroc(scores, is_abnormal) for scores in drawn]
    share = np.mean([area.low <= truth <= area.high for area in found])
    assert 0.95 - 4 * np.sqrt(0.05 * 0.95 / number) <= share
    wider = [evaluation.auroc(rng.normal(size=len(is_abnormal)), is_abnormal, level=level) for level in (0.5, 0.99)]
    assert wider[0].high - wider[0].low < wider[1].high - wider[1].low


def test_the_interval_of_a_perfect_score_has_a_length_and_ends_at_one():
    area = evaluation.auroc(np.arange(20.0), np.arange(20) >= 10)
    assert area.value == area.high == 1
    assert 0.7 < area.low < 0.95
    worst = evaluation.auroc(-np.arange(20.0), np.arange(20) >= 10)
    assert worst.value == worst.low == 0
    assert worst.high == pytest.approx(1 - area.low)


@pytest.mark.parametrize(
    ("scores", "is_abnormal", "message"),
    [
        ([1.0, np.nan], [True, False], "that of row 1 is nan"),
        ([1.0, 2.0], [True, True], "2 abnormal and 0 normal"),
    ],
)
def test_scores_that_tell_nothing_are_refused(scores, is_abnormal, message):
    with pytest.raises(ValueError, match=message):
        evaluation.auroc(np.array(scores), np.array(is_abnormal))
