"""Datasets: immutable, the same when built twice, no label row dropped or doubled, nothing known only later."""

import msgspec
import numpy as np
import polars as pl
import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import build as datasets
from rota.ports.metadata import Batch
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.dataset import DatasetDefinition, TimeSplit
from rota.records.time import DAY_US, HOUR_US, parse_time

NOW = parse_time("2013-07-15T04:00:00Z")
FIELDS = {"id": "string", "origin": "string", "at": "timestamp", "delay": "float"}
SOURCE = Source("flights", FIELDS, "at", id_field="id")
VIEW = FeatureView("airport", [Entity("airport", ["origin"])], SOURCE, {"last": Feature("delay")})
SERVICE = FeatureService("late", [VIEW, OnDemandFeatureView("request", {"origin": "string"}, {"home": Feature("origin = 'JFK'")})])
DEFINITION = DatasetDefinition(SERVICE, SOURCE, Feature("delay > 15"), "at", window="28d", split=TimeSplit("7d"))
TYPES = {"string": pl.String, "timestamp": pl.Int64, "float": pl.Float64}


def row(identity, hours_ago, delay=20.0, *, origin="JFK", created=None):
    at = NOW - hours_ago * HOUR_US
    return {"id": str(identity), "origin": origin, "at": at, "delay": delay, "created_us": at if created is None else created}


def month(rows=200):
    draw = np.random.default_rng(5)
    return [row(n, int(hours), float(delay), origin=origin) for n, (hours, delay, origin) in enumerate(_drawn(draw, rows))]


def _drawn(draw, rows):
    return zip(draw.integers(0, 27 * 24, rows), draw.normal(10, 20, rows), draw.choice(["JFK", "LGA", "EWR"], rows), strict=True)


def tables_with(rows, source=SOURCE):
    tables = MemoryTables()
    add(tables, rows, source)
    return tables


def add(tables, rows, source=SOURCE):
    schema = {name: TYPES[kind] for name, kind in source.fields.items()} | {"created_us": pl.Int64}
    tables.append(f"sources/{source.name}", pl.DataFrame(rows, schema=schema))


def build(tables, number=1, definition=DEFINITION, now_us=NOW):
    return datasets.build(tables, "late", number, definition, now_us=now_us)


def ids(built):
    return built.rows["id"].to_list()


def test_every_labelled_row_is_there_once_with_its_features_as_they_were():
    rows = month()
    built = build(tables_with(rows))
    assert sorted(ids(built)) == sorted(each["id"] for each in rows)
    assert built.rows["label"].to_list() == [float(delay > 15) for delay in built.rows["delay"]]
    assert built.rows["request__home"].to_list() == [origin == "JFK" for origin in built.rows["origin"]]
    assert built.rows["airport__last"].null_count() == 0  # the newest row at t is the row itself, at the least
    assert built.rows["at_us"].is_sorted()
    assert built.rows["row"].to_list() == list(range(200))
    version = built.version
    assert (version.rows, version.train_rows + version.test_rows, version.sources) == (200, 200, {"flights": 0})


def test_the_newest_days_are_the_test_and_everything_before_trains():
    built = build(tables_with(month()))
    version = built.version
    assert version.test_from_us == version.end_us + 1 - 7 * DAY_US
    assert built.rows["is_test"].to_list() == [at >= version.test_from_us for at in built.rows["at_us"]]
    assert 0 < version.test_rows < version.train_rows
    border = build(tables_with([row("train", 168), row("test", 167), row("newest", 0)]))
    assert dict(zip(ids(border), border.rows["is_test"], strict=True)) == {"train": False, "test": True, "newest": True}


def test_built_twice_is_the_same_dataset():
    tables = tables_with(month())
    first, second = build(tables), build(tables)
    assert first.version == second.version
    assert datasets.read(tables, first.version).equals(first.rows)


@pytest.mark.parametrize("identified", [True, False])
def test_the_digest_is_of_the_rows_and_not_of_how_they_were_stored(identified):
    source = SOURCE if identified else msgspec.structs.replace(SOURCE, id_field=None)
    view = msgspec.structs.replace(VIEW, source=source)
    definition = msgspec.structs.replace(DEFINITION, labels=source, features=FeatureService("late", [view]))
    rows = [*month(), *(row(f"t{n}", 30, float(n), origin="LGA") for n in range(20))]
    digests = set()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(rows))
        tables = tables_with([rows[n] for n in order[:100]])
        add(tables, [rows[n] for n in order[100:]])
        digests.add(build(tables, definition=definition).version.digest)
    changed = [*rows[:-1], {**rows[-1], "delay": rows[-1]["delay"] + 1e-9}]
    assert len(digests) == 1
    assert build(tables_with(changed), definition=definition).version.digest not in digests


