"""Slices: days cut out of rows against a count by hand, and faults that neither hide nor become the reference."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.manage.datasets.daily_slices import SAMPLE, Window, cut, day_of, examine
from rota.records.schema import Bins
from rota.records.time import DAY_US, parse_time
from rota.stats.bins import choose_bins, count

START = parse_time("2013-07-01T00:00:00Z")
SCHEMA = {"at": pl.Int64, "number": pl.Float64, "text": pl.String}
BINS = [Bins("number", "float", edges=(1.0, 2.0, 3.0)), Bins("text", "string", values=("a", "b"), rare=("c",))]


def random_rows(seed, rows=2_000, days=9):
    draw = np.random.default_rng(seed)
    numbers = [None if value < -0.5 else float(value) for value in draw.uniform(-1, 5, rows)]
    texts = [[None, "a", "b", "c", "z"][pick] for pick in draw.integers(0, 5, rows)]
    at = START + draw.integers(-days * DAY_US, days * DAY_US, rows)
    return pl.DataFrame({"at": at, "number": numbers, "text": texts}, schema=SCHEMA)


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_counts_what_a_count_by_hand_does(seed):
    rows = random_rows(seed)
    days = cut(rows, "at", BINS)
    by_hand = Counter(at - at % DAY_US for at in rows["at"])
    assert days.starts_us == tuple(sorted(by_hand))
    for place, start in enumerate(days.starts_us):
        mine = rows.filter((pl.col("at") >= start) & (pl.col("at") < start + DAY_US))
        assert mine.height == by_hand[start]
        for bins in BINS:
            assert days.counts[bins.name][place].tolist() == count(bins, mine[bins.name]).tolist()
        values = days.values["number"][place]
        assert sorted(values[~np.isnan(values)]) == sorted(mine["number"].drop_nulls())
        assert np.isnan(values).sum() == mine["number"].null_count()


def test_the_days_do_not_depend_on_the_order_of_the_rows():
    rows = random_rows(7)
    here, there = cut(rows, "at", BINS), cut(rows.sample(fraction=1, shuffle=True, seed=1), "at", BINS)
    assert here.starts_us == there.starts_us
    assert all((here.counts[name] == there.counts[name]).all() for name in here.counts)


def test_a_day_ends_a_microsecond_before_the_next():
    rows = pl.DataFrame({"at": [START - 1, START, START + DAY_US - 1, START + DAY_US], "number": 1.0, "text": "a"}, schema=SCHEMA)
    days = cut(rows, "at", BINS)
    assert days.starts_us == (START - DAY_US, START, START + DAY_US)
    assert days.counts["number"].sum(axis=1).tolist() == [1, 2, 1]
    assert day_of(START + DAY_US - 1) == START
    assert day_of(-1) == -DAY_US


def test_no_rows_have_no_days_and_no_findings_but_learning():
    days = cut(pl.DataFrame(schema=SCHEMA), "at", BINS)
    assert days.starts_us == ()
    assert [(f.drift.state, f.fault) for f in examine(BINS, days, Window())] == [("learning", None)] * 2


def test_a_feature_that_is_not_in_the_rows_is_left_out():
    days = cut(random_rows(1).drop("text"), "at", BINS)
    assert [finding.feature for finding in examine(BINS, days, Window())] == ["number"]


def test_texts_where_numbers_are_expected_are_named():
    with pytest.raises(InvalidInput, match="'number' holds String"):
        cut(random_rows(1).with_columns(pl.lit("x").alias("number")), "at", BINS)


def test_a_large_day_is_sampled_evenly_over_its_rows():
    rows = pl.DataFrame({"at": START, "number": np.arange(10_000.0), "text": "a"}, schema=SCHEMA)
    (values,) = cut(rows, "at", BINS).values["number"]
    assert len(values) == SAMPLE
    assert (values[0], values[-1]) == (0.0, 9_980.0)


def test_only_the_newest_days_keep_values():
    assert len(cut(random_rows(1), "at", BINS, newest=3).values["number"]) == 3
    assert cut(random_rows(1), "at", BINS, newest=0).values["number"] == ()


def weather(days, *, broken=frozenset(), rows=60):
    """Temperatures of days, in Celsius but on broken days in Fahrenheit."""
    draw = np.random.default_rng(3)
    at, number = [], []
    for day in range(days):
        celsius = 15 + 3 * np.sin(day) + draw.normal(0, 4, rows)
        at += [START + day * DAY_US + n for n in range(rows)]
        number += list(celsius * 1.8 + 32 if day in broken else celsius)
    return pl.DataFrame({"at": at, "number": number, "text": "a"}, schema=SCHEMA)


def test_a_feed_that_breaks_is_named_on_its_second_day():
    bins = [choose_bins("number", "float", weather(40)["number"])]
    for broken, named in ((set(), None), ({40}, None), ({40, 41}, "Celsius read as Fahrenheit")):
        days = 41 if broken == {40} else 42
        (finding,) = examine(bins, cut(weather(days, broken=broken), "at", bins), Window())
        assert (finding.fault.name if finding.fault else None) == named


def test_days_of_a_fault_are_left_out_of_the_reference():
    """A fault that was mended would otherwise hide the next one: its own days make any distance look usual."""
    bins = [choose_bins("number", "float", weather(40)["number"])]
    past, now = {30, 31, 32}, {40, 41}
    days = cut(weather(42, broken=past | now), "at", bins)
    left_out = {"number": frozenset(START + day * DAY_US for day in past)}
    (naive,), (careful,) = examine(bins, days, Window(gap=2)), examine(bins, days, Window(gap=2), left_out=left_out)
    assert naive.fault is None
    assert careful.fault is not None
    assert careful.fault.name == "Celsius read as Fahrenheit"
    assert careful.drift.slices == naive.drift.slices - 3
    assert days.usable(left_out["number"]) == [day for day in range(42) if day not in past]
    assert examine(bins, days, Window(gap=2), left_out={"other": left_out["number"]}) == [naive]


def test_a_fault_that_lasts_is_seen_as_long_as_it_lasts():
    bins = [choose_bins("number", "float", weather(40)["number"])]
    for lasted in range(2, 25):
        broken = set(range(40, 40 + lasted))
        left_out = {"number": frozenset(START + day * DAY_US for day in broken)}
        (finding,) = examine(bins, cut(weather(40 + lasted, broken=broken), "at", bins), Window(), left_out=left_out)
        assert finding.fault is not None, lasted
