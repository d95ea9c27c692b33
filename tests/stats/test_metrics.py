"""Metrics agree with scikit-learn and refuse rows they cannot judge."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from rota.errors import InvalidInput
from rota.problems.registry import evaluate, metric_of_any

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda i: i / 8)), min_size=2, max_size=60)


@given(ROWS)
def test_ranking_metrics_agree_with_sklearn_whatever_the_ties(rows):
    truth, answers = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = evaluate("classification", truth, answers)
    if len(set(truth)) == 2:
        assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(truth, answers))
    else:
        assert "roc_auc" not in found
    if truth.sum():
        assert found["average_precision"] == pytest.approx(oracle.average_precision_score(truth, answers))


def test_probability_metrics_agree_with_sklearn():
    random = np.random.default_rng(1)
    truth, answers = random.integers(0, 2, 5_000), random.random(5_000)
    found = evaluate("classification", truth, answers)
    assert found["log_loss"] == pytest.approx(oracle.log_loss(truth, answers))
    assert found["brier"] == pytest.approx(oracle.brier_score_loss(truth, answers))
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, answers >= 0.5))


def test_regression_metrics_agree_with_sklearn():
    random = np.random.default_rng(2)
    truth = random.normal(size=500)
    answers = truth + random.normal(size=500)
    assert evaluate("regression", truth, answers) == pytest.approx(
        {
            "rmse": oracle.root_mean_squared_error(truth, answers),
            "mae": oracle.mean_absolute_error(truth, answers),
            "r2": oracle.r2_score(truth, answers),
        }
    )


def test_log_loss_of_a_certain_mistake_is_large_but_finite():
    assert evaluate("classification", [1, 0], [0.0, 0.0])["log_loss"] == pytest.approx(-math.log(2.220446049250313e-16) / 2)


def test_a_calibrated_model_has_no_calibration_error_and_a_bold_one_has_its_boldness():
    truth = np.array([1] * 80 + [0] * 20)
    assert evaluate("classification", truth, np.full(100, 0.8))["expected_calibration_error"] == pytest.approx(0.0)
    assert evaluate("classification", truth, np.ones(100))["expected_calibration_error"] == pytest.approx(0.2)


def test_metrics_that_are_not_defined_are_left_out():
    assert evaluate("classification", [], []) == {}
    assert evaluate("regression", [], []) == {}
    assert "r2" not in evaluate("regression", [3, 3], [1, 2])


@pytest.mark.parametrize(
    ("truth", "answers", "reason"),
    [
        ([0, 1], [0.5], "same length"),
        ([0, 1], [0.5, math.nan], "1 of 2 rows"),
        ([0, 2], [0.5, 0.5], r"1 of 2 rows have a truth that a classification does not have: its labels are \{0, 1\}"),
        ([0, 1], [0.5, 1.5], "no probability"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(truth, answers, reason):
    with pytest.raises(InvalidInput, match=reason):
        evaluate("classification", truth, answers)


def test_each_metric_prefers_a_better_model():
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, 2_000).astype(float)
    good, bad = np.clip(truth * 0.9 + 0.05, 0, 1), random.random(2_000)
    for problem in ("classification", "regression"):
        better, worse = evaluate(problem, truth, good), evaluate(problem, truth, bad)
        assert all((better[name] > worse[name]) == metric_of_any(name).higher_is_better for name in better)
