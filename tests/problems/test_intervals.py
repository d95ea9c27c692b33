"""Confidence intervals of metrics: they cover the truth as often as they say, of days that are not alike too."""

import numpy as np
import pytest

from rota.problems.intervals import metric_intervals
from rota.problems.problem_type import ScoredRows
from rota.problems.registry import problem_type
from rota.records.time import DAY_US
from rota.stats import bootstrap

WORLDS = 80


def covered(truth: float, intervals: list[tuple[float, float]]) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def regression(random: np.random.Generator, days: int, a_day: int, day_spread: float) -> ScoredRows:
    """Errors with a mean of 0 and a part that all rows of a day share."""
    shared = np.repeat(random.normal(0, day_spread, days), a_day)
    return ScoredRows(random.normal(0, 1, days * a_day) + shared, np.zeros(days * a_day))


def test_rows_that_are_independent_are_covered_as_often_as_said():
    kind, random = problem_type("regression"), np.random.default_rng(1)
    found = [metric_intervals(kind, regression(random, 60, 1, 0), draws=100)["mae"] for _ in range(WORLDS)]
    assert 0.88 <= covered(np.sqrt(2 / np.pi), found) <= 0.99


def test_days_that_are_not_alike_need_the_bootstrap_by_day():
    """Rows of a day err together: a bootstrap of rows is much too sure, one of days is not."""
    kind, random, moments = problem_type("regression"), np.random.default_rng(2), np.repeat(np.arange(12), 40) * DAY_US + 3_600_000_000
    worlds = [regression(random, 12, 40, 1.0) for _ in range(WORLDS)]
    truth = np.sqrt(2 / np.pi) * np.sqrt(2)
    by_day = [metric_intervals(kind, rows, moments_us=moments, draws=100)["mae"] for rows in worlds]
    by_row = [metric_intervals(kind, rows, draws=40)["mae"] for rows in worlds[:30]]
    assert 0.85 <= covered(truth, by_day) <= 0.99
    assert covered(truth, by_row) < 0.6


def test_the_same_seed_gives_the_same_and_the_value_lies_within():
    kind, random = problem_type("classification"), np.random.default_rng(3)
    answers = random.random(300)
    rows = ScoredRows((random.random(300) < answers).astype(float), answers)
    once, again = metric_intervals(kind, rows), metric_intervals(kind, rows)
    assert once == again
    assert once != metric_intervals(kind, rows, seed=1)
    assert all(once[name][0] <= value <= once[name][1] for name, value in kind.evaluate(rows).items() if name != "expected_calibration_error")


def test_of_too_few_days_nothing_is_said():
    kind, rows = problem_type("regression"), regression(np.random.default_rng(4), 3, 50, 0)
    assert metric_intervals(kind, rows, moments_us=np.repeat(np.arange(3), 50) * DAY_US) == {}
    assert metric_intervals(kind, rows.where(np.zeros(150, dtype=bool))) == {}


def test_a_group_that_is_drawn_twice_is_two_groups():
    """All groups are ranked equally badly, so every draw is as good as the whole; merged, two of them would be another ranking."""
    groups, relevance = np.repeat(np.arange(8), 5), np.tile(np.arange(5.0), 8)
    rows = ScoredRows(relevance, -relevance, groups=groups)
    value = problem_type("ranking").evaluate(rows)["ndcg"]
    for moments in (None, groups % 4 * DAY_US):
        assert metric_intervals(problem_type("ranking"), rows, moments_us=moments)["ndcg"] == pytest.approx((value, value))


def test_of_very_many_rows_some_are_drawn_and_the_interval_is_wider(monkeypatch):
    kind, random = problem_type("regression"), np.random.default_rng(5)
    rows = regression(random, 100, 20, 0)
    moments = np.repeat(np.arange(100), 20) * DAY_US
    whole = metric_intervals(kind, rows, moments_us=moments)["mae"]
    monkeypatch.setattr(bootstrap, "MOST_ROWS", 200)
    for chosen in (None, moments):
        low, high = metric_intervals(kind, rows, moments_us=chosen)["mae"]
        assert high - low > whole[1] - whole[0]


def test_a_metric_that_hardly_a_draw_defines_has_no_bounds():
    found = bootstrap.intervals(lambda places, _draw: {"rare": 1.0} if 0 in places[:1] else {"often": float(places.mean())}, 50)
    assert set(found) == {"often"}
    assert found["often"][0] < 24.5 < found["often"][1]
