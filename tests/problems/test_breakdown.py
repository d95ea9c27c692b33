"""What lies behind the metrics agrees with scikit-learn's reports, and of many names says how many are left out."""

import numpy as np
import pytest
from sklearn import metrics as sk

from rota.problems import breakdown
from rota.problems.problem_type import ScoredRows
from rota.problems.registry import PROBLEMS, problem_type
from rota.records.breakdown import OTHERS, Breakdown
from rota.records.record import decode, encode

DRAW = np.random.default_rng(2)
ROWS = 400
WEIGHTS = DRAW.uniform(0.1, 3, ROWS)


def probabilities(classes: int, rows: int = ROWS) -> np.ndarray:
    odds = np.exp(DRAW.normal(0, 2, (rows, classes)))
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_classes_agree_with_scikit_learn(weights):
    names, answers = ("a", "b", "c", "d"), probabilities(4)
    truth = DRAW.integers(0, 4, ROWS).astype(float)
    found = problem_type("multiclass").breakdown(ScoredRows(truth, answers, names, weights))
    said = answers.argmax(axis=1)
    assert np.allclose(found.confusion, sk.confusion_matrix(truth, said, sample_weight=weights), rtol=1e-9)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, said, sample_weight=weights)
    for name, key in ((precision, "precision"), (recall, "recall"), (f1, "f1")):
        assert [found.by_name[each][key] for each in names] == pytest.approx(name, rel=1e-9)
    assert found.classes == names
    assert not found.left_out


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_two_classes_and_their_calibration_agree_with_counting(weights):
    answers = DRAW.uniform(0, 1, ROWS)
    truth = (DRAW.uniform(0, 1, ROWS) < answers).astype(float)
    found = problem_type("classification").breakdown(ScoredRows(truth, answers, ("no", "yes"), weights))
    assert np.allclose(found.confusion, sk.confusion_matrix(truth, answers >= 0.5, sample_weight=weights), rtol=1e-9)
    assert found.by_name["yes"]["recall"] == pytest.approx(sk.recall_score(truth, answers >= 0.5, sample_weight=weights), rel=1e-9)
    mass = np.ones(ROWS) if weights is None else weights
    for each in found.calibration:
        inside = (answers >= each.low) & (answers < each.high)
        assert each.rows == pytest.approx(mass[inside].sum())
        assert each.share == pytest.approx(np.average(truth[inside], weights=mass[inside]))
        assert each.answered == pytest.approx(np.average(answers[inside], weights=mass[inside]))
    gap = sum(each.rows * abs(each.answered - each.share) for each in found.calibration) / mass.sum()
    assert gap == pytest.approx(problem_type("classification").evaluate(ScoredRows(truth, answers, (), weights))["expected_calibration_error"])


def test_labels_agree_with_scikit_learn_on_what_is_known():
    names, answers = ("a", "b", "c"), DRAW.uniform(0, 1, (ROWS, 3))
    truth = DRAW.integers(0, 2, (ROWS, 3)).astype(float)
    truth[::7, 1] = np.nan
    found = problem_type("multilabel").breakdown(ScoredRows(truth, answers, names, WEIGHTS))
    for place, name in enumerate(names):
        known = ~np.isnan(truth[:, place])
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            truth[known, place], answers[known, place] >= 0.5, sample_weight=WEIGHTS[known], average="binary"
        )
        assert [found.by_name[name][key] for key in ("precision", "recall", "f1")] == pytest.approx([precision, recall, f1], rel=1e-9)
    assert sum(each.rows for each in found.calibration) == pytest.approx((WEIGHTS[:, None] * ~np.isnan(truth)).sum())


def test_each_of_several_targets_has_its_own_metrics():
    truth, answers = DRAW.normal(size=(ROWS, 2)), DRAW.normal(size=(ROWS, 2))
    truth[:10, 1] = np.nan
    found = problem_type("regression").breakdown(ScoredRows(truth, answers, ("x", "y")))
    assert found.by_name["y"]["rows"] == ROWS - 10
    assert found.by_name["y"]["mae"] == pytest.approx(sk.mean_absolute_error(truth[10:, 1], answers[10:, 1]), rel=1e-9)
    assert problem_type("regression").breakdown(ScoredRows(truth[:, 0], answers[:, 0])) == Breakdown()


def test_of_many_classes_those_with_most_rows_are_kept_and_no_row_is_lost():
    classes = breakdown.MOST_NAMES + 30
    names, answers = tuple(f"c{place}" for place in range(classes)), probabilities(classes, 5_000)
    truth = np.minimum(DRAW.geometric(0.08, 5_000) - 1, classes - 1).astype(float)
    truth[:5] = -1
    found = breakdown.of_classes(ScoredRows(truth, answers, names))
    counts = np.bincount(truth[5:].astype(int), minlength=classes)
    assert set(found.by_name) == {names[place] for place in np.argsort(-counts, kind="stable")[: breakdown.MOST_NAMES]}
    assert found.classes[-1] == OTHERS
    assert np.sum(found.confusion) == 5_000
    assert found.left_out == 30
    assert found.left_out_sentence == "30 more, with the fewest rows, are not shown one by one"
    assert found.by_name["c0"]["precision"] == pytest.approx(sk.precision_score(truth == 0, answers.argmax(axis=1) == 0), rel=1e-9)


@pytest.mark.parametrize("name", ["classification", "multiclass", "multilabel"])
def test_without_rows_and_with_one_class_it_says_what_there_is(name):
    kind = problem_type(name)
    empty = np.empty(0) if name == "classification" else np.empty((0, 2))
    found = kind.breakdown(ScoredRows(np.empty((0, 2)) if name == "multilabel" else np.empty(0), empty, ("a", "b")))
    assert found.calibration == ()
    assert all(each == {"rows": 0.0} for each in found.by_name.values())


def test_every_table_has_one_that_is_stored_and_read():
    for kind in PROBLEMS.values():
        made = kind.breakdown(ScoredRows(np.zeros(3), np.full(3, 0.25))) if kind.name in ("classification", "regression", "count") else Breakdown()
        assert decode(encode(made), Breakdown) == made
