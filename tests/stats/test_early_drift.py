"""Drift with few rows: exact p values as scipy's, the budget kept among independent rows, and what must and must not alarm."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import fisher_exact, hypergeom

from rota.errors import InvalidInput
from rota.stats import early_drift as module
from rota.stats.bins import choose_bins, count
from rota.stats.early_drift import early_drift, fisher


@pytest.mark.parametrize(
    ("hits", "rows", "other_hits", "other_rows"), [(16, 39, 20, 398), (0, 31, 60, 398), (5, 39, 20, 398), (3, 3, 0, 30), (0, 9, 0, 9)]
)
def test_the_p_value_is_that_of_the_hypergeometric_distribution(hits, rows, other_hits, other_rows):
    law = hypergeom(rows + other_rows, hits + other_hits, rows)
    assert fisher(hits, rows, other_hits, other_rows) == pytest.approx(min(1, 2 * min(law.sf(hits - 1), law.cdf(hits))), rel=1e-9)
    one_sided = min(fisher_exact([[hits, rows - hits], [other_hits, other_rows - other_hits]], way).pvalue for way in ("greater", "less"))
    assert fisher(hits, rows, other_hits, other_rows) == pytest.approx(min(1, 2 * one_sided), rel=1e-9)


def counted(baseline, days):
    bins = choose_bins("x", "float", pl.Series(baseline))
    return [count(bins, pl.Series(baseline))], [count(bins, pl.Series(day)) for day in days]


def judged(baseline, days, **options):
    reference, newest = counted(baseline, days)
    return early_drift(reference, newest, ordered=True, **{"features": 5, "days_between_false_alarms": 90, **options})


@pytest.mark.parametrize("seed", range(20))
def test_a_feature_times_two_and_a_half_on_four_days_of_thirteen_rows_is_drift(seed):
    draw = np.random.default_rng(seed)
    days = [draw.lognormal(3, 0.6, 13) * (2.54 if day >= 3 else 1) for day in range(7)]
    found = judged(draw.lognormal(3, 0.6, 398), days)
    assert found.alarm
    assert (found.slices, found.rows, found.baseline_rows) == (3, 39, 398)
    assert found.effect >= 30
    assert found.share_now != found.share_before


def test_days_like_the_baseline_are_quiet_and_too_few_rows_are_no_verdict():
    draw = np.random.default_rng(1)
    baseline = draw.normal(0, 1, 398)
    assert judged(baseline, draw.normal(0, 1, (7, 13))).state == "quiet"
    few = judged(baseline, draw.normal(9, 1, (14, 2)))
    assert (few.state, few.rows, few.slices) == ("learning", 28, 14)
    assert judged(baseline, draw.normal(9, 1, (2, 500))).state == "learning"  # two days are not enough, however many rows they have
    assert judged(draw.normal(0, 1, 29), draw.normal(9, 1, (7, 13))).state == "learning"


def test_a_value_never_seen_and_a_flood_of_nulls_are_drift_of_a_text():
    bins = choose_bins("kind", "string", pl.Series(["a"] * 300 + ["b"] * 98))
    reference = [count(bins, pl.Series(["a"] * 300 + ["b"] * 98))]
    for odd in ("new", None):
        days = [count(bins, pl.Series(["a"] * 9 + [odd] * 4, dtype=pl.String))] * 3
        found = early_drift(reference, days, ordered=False, features=5, days_between_false_alarms=90)
        assert (found.alarm, found.share_before) == (True, 0.0)
        assert found.worst_bin == (bins.size - 1 if odd else 0)


def test_one_odd_day_among_the_pooled_is_no_drift_and_an_effect_must_be_worth_it():
    baseline = np.random.default_rng(2).normal(0, 1, 5_000)
    assert judged(baseline, [baseline[:50], baseline[50:100], np.full(500, 9.0)]).state == "undecided"
    shifted = np.random.default_rng(3).normal(0.15, 1, (3, 5_000))  # certain, and 6 of 100 rows only
    assert judged(baseline, shifted).state == "undecided"


def test_days_that_differ_among_themselves_in_the_baseline_weaken_the_evidence():
    draw = np.random.default_rng(4)
    days = [draw.normal(draw.normal(0, 1), 1, 40) for _ in range(16)]
    bins = choose_bins("x", "float", pl.Series(np.concatenate(days)))
    newest = [count(bins, pl.Series(draw.normal(1.2, 1, 40))) for _ in range(3)]
    per_day = [count(bins, pl.Series(day)) for day in days]
    options = {"ordered": True, "features": 5, "days_between_false_alarms": 90}
    assert not early_drift(per_day, newest, **options).alarm
    assert early_drift([np.sum(per_day, axis=0)], newest, **options).state == "alarm"


def test_false_alarms_keep_their_budget_among_independent_rows():
    draw, alarms, looks = np.random.default_rng(5), 0, 1_500
    for _ in range(looks):
        alarms += judged(draw.exponential(1, 398), draw.exponential(1, (3, 13)), features=1, days_between_false_alarms=20).alarm
    assert alarms <= looks / 20  # the bound; ties and Bonferroni make it far fewer


def test_counts_on_other_bins_are_refused_and_many_rows_are_scaled():
    with pytest.raises(InvalidInput, match="same bins"):
        early_drift([[1, 2, 3]], [[1, 2]], ordered=True, features=1, days_between_false_alarms=90)
    many = 10 * module.MOST_ROWS
    found = early_drift([[0, many, many]], [[0, many, 3 * many]] * 3, ordered=True, features=1, days_between_false_alarms=90)
    assert (found.alarm, found.rows) == (True, 12 * many)
