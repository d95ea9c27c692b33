"""Bins chosen on training data count any later slice, and the counts of slices add up."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import InvalidInput
from rota.stats.bins import choose_bins, count
from rota.stats.slice_statistics import column_statistics

NUMBERS = st.lists(st.one_of(st.none(), st.floats(width=32), st.sampled_from([0.0, 1.0, 2.5])), max_size=50)
TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=3), st.sampled_from("abc")), max_size=50)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_counts_of_two_slices_of_numbers_add_up_to_those_of_both(training, first, second):
    bins = choose_bins("x", "float", pl.Series(training, dtype=pl.Float64))
    slices = [pl.Series(values, dtype=pl.Float64) for values in (first, second, first + second)]
    counts = [count(bins, values) for values in slices]
    assert (counts[0] + counts[1] == counts[2]).all()
    assert counts[2].sum() == len(first) + len(second)
    assert counts[2].shape == (bins.size,)
    assert counts[2].dtype == np.int64


@given(TEXTS, TEXTS, TEXTS)
def test_counts_of_two_slices_of_texts_add_up_to_those_of_both(training, first, second):
    bins = choose_bins("x", "string", pl.Series(training, dtype=pl.String))
    slices = [pl.Series(values, dtype=pl.String) for values in (first, second, first + second)]
    counts = [count(bins, values) for values in slices]
    assert (counts[0] + counts[1] == counts[2]).all()
    assert counts[2].sum() == len(first) + len(second)
    assert count(bins, pl.Series(training, dtype=pl.String))[-1] == 0


def test_bins_of_numbers_hold_about_a_twentieth_each_and_include_their_upper_edge():
    values = pl.Series(np.random.default_rng(1).normal(size=20_000))
    bins = choose_bins("x", "float", values)
    assert len(bins.edges) == 19
    assert count(bins, values)[1:] == pytest.approx(1_000, abs=2)
    at_edge = count(bins, pl.Series([bins.edges[4]]))
    assert at_edge[5] == 1


def test_null_and_nan_share_the_first_bin_and_infinities_go_to_the_ends():
    bins = choose_bins("x", "float", pl.Series([1.0, 2.0, 3.0, float("inf"), None]))
    assert bins.edges == (1.0, 2.0, 3.0)
    assert count(bins, pl.Series([None, float("nan"), float("-inf"), 2.0, float("inf")])).tolist() == [2, 1, 1, 0, 1]


def test_booleans_integers_and_times_are_counted_as_numbers():
    flags = choose_bins("x", "bool", pl.Series([True, False]))
    assert count(flags, pl.Series([True, True, False, None])).tolist() == [1, 1, 2, 0]
    times = pl.Series([datetime(2013, 1, day, tzinfo=UTC) for day in range(1, 29)])
    assert count(choose_bins("x", "timestamp", times), times).sum() == 28


def test_rare_and_unseen_texts_have_bins_of_their_own():
    training = pl.Series([f"common{i}" for i in range(30)] * 2 + ["rare"])
    bins = choose_bins("x", "string", training)
    assert bins.rare == ("rare",)
    counts = count(bins, pl.Series(["rare", "new", "newer", None, "common3"]))
    assert (counts[0], counts[-2], counts[-1]) == (1, 1, 2)
    assert counts.sum() == 5


def test_an_identifier_column_does_not_become_a_huge_record():
    bins = choose_bins("id", "string", pl.Series([str(i) for i in range(50_000)]))
    assert len(bins.rare) == 10_000


def test_columns_without_values_get_bins_too():
    assert count(choose_bins("x", "float", pl.Series([], dtype=pl.Float64)), pl.Series([1.0, None])).tolist() == [1, 1]
    assert count(choose_bins("x", "string", pl.Series([None, None])), pl.Series(["a", None])).tolist() == [1, 0, 1]


def test_values_of_another_kind_are_refused_by_name():
    with pytest.raises(InvalidInput, match="'temp' holds String"):
        count(choose_bins("temp", "float", pl.Series([1.0])), pl.Series(["a"]))
    with pytest.raises(InvalidInput, match="'carrier' holds Int64"):
        choose_bins("carrier", "string", pl.Series([1]))


def test_a_million_rows_are_counted_without_going_through_them(python_steps):
    random = np.random.default_rng(1)
    numbers, texts = pl.Series(random.normal(size=1_000_000)), pl.Series(random.integers(0, 5_000, 1_000_000)).cast(pl.String)
    both = choose_bins("x", "float", numbers[:50_000]), choose_bins("y", "string", texts[:50_000])
    assert python_steps(lambda: count(both[0], numbers)) < 10_000
    assert python_steps(lambda: count(both[1], texts)) < 10_000


def test_statistics_describe_the_finite_values():
    values = pl.Series([1.0, 2.0, 3.0, None, float("nan"), float("inf")])
    found = column_statistics("x", "float", values, choose_bins("x", "float", values))
    assert (found.count, found.nulls, found.minimum, found.maximum, found.mean) == (6, 2, 1.0, 3.0, 2.0)
    assert found.std == pytest.approx(np.std([1, 2, 3]))
    assert found.quantiles[3] == 2.0
    texts = pl.Series(["b", "a", "b", None])
    found = column_statistics("y", "string", texts, choose_bins("y", "string", texts))
    assert found.top == (("b", 2), ("a", 1))
    assert (found.nulls, found.mean) == (1, None)
