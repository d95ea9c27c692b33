"""Answer drift of every problem type: quiet while a version answers as it did, an alarm when it does not, and what it cannot say."""

import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace

from rota.manage.signals import typed_values
from rota.manage.signals.label_domain import DeclaredProblem
from rota.monitor import answer_drift, status
from rota.problems.registry import PROBLEMS, problem_type
from rota.records.release import Endpoint
from rota.records.signal import Monitor, MonitorSlice
from rota.records.time import DAY_US

DAYS, ROWS = 45, 120
MONITOR = Monitor(Endpoint("e", "m"), expected_days_between_false_alarms=30)
NAMES = {
    "multiclass": ("red", "green", "blue"),
    "multilabel": ("news", "sport"),
    "quantiles": ("0.1", "0.5", "0.9"),
    "forecast": ("1", "2"),
}


def probabilities(draw, shift, rows):
    odds = np.exp(draw.normal(0, 1, (rows, 3)) + np.array([0, 0, 2.0 * shift]))
    return odds / odds.sum(axis=1, keepdims=True)


ANSWERS = {
    "classification": lambda draw, shift, rows: draw.beta(2 + 3 * shift, 3, rows),
    "multiclass": probabilities,
    "multilabel": lambda draw, shift, rows: draw.beta(2 + 3 * shift, 3, (rows, 2)),
    "regression": lambda draw, shift, rows: draw.normal(shift, 1, rows),
    "quantiles": lambda draw, shift, rows: draw.normal(shift, 1, (rows, 1)) + np.array([-1.0, 0, 1]),
    "count": lambda draw, shift, rows: draw.gamma(2 + 2 * shift, 1, rows),
    "positive": lambda draw, shift, rows: draw.gamma(2 + 2 * shift, 1, rows),
    "forecast": lambda draw, shift, rows: draw.normal(shift, 1, (rows, 2)),
    "ranking": lambda draw, shift, rows: draw.normal(shift, 1, rows),
    "anomaly": lambda draw, shift, rows: draw.normal(shift, 1, rows),
    "clustering": lambda draw, shift, rows: draw.choice(3, rows, p=[0.5 - 0.4 * shift, 0.3, 0.2 + 0.4 * shift]),
    "text": lambda draw, shift, rows: np.array(["so " * int(n) for n in draw.poisson(4 + 4 * shift, rows) + 1], dtype=object),
    "embedding": lambda draw, shift, rows: draw.normal(shift, 1, (rows, 8)),
    "custom": lambda draw, shift, rows: np.array([{"x": [int(n)]} for n in draw.poisson(4 + 4 * shift, rows)], dtype=object),
}


def day_of_rows(problem: DeclaredProblem, array: np.ndarray, number: int = 1) -> pl.DataFrame:
    """A day of the log as it is read back."""
    answers = problem.kind.answer.plain(problem.names, array)
    return typed_values.frame("answer", answers).with_columns(pl.lit(number, pl.Int64).alias("number"))


def served(problem: DeclaredProblem, days: list[tuple[float, int]], *, rows: int = ROWS, names=None):
    """The slices of days of (shift, version), and how many columns the answers of the last have."""
    draw, slices = np.random.default_rng(3), []
    make = ANSWERS[problem.problem] if names is None else lambda draw, shift, rows: draw.normal(shift, 1, (rows, len(names)))
    for day, (shift, number) in enumerate(days):
        logged = day_of_rows(problem, make(draw, shift, rows), number)
        answers = answer_drift.answers_of(logged, answer_drift.busiest(logged), problem)
        empty = MonitorSlice("e", day * DAY_US, (day + 1) * DAY_US, rows, 0, {}, {}, {})
        slices.append(answer_drift.counted(empty, answers, slices))
    return slices, answers.columns


def outcomes(problem: DeclaredProblem, days, **options):
    slices, columns = served(problem, days, **options)
    return answer_drift.check(MONITOR, slices, problem, columns=columns)


