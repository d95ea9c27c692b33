"""Frames of labels of every kind: large, repeated, unsorted, with and without zones, with columns that clash."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest

from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.features.join.compaction import Sizes, cluster
from rota.manage.features.join.latest_row import Timeline, ordered_by
from rota.manage.features.join.point_in_time import historical
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source

DAY = 86_400_000_000
NOON = 1_373_889_600_000_000  # 2013-07-15 12:00 UTC
NAIVE = datetime(2013, 7, 15, 12, tzinfo=UTC).replace(tzinfo=None)
weather = Source("weather", {"origin": "string", "hour": "timestamp", "wind": "float", "gusts": "int"}, "hour")
view = FeatureView("weather", [Entity("airport", ["origin"])], weather, {"wind": Feature("wind"), "gusts": Feature("gusts")}, ttl="1d")
service = FeatureService("s", [view])


def tables_with(hours: list[int], origins: list[str | None]) -> MemoryTables:
    tables = MemoryTables()
    rows = {"origin": origins, "hour": hours, "wind": [float(i) for i in range(len(hours))], "gusts": list(range(len(hours))), "created_us": hours}
    schema = {"origin": pl.String, "hour": pl.Int64, "wind": pl.Float64, "gusts": pl.Int64, "created_us": pl.Int64}
    tables.append("sources/weather", pl.DataFrame(rows, schema=schema))
    return tables


@pytest.mark.parametrize(
    "at",
    [
        pl.Series([NOON]),
        pl.Series([NAIVE]),
        pl.Series([NAIVE]).cast(pl.Datetime("ns")),
        pl.Series([datetime(2013, 7, 15, 14, tzinfo=timezone(timedelta(hours=2)))]),
        pl.Series([NAIVE]).dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York"),
        pl.Series([date(2013, 7, 16)]),
    ],
    ids=["micros", "naive", "nanoseconds", "zone of an offset", "zone by name", "date"],
)
def test_a_moment_is_the_same_in_every_form(at: pl.Series) -> None:
    tables = tables_with([NOON - 1, NOON, NOON + DAY], ["JFK"] * 3)
    assert historical(tables, service, pl.DataFrame({"origin": ["JFK"], "at": at}), timestamp="at")["weather__gusts"].to_list() == [1]


def test_naive_and_zoned_columns_of_one_frame_are_each_read_as_what_they_are() -> None:
    request = OnDemandFeatureView("request", {"booked": "timestamp"}, {"booked": Feature("booked")})
    spine = pl.DataFrame({"origin": ["JFK"], "at": [NAIVE], "booked": [NOON]}).with_columns(
        pl.col("booked").cast(pl.Datetime("us", "UTC")).dt.convert_time_zone("Asia/Tokyo")
    )
    made = historical(tables_with([NOON], ["JFK"]), FeatureService("both", [view, request]), spine, timestamp="at")
    assert made.select("weather__gusts", "request__booked").row(0) == (0, NOON)


def test_times_of_any_form_are_taken_and_anything_else_is_named_with_its_row() -> None:
    tables = tables_with([NOON], ["JFK"])
    texts = pl.DataFrame({"origin": ["JFK"] * 3, "at": ["2013-07-15T12:00Z", "2013-07-15T14:00+02:00", None]})
    assert historical(tables, service, texts, timestamp="at")["weather__gusts"].to_list() == [0, 0, None]
    mixed = pl.DataFrame({"origin": ["JFK"] * 3}).with_columns(pl.Series("at", [NAIVE, NAIVE.replace(tzinfo=UTC), NOON - 1], dtype=pl.Object))
    assert historical(tables, service, mixed, timestamp="at")["weather__gusts"].to_list() == [0, 0, None]
    with pytest.raises(InvalidInput, match=r"row 1, column 'at' of the frame \(type String\): '03/02/2026' is no timestamp; which number is its day"):
        historical(tables, service, pl.DataFrame({"origin": ["JFK"] * 2, "at": ["2013-07-15", "03/02/2026"]}), timestamp="at")
    with pytest.raises(InvalidInput, match=r"row 0, column 'origin' of the frame, for view 'weather',.*7 is no string"):
        historical(tables, service, pl.DataFrame({"origin": [7], "at": [NOON]}), timestamp="at")
    with pytest.raises(InvalidInput, match="already has the columns"):
        historical(tables, service, pl.DataFrame({"origin": ["JFK"], "at": [NOON], "weather__wind": [1.0]}), timestamp="at")
    with pytest.raises(InvalidInput, match=r"lacks the columns \['at'\]"):
        historical(tables, service, pl.DataFrame({"origin": ["JFK"]}), timestamp="at")


@pytest.mark.parametrize("compacted", [False, True])
def test_a_million_repeated_unsorted_labels_keep_their_number_and_order(compacted: bool) -> None:
    rng = np.random.default_rng(3)
    tables = tables_with([NOON + int(minute) * 60_000_000 for minute in rng.integers(0, 1_000, 5_000)], [str(i % 50) for i in range(5_000)])
    if compacted:
        cluster(tables, weather, [("origin",)], sizes=Sizes(smallest=1, bucket=1_500, memory=3_000))
    few = pl.DataFrame({"origin": [None if i == 7 else str(i % 60) for i in range(400)], "at": NOON + rng.integers(-DAY, 3 * DAY, 400)})
    few = few.with_columns(pl.when(pl.col("at") % 11 > 0).then("at"))
    picked = rng.integers(0, few.height, 1_000_000)
    spine = few[picked]
    made = historical(tables, service, spine, timestamp="at")
    assert made.select(spine.columns).equals(spine)
    one_by_one = pl.concat([historical(tables, service, few[i], timestamp="at") for i in range(0, few.height, 8)])
    answers = historical(tables, service, few, timestamp="at")
    assert answers[::8].equals(one_by_one)
    assert made.equals(answers[picked])
    assert 0 < answers["weather__gusts"].null_count() < few.height


def test_frames_without_rows_or_with_nulls_only_have_every_column() -> None:
    for tables in (MemoryTables(), tables_with([], []), tables_with([NOON], [None])):
        for spine in (pl.DataFrame({"origin": ["JFK"], "at": [NOON]}), pl.DataFrame({"origin": [None], "at": [None]})):
            made = historical(tables, service, spine, timestamp="at")
            assert made.schema == spine.schema | {"weather__wind": pl.Float64, "weather__gusts": pl.Int64}
            assert made.select(service.feature_names).row(0) == (None, None)
        assert historical(tables, service, pl.DataFrame(schema={"origin": pl.String, "at": pl.Int64}), timestamp="at").is_empty()


def test_only_the_selected_features_come_and_in_their_order() -> None:
    chosen = FeatureService("some", [view], selected=["weather__gusts"])
    made = historical(tables_with([NOON], ["JFK"]), chosen, pl.DataFrame({"origin": ["JFK"], "at": [NOON]}), timestamp="at")
    assert made.columns == ["origin", "at", "weather__gusts"]


def test_entities_and_times_that_do_not_fit_into_one_number_are_ranked() -> None:
    rng = np.random.default_rng(5)
    entities, moments = rng.integers(0, 1_000, 3_000), rng.choice([-(2**60), -5, 0, 5, 2**60], 3_000) + rng.integers(0, 3, 3_000)
    timeline = Timeline(entities, moments)
    ordered = ordered_by(timeline.keys, np.arange(3_000), lambda _: [])
    asked, at = rng.integers(-1, 1_001, 500), rng.choice([-(2**61), -(2**60), -4, 1, 2**60, 2**61], 500)
    found = ordered.row(timeline.last(ordered.keys, asked, at))
    for entity, moment, row in zip(asked, at, found, strict=True):
        mine = [i for i in range(3_000) if entities[i] == entity and moments[i] <= moment]
        assert row == max(mine, key=lambda i: (moments[i], i), default=-1)
