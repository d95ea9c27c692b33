"""Planted changes are what they say, lose no row, and are found sooner where there are more rows and calmer days."""

import numpy as np
import pytest

from rota.stats.shift_power import CHANGES, LOOKS, DriftRules, SmallestChange, alarms, begun, plant, smallest_changes

RULES = DriftRules(features=5, days_between_false_alarms=90)


def numbers(rows: int, days: int = 130, *, weather: float = 0.0, seed: int = 1) -> np.ndarray:
    """Days of a number in 20 quantile bins behind one of nulls; each day's mean moves by `weather` standard deviations."""
    random = np.random.default_rng(seed)
    edges = np.array([-np.inf, *np.quantile(random.normal(size=100_000), np.arange(1, 20) / 20), np.inf])
    return np.array([[0, *np.histogram(random.normal(random.normal(0, weather), 1, rows), edges)[0]] for _ in range(days)])


def texts(rows: int, days: int = 130) -> np.ndarray:
    """Three texts, then the bins of rare and unseen ones."""
    return np.random.default_rng(2).multinomial(rows, [0, 0.5, 0.3, 0.2, 0, 0], size=days)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_planted_change_loses_no_row(ordered):
    days = numbers(150) if ordered else texts(150)
    for change in CHANGES[ordered]:
        for size in (0.01, 0.3, 1.0):
            planted = plant(days, change, size)
            assert (planted.sum(axis=1) == 150).all()
            assert (planted >= 0).all()


def test_planted_sizes_are_those_that_are_named():
    assert plant(numbers(1_000), "nulls", 0.2)[:, 0].tolist() == [200] * 130
    assert plant(texts(1_000), "new", 0.05)[:, -1].tolist() == [50] * 130
    assert (texts(1_000)[:, 1] - plant(texts(1_000), "share", 0.1)[:, 1]).tolist() == [100] * 130
    middle = plant(numbers(10_000), "shift", 1.0).mean(axis=0).cumsum()[10] / 10_000  # below the median lay one half
    assert middle == pytest.approx(0.1587, abs=0.01)  # of a standard normal variable so much lies below -1


def test_more_rows_show_smaller_changes_and_days_that_differ_hide_them():
    def found(days):
        return {each.change: each.within_28_days for each in smallest_changes(days, RULES, ordered=True)}

    few, many, stormy = found(numbers(60)), found(numbers(2_000)), found(numbers(2_000, weather=0.7))
    assert many["shift"] < few["shift"]
    assert many["nulls"] <= few["nulls"]
    assert stormy["shift"] is None or stormy["shift"] > few["shift"]


def test_what_is_found_is_found_when_it_is_planted_anew():
    days = texts(300, days=260)
    (share, new, nulls) = smallest_changes(days[:130], RULES, ordered=False)
    for change in (share, new, nulls):
        assert change.within_28_days is not None
        planted = np.concatenate([days[130:232], plant(days[232:], change.change, change.within_28_days)])
        assert any(alarms(planted[: 102 + look], RULES, ordered=False) for look in LOOKS)


def test_days_without_a_change_hardly_alarm():
    counted = [begun(numbers(200, seed=seed), RULES, ordered=True, first=37) for seed in range(5)]
    assert sum(judged for _, judged in counted) == 5 * 93
    assert sum(alarms for alarms, _ in counted) <= 1


def test_with_few_rows_a_day_the_baseline_judges_and_with_hardly_any_nothing_does():
    (_, new, _) = smallest_changes(texts(13), RULES, ordered=False)
    assert new.within_2_days is None
    assert new.within_28_days is not None
    assert smallest_changes(texts(1), RULES, ordered=False)[1] == SmallestChange("new", None, None)
    assert begun(texts(1), RULES, ordered=False, first=37) == (0, 0)
