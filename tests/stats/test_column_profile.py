"""One column's profile: numpy and polars are the oracle, and histograms count every value once in each kind of group."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.stats import column_profile
from rota.stats.slice_statistics import QUANTILES

ANY = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, -1.0, 1e308, -1e308, 5e-324]))


def by(rows, label=None):
    return column_profile.groups(
        pl.Series([n % 3 == 0 for n in range(rows)]), pl.Series(label if label is not None else [float(n % 2) for n in range(rows)])
    )


def profile(values, kind="float", dtype=None):
    series = pl.Series("x", values, dtype=dtype)
    return column_profile.column_profile("x", "feature", kind, series, by(len(series)))


def test_numbers_are_described_as_numpy_would():
    values = np.random.default_rng(3).gamma(2, 3, 10_001)
    found = profile(values)
    assert found.quantiles == pytest.approx(np.quantile(values, QUANTILES), rel=1e-12)
    assert (found.mean, found.std) == pytest.approx((values.mean(), values.std()), rel=1e-12)
    assert (found.minimum, found.maximum, found.distinct) == (values.min(), values.max(), 10_001)
    counts, _ = np.histogram(values, bins=np.array(found.histogram.edges))
    assert [a + b for a, b in zip(*(found.histogram.counts[side] for side in column_profile.SIDES), strict=True)] == counts.tolist()


@given(st.lists(ANY, min_size=1, max_size=60))
def test_any_numbers_have_a_profile_whose_groups_count_every_finite_value_once(values):
    found = profile(values, dtype=pl.Float64)
    numbers = np.array([np.nan if value is None else value for value in values])
    finite = numbers[np.isfinite(numbers)]
    assert (found.count, found.nulls, found.infinite) == (len(values), int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum()))
    assert found.zeros == int((finite == 0).sum())
    if found.histogram:
        for names in (column_profile.SIDES, ("label 0", "label 1")):
            assert sum(sum(found.histogram.counts.get(name, ())) for name in names) == len(finite)
    else:
        assert not len(finite)


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdefghijklmnopq"), st.text(max_size=3)), min_size=1, max_size=200))
def test_texts_keep_their_ten_commonest_and_put_the_rest_together(values):
    found = profile(values, "string", pl.String)
    present = [value for value in values if value is not None]
    assert (found.nulls, found.distinct) == (len(values) - len(present), len(set(present)))
    assert [count for _, count in found.top] == sorted((present.count(value) for value in set(present)), reverse=True)[:10]
    if found.histogram:
        assert sum(sum(found.histogram.counts[side]) for side in column_profile.SIDES) == len(present)


def test_few_far_values_do_not_squeeze_the_rest_into_one_bar():
    values = [*np.random.default_rng(1).normal(0, 1, 1_000), 1e9]
    found = profile(values)
    assert found.histogram.edges[-1] < 10
    assert found.maximum == 1e9
    assert sum(max(found.histogram.counts[side]) for side in column_profile.SIDES) < 300
    assert sum(found.histogram.counts[side][-1] for side in column_profile.SIDES) >= 10, "values outside stand in the last bar"


def test_truths_whole_numbers_beyond_doubles_and_moments():
    truths = profile([True, False, None, True], "bool")
    assert (truths.nulls, truths.distinct, truths.mean) == (1, 2, pytest.approx(2 / 3))
    assert truths.histogram.labels == ("false", "true")
    assert profile([2**53, 2**53 + 1, 2**53 + 2], "int").distinct == 3
    assert profile([n * 10**12 for n in range(50)], "timestamp").histogram.edges[-1] == 49e12


def test_a_text_that_names_things_has_no_histogram_and_a_long_one_is_cut():
    assert profile([f"id{n}" for n in range(300)], "string").histogram is None
    long = profile(["x" * 10_000_000, "y"], "string")
    assert max(len(text) for text, _ in long.top) <= column_profile.LONGEST_TEXT + 1


def test_labels_with_few_values_are_classes_and_others_are_thirds():
    assert by(6).classes == ("label 0", "label 1")
    assert by(6, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]).classes == ("label 0", "label 1", "label 2")
    thirds = by(90, [float(n) for n in range(90)])
    assert len(thirds.classes) == 3
    assert np.bincount(thirds.label).tolist() == [30, 30, 30]
    assert len(set(by(90, [0.0] * 80 + [float(n) for n in range(10)]).classes)) == len(by(90, [0.0] * 80 + [float(n) for n in range(10)]).classes)