def test_every_problem_type_is_tried():
    assert ANSWERS.keys() == PROBLEMS.keys()


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "custom"])
def test_a_shift_of_the_answers_is_an_alarm_and_the_same_answers_are_none(name):
    problem = DeclaredProblem(name, NAMES.get(name, ()))
    quiet = outcomes(problem, [(0.0, 1)] * DAYS)
    assert {result.outcome for result in quiet.results} == {"pass"}
    assert not quiet.breaches
    drifted = outcomes(problem, [(0.0, 1)] * (DAYS - 6) + [(1.0, 1)] * 6)
    assert drifted.breaches
    assert all(status.is_of_answers(result.subject) for result in drifted.results)
    assert {(breach.kind, breach.severity) for breach in drifted.breaches} == {("drift", "warning")}
    assert "(answers of version 1)" in drifted.breaches[0].message


def test_of_any_json_a_monitor_says_that_it_cannot_judge():
    (result,) = outcomes(DeclaredProblem("custom"), [(0.0, 1)] * 3).results
    assert (result.outcome, result.state, result.subject) == ("inconclusive", "cannot", "answer")
    assert "@rota.metric" in result.missing


def test_a_new_version_may_answer_otherwise_and_is_judged_by_its_own_days():
    problem = DeclaredProblem("regression")
    changed = outcomes(problem, [(0.0, 1)] * 40 + [(2.0, 2)] * 5)
    assert not changed.breaches
    assert {result.outcome for result in changed.results} == {"inconclusive"}
    back = outcomes(problem, [(0.0, 1)] * 40 + [(2.0, 2)] * 3 + [(0.0, 1)])
    assert {result.outcome for result in back.results} == {"pass"}
    drifted = outcomes(problem, [(0.0, 1)] * 40 + [(2.0, 2)] * 30 + [(4.0, 2)] * 5)
    assert drifted.breaches
    assert drifted.breaches[0].evidence["answered_by"] == 2


def test_days_with_few_answers_choose_no_bins_and_say_so():
    (result,) = outcomes(DeclaredProblem("regression"), [(0.0, 1)] * 3, rows=answer_drift.LEAST_ANSWERS - 1).results
    assert (result.outcome, result.state) == ("inconclusive", "learning")
    assert "no day with 50 answers of version 1 yet" in result.message


def test_a_day_without_answers_could_not_be_judged():
    problem = DeclaredProblem("multiclass", NAMES["multiclass"])
    slices, columns = served(problem, [(0.0, 1)] * 40)
    none = answer_drift.answers_of(day_of_rows(problem, np.empty((0, 3))), 0, problem)
    empty = answer_drift.counted(MonitorSlice("e", 40 * DAY_US, 41 * DAY_US, 0, 0, {}, {}, {}), none, slices)
    (result,) = answer_drift.check(MONITOR, [*slices, empty], problem, columns=columns).results
    assert (result.outcome, result.state) == ("inconclusive", "cannot")


def test_of_many_numbers_the_first_are_watched_and_the_others_are_told():
    names = tuple(f"t{place}" for place in range(60))
    found = outcomes(DeclaredProblem("regression", names), [(0.0, 1)] * DAYS, rows=60, names=names)
    cut = [result for result in found.results if result.subject == "answer"]
    assert len(found.results) == 51
    assert cut[0].missing == "the first 50 of 60 numbers of an answer are watched"
    assert status.summary(found.results)["not_judged"] == [f"drift of answer: cannot, {cut[0].missing}"]


def test_a_slice_of_an_older_release_is_no_reference():
    problem = problem_type("regression")
    slices, columns = served(DeclaredProblem("regression"), [(0.0, 1)] * DAYS)
    older = [replace(slices[0], answers={}, answered_by=0, answer_bins=0, answer_columns=()), *slices]
    assert {r.outcome for r in answer_drift.check(MONITOR, older, DeclaredProblem(problem.name), columns=columns).results} == {"pass"}
