"""The arithmetic of quality: ratios have closed forms, nothing leaves 0..1, and of nothing at all there is no score."""

import polars as pl
import pytest

from rota.records.profile import ColumnProfile, Dimension
from rota.records.schema import ColumnSchema
from rota.records.time import DAY_US
from rota.stats import quality


def column(count, nulls, validity=1.0):
    return ColumnProfile("x", "feature", "float", count, nulls, 1, completeness=1 - nulls / count if count else 1.0, validity=validity)


def test_completeness_and_validity_count_cells_over_all_columns():
    columns = [column(100, 0), column(100, 50, validity=0.8)]
    assert quality.completeness(columns).score == 0.75
    assert quality.validity(columns, 1).score == pytest.approx(1 - 10 / 150)
    assert "1 columns have" in quality.validity(columns, 1).reason
    assert "no schema" in quality.validity(columns, 0).reason


def test_no_columns_no_rows_and_no_rules_are_not_judged():
    nothing = [quality.completeness([]), quality.validity([], 0), quality.uniqueness(0, 0, None), quality.consistency(0, 0, [])]
    assert [each.score for each in nothing] == [None] * 4
    assert quality.consistency(10, 0, []).score is None
    assert "could not be judged" in quality.consistency(10, 0, []).reason
    assert quality.overall([]) is quality.overall(nothing) is None


def test_uniqueness_takes_the_worse_of_its_two_counts():
    assert quality.uniqueness(10, 2, 1).score == 0.8
    assert quality.uniqueness(10, 2, 5).score == 0.5
    assert quality.uniqueness(10, 2, None).score == 0.8


def test_consistency_counts_rows_once_and_names_the_rules_that_break():
    found = quality.consistency(10, 3, [("a < b", 2), ("b < c", 2), ("c < d", 0)])
    assert found.score == 0.7
    assert "'a < b'" in found.reason
    assert "c < d" not in found.reason


def test_timeliness_never_leaves_its_range():
    assert quality.timeliness(0, None, DAY_US).score == 1.0
    assert quality.timeliness(DAY_US // 2, None, DAY_US).score == 0.5
    assert quality.timeliness(5 * DAY_US, None, DAY_US).score == 0.0
    assert quality.timeliness(DAY_US, DAY_US, 0).score == 0.0


def test_overall_is_the_mean():
    assert quality.overall([Dimension("a", 1.0, ""), Dimension("b", 0.5, ""), Dimension("c", None, "")]) == 0.75


@pytest.mark.parametrize(
    ("values", "expected", "broken", "reason"),
    [
        ([1.0, 2.0, None, float("nan")], None, 0, ""),
        ([1.0, float("inf"), float("-inf")], None, 2, "2 infinite"),
        ([1.0, 5.0, 9.0, None], ColumnSchema("x", "float", minimum=2, maximum=8), 2, "1 below 2, 1 above 8"),
        ([float("-inf"), 5.0], ColumnSchema("x", "float", minimum=2), 1, "1 infinite, 1 below 2"),
        (["a", "b", None], ColumnSchema("x", "string", domain=("a",)), 1, "1 outside the domain"),
        (["a", "b"], None, 0, ""),
        (["a", "b"], ColumnSchema("x", "float", minimum=1), 0, ""),
        ([True, False, None], None, 0, ""),
        ([None, None], ColumnSchema("x", "float", minimum=1), 0, ""),
    ],
)
def test_a_value_is_broken_once_and_the_reason_says_how(values, expected, broken, reason):
    found = quality.validity_of(pl.Series("x", values), expected)
    assert (found.broken, found.reason) == (broken, reason)