def test_a_digest_sees_values_nulls_names_types_and_places_but_not_what_lies_under_a_null():
    frame = pl.DataFrame({"x": [1.0, None, 3.0], "s": ["a", None, "bc"], "b": [True, None, False]})
    same = frame.with_columns(pl.when(pl.col("x").is_not_null()).then(pl.col("x").fill_null(7.0)).alias("x"))
    others = [
        frame.with_columns(x=pl.col("x").fill_null(0.0)),
        frame.with_columns(s=pl.Series(["ab", None, "c"])),
        frame.with_columns(s=pl.col("s").fill_null("")),
        frame.with_columns(b=pl.col("b").fill_null(value=False)),
        frame.rename({"x": "y"}),
        frame.cast({"x": pl.Float32}),
        frame.reverse(),
        frame[:2],
        frame.select("s", "x", "b"),
    ]
    assert datasets.digest_of(same) == datasets.digest_of(frame)
    assert len({datasets.digest_of(other) for other in [frame, *others]}) == 1 + len(others)


def test_a_row_received_after_the_build_does_not_take_part():
    tables = tables_with(month())
    before = build(tables)
    add(tables, [row("late", 30, created=NOW + 1), row("0", 300, 999.0, created=NOW + 1)])
    assert build(tables).rows.equals(before.rows)
    after = build(tables, now_us=NOW + 1)
    assert "late" in ids(after)
    assert after.rows.filter(id="0")["delay"].to_list() == [999.0]
    assert after.version.rows == 201


def test_the_window_has_two_ends_and_a_row_from_the_future_waits():
    rows = [row("too old", 28 * 24), row("oldest", 28 * 24 - 1), row("now", 0), row("future", -1, created=NOW)]
    assert ids(build(tables_with(rows))) == ["oldest", "now"]


def test_rows_without_a_label_are_no_label_rows():
    assert ids(build(tables_with([row("a", 300), row("null", 20, None), row("nan", 10, float("nan")), row("b", 0)]), definition=REGRESSION)) == [
        "a",
        "b",
    ]


REGRESSION = msgspec.structs.replace(DEFINITION, label=Feature("delay"))


def test_a_build_that_died_before_its_record_leaves_nothing_a_later_one_reads():
    tables = tables_with(month())
    build(tables)  # killed here: number 1 is still free
    add(tables, [row("new", 1, created=NOW + 5)])
    again = build(tables, now_us=NOW + 5)
    assert datasets.read(tables, again.version).height == again.version.rows == 201


def test_a_version_never_changes():
    tables = tables_with(month())
    first = build(tables, 1)
    add(tables, [row("new", 1), row("1", 100, -500.0, created=NOW)])
    second = build(tables, 2)
    assert second.version.digest != first.version.digest
    assert datasets.read(tables, first.version).equals(first.rows)
    assert datasets.read(tables, second.version).equals(second.rows)
    assert datasets.digest_of(datasets.read(tables, first.version)) == first.version.digest


@pytest.mark.parametrize("rows", [None, [], [row("old", 10_000)], [row("unknown", 5, None)]], ids=["no table", "no rows", "old", "no label"])
def test_a_dataset_without_rows_says_what_to_do(rows):
    tables = MemoryTables() if rows is None else tables_with(rows)
    with pytest.raises(
        InvalidInput, match=r"'late' has no labelled rows in the 28d before 2013-07-15T04:00:00Z; push or ingest rows of source 'flights'"
    ):
        build(tables)
    assert tables.tables("datasets/") == []


@pytest.mark.parametrize("test", ["100d", "0s"])
def test_a_split_with_an_empty_side_is_refused(test):
    definition = msgspec.structs.replace(DEFINITION, split=TimeSplit(test))
    with pytest.raises(InvalidInput, match="both training and test need rows"):
        build(tables_with(month()), definition=definition)


@pytest.mark.parametrize("field", ["row", "is_test", "at_us"])
def test_a_source_field_named_like_a_datasets_own_column_is_refused(field):
    source = Source("flights", {**FIELDS, field: "float"}, "at", id_field="id")
    with pytest.raises(InvalidInput, match=rf"has the fields \['{field}'\]"):
        build(MemoryTables(), definition=msgspec.structs.replace(DEFINITION, labels=source))


@pytest.mark.parametrize("name", ["", "../late", "a/b", "-x", "x" * 200])
def test_a_hostile_name_is_refused(name):
    with pytest.raises(InvalidInput, match="dataset name"):
        datasets.build(tables_with(month()), name, 1, DEFINITION, now_us=NOW)


def test_numbers_follow_what_is_committed():
    metadata = MemoryMetadata()
    assert datasets.next_number(metadata, "late") == 1
    batch = Batch()
    batch.create(build(tables_with(month())).version)
    metadata.commit(batch)
    assert datasets.next_number(metadata, "late") == 2
    assert datasets.get(metadata, "late", 1).rows == 200
    with pytest.raises(NotFound, match="dataset 'late' has no version 2"):
        datasets.get(metadata, "late", 2)


def test_a_text_is_a_category_and_anything_else_a_number():
    built = build(tables_with(month()))
    assert datasets.feature_types(built.rows, ["origin", "airport__last", "request__home"]) == {
        "origin": "string",
        "airport__last": "float",
        "request__home": "float",
    }
