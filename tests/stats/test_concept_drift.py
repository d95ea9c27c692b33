"""The performance alarm ignores hard days, keeps its budget, and sees a model that errs more than it should."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats as oracle

from rota.errors import InvalidInput
from rota.stats.concept_drift import excess_loss, performance_alarm, student_quantile


def days(count: int, seed: int, *, wrong: float = 0.0) -> np.ndarray:
    """Day means of the excess of a calibrated model, whose days differ in difficulty; `wrong` flips that share of the labels."""
    random = np.random.default_rng(seed)
    means = []
    for _ in range(count):
        p = np.clip(random.beta(2, random.uniform(2, 10), 900), 0.01, 0.99)
        y = (random.random(900) < p) ^ (random.random(900) < wrong)
        means.append(excess_loss(p, y).mean())
    return np.array(means)


def test_the_excess_of_a_calibrated_model_is_zero_on_easy_and_hard_days_alike():
    assert np.abs(days(60, 1)).max() < 0.03
    assert excess_loss([0.9, 0.9], [1, 0]) == pytest.approx([0.01 - 0.09, 0.81 - 0.09])


def test_false_alarms_stay_within_the_budget():
    """A budget of one alarm in 20 days allows 200 beginnings over 100 x 40 checked days."""
    random, begun = np.random.default_rng(2), 0
    for _ in range(100):
        year = random.normal(0, 1, 107)
        alarms = [performance_alarm(year[:60], year[60 : 67 + i], days_between_false_alarms=20).alarm for i in range(40)]
        begun += sum(now and not before for before, now in pairwise([False, *alarms]))
    assert 0 < begun <= 200


def test_labels_that_changed_their_meaning_raise_the_alarm():
    verdict = performance_alarm(days(60, 3), days(14, 4, wrong=0.1), days_between_false_alarms=90)
    assert verdict.alarm
    assert verdict.t > verdict.t_needed
    assert verdict.excess > 0.01


def test_a_model_that_got_better_is_no_alarm():
    assert not performance_alarm(days(60, 3) + 0.1, days(14, 4), days_between_false_alarms=90).alarm


def test_a_small_lasting_worsening_is_found_by_the_evidence_or_the_mean():
    random = np.random.default_rng(5)
    found = [performance_alarm(random.normal(0, 1, 60), random.normal(1, 1, 28), days_between_false_alarms=90) for _ in range(50)]
    assert sum(verdict.alarm for verdict in found) >= 35
    assert any(verdict.evidence >= verdict.evidence_needed for verdict in found)


def test_little_history_is_still_learning():
    assert performance_alarm(np.zeros(10), np.ones(20), days_between_false_alarms=90).state == "learning"
    assert performance_alarm(np.zeros(60), np.ones(3), days_between_false_alarms=90).state == "learning"
    with pytest.raises(InvalidInput, match="positive"):
        performance_alarm(np.zeros(60), np.ones(20), days_between_false_alarms=0)


def test_days_that_never_varied_do_not_divide_by_zero():
    assert performance_alarm(np.zeros(60), np.zeros(20), days_between_false_alarms=90).state == "quiet"
    assert performance_alarm(np.zeros(60), np.ones(20), days_between_false_alarms=90).state == "alarm"


@pytest.mark.parametrize("degrees", [29, 59, 89, 300])
@pytest.mark.parametrize("probability", [0.9, 0.99, 0.995, 0.9999])
def test_students_quantile_agrees_with_scipy(degrees, probability):
    assert student_quantile(probability, degrees) == pytest.approx(oracle.t.ppf(probability, degrees), rel=1e-5)
