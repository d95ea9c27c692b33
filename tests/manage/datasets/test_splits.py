"""Splits: the same row always stands on the same side, groups stay whole, and a share is a share."""

import numpy as np
import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.manage.datasets import splits
from rota.records.data import Source
from rota.records.dataset import GroupSplit, RandomSplit, TimeSplit
from rota.records.time import DAY_US

FIELDS = {"id": "string", "user": "string", "age": "int", "weight": "float", "vip": "bool", "at": "timestamp"}
SOURCE = Source("orders", FIELDS, "at", id_field="id")
NAMELESS = Source("orders", FIELDS, "at")


def orders(rows, *, start=0):
    numbers = np.arange(start, start + rows)
    return pl.DataFrame(
        {
            "id": [f"o{n}" for n in numbers],
            "user": [f"u{n % 97}" for n in numbers],
            "age": numbers % 80,
            "weight": numbers / 7,
            "vip": numbers % 3 == 0,
            "at": numbers * 3_600_000_000,
        }
    )


def held_out(rows, split, source=SOURCE):
    return splits.assign(rows, "at", split, source, dataset="d").test


def test_the_draw_is_fixed_for_ever():
    """These numbers were written down once: a change of them would move rows of every user to the other side."""
    drawn = {
        "string": (["", "o1", "ünïcödé"], [0.644811706, 0.36877142, 0.728612955]),
        "int": ([0, -1, 2**62], [0.392216462, 0.984483431, 0.85946874]),
        "float": ([0.0, -0.0, 1.5], [0.368189516, 0.368189516, 0.987890615]),
        "bool": ([False, True], [0.737518168, 0.923040147]),
        "timestamp": ([0, 10**15], [0.979841368, 0.997165156]),
    }
    for kind, (values, expected) in drawn.items():
        assert splits.drawn(pl.Series(values), kind, 0).tolist() == pytest.approx(expected, abs=1e-7), kind
    assert splits.drawn(pl.Series(["o1"]), "string", 1)[0] != splits.drawn(pl.Series(["o1"]), "string", 0)[0]
    assert splits.drawn(pl.Series([1]), "int", -5)[0] != splits.drawn(pl.Series([1]), "int", 5)[0]


@pytest.mark.parametrize("split", [RandomSplit(0.3), RandomSplit(0.3, by="age", seed=4), GroupSplit("user", 0.3)])
def test_a_row_keeps_its_side_when_data_grow_shrink_or_change_places(split):
    small, large = orders(500, start=700), orders(3_000)
    sides = dict(zip(large["id"], held_out(large, split), strict=True))
    assert held_out(small, split).to_list() == [sides[identity] for identity in small["id"]]
    mixed = large.sample(fraction=1.0, shuffle=True, seed=1)
    assert held_out(mixed, split).to_list() == [sides[identity] for identity in mixed["id"]]


def test_no_group_is_on_both_sides():
    rows = orders(5_000)
    sides = rows.with_columns(held_out(rows, GroupSplit("user", 0.25)).alias("test")).group_by("user").agg(pl.col("test").n_unique())
    assert sides["test"].to_list() == [1] * 97


@pytest.mark.parametrize("by", ["id", "at", "weight"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_a_share_is_met_up_to_chance(by, share):
    rows = orders(20_000)
    test = held_out(rows, RandomSplit(share, by=by))
    assert abs(test.mean() - share) < 5 * np.sqrt(share * (1 - share) / 20_000)
    halves = test[:10_000].mean(), test[10_000:].mean()
    assert abs(halves[0] - halves[1]) < 0.04, "the draw does not follow the order of the values"


def test_a_larger_share_keeps_what_a_smaller_one_held_out_and_another_seed_draws_anew():
    rows = orders(5_000)
    few, many, other = (held_out(rows, split) for split in (RandomSplit(0.1), RandomSplit(0.4), RandomSplit(0.4, seed=1)))
    assert (few & ~many).sum() == 0
    assert abs((many & other).mean() - 0.16) < 0.03


def test_time_holds_out_the_newest_and_says_from_when():
    rows = orders(24 * 10)
    found = splits.assign(rows, "at", TimeSplit("2d"), SOURCE, dataset="d")
    assert found.test_from_us == rows["at"].max() + 1 - 2 * DAY_US
    assert found.test.to_list() == [at >= found.test_from_us for at in rows["at"]]
    drawn = splits.assign(rows, "at", RandomSplit(0.5), SOURCE, dataset="d")
    assert drawn.test_from_us == rows["at"].filter(drawn.test).min()


def test_a_row_without_the_identity_is_refused_with_the_way_out():
    rows = orders(100).with_columns(user=pl.when(pl.col("age") > 90).then("user").otherwise(pl.when(pl.col("age") > 2).then("user")))
    with pytest.raises(InvalidInput, match=r"of 100 rows have no 'user', .* filter='user IS NOT NULL'"):
        held_out(rows, GroupSplit("user"))


def test_a_split_without_an_identity_or_by_an_unknown_column_is_refused():
    with pytest.raises(InvalidInput, match=r"no id_field.*RandomSplit\(by="):
        held_out(orders(10), RandomSplit(), NAMELESS)
    with pytest.raises(InvalidInput, match=r"'colour', which is no field of label source 'orders'; its fields are \['age'"):
        held_out(orders(10), GroupSplit("colour"))


@pytest.mark.parametrize("rows", [1, 60])
def test_one_group_cannot_stand_on_both_sides(rows):
    with pytest.raises(InvalidInput, match="both training and test need rows"):
        held_out(orders(rows).with_columns(user=pl.lit("only")), GroupSplit("user"))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_leaves_a_side_empty_is_no_split(share):
    with pytest.raises(InvalidInput, match="share between 0 and 1"):
        RandomSplit(share)


@pytest.mark.slow
def test_a_million_rows_with_few_and_with_many_values():
    rows = orders(1_000_000)
    assert abs(held_out(rows, RandomSplit(0.2)).mean() - 0.2) < 0.002
    assert 0 < held_out(rows, GroupSplit("user", 0.2)).sum() < 1_000_000
