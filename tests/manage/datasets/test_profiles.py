"""Profiles of datasets: every column described, quality counted against what is planted, and large or odd data survived."""

import msgspec
import numpy as np
import polars as pl
import pytest

from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles
from rota.records.data import Contract, Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.dataset import DatasetDefinition, RandomSplit
from rota.records.profile import Profile
from rota.records.record import decode, encode
from rota.records.schema import ColumnSchema, Schema
from rota.records.time import DAY_US, HOUR_US
from rota.rendering import profile_charts
from rota.testing.story import NOON_US

FIELDS = {"id": "string", "shop": "string", "asked": "timestamp", "known": "timestamp", "price": "float", "kind": "string"}
SOURCE = Source("sales", FIELDS, "known", id_field="id")
VIEW = FeatureView("shop", [Entity("shop", ["shop"])], SOURCE, {"last": Feature("price")}, ttl="9h")
DEFINITION = DatasetDefinition(FeatureService("s", [VIEW]), SOURCE, Feature("price > 5"), "asked", window="100d", split=RandomSplit(0.4))
TYPES = {"string": pl.String, "timestamp": pl.Int64, "float": pl.Float64, "bool": pl.Boolean}


def sales(rows=100):
    number = np.arange(rows)
    return pl.DataFrame(
        {
            "id": [f"s{n}" for n in number],
            "shop": [f"shop{n % 4}" for n in number],
            "asked": NOON_US - 10 * DAY_US + number * HOUR_US,
            "known": NOON_US - 10 * DAY_US + (number + 1) * HOUR_US,
            "price": number % 10 * 1.0,
            "kind": ["cone" if n % 2 else "tub" for n in number],
        }
    )


def profiled(frame, definition=DEFINITION, *, expected=None, now_us=NOON_US):
    tables = MemoryTables()
    tables.append(f"sources/{definition.labels.name}", frame.with_columns(created_us=pl.lit(0, pl.Int64)))
    built = datasets.build(tables, "ice", 1, definition, now_us=now_us)
    return profiles.profile(built.rows, definition, "ice@1", expected=expected, now_us=now_us), built


def scores(frame, definition=DEFINITION, **options):
    return profiles.scores(profiled(frame, definition, **options)[0])


def changed(**changes):
    return msgspec.structs.replace(DEFINITION, **changes)


def test_every_column_is_described_once_and_reads_back():
    found, built = profiled(sales())
    assert [(c.name, c.role, c.type) for c in found.columns][:3] == [
        ("shop__last", "feature", "float"),
        ("label", "label", "float"),
        ("at_us", "time", "timestamp"),
    ]
    assert {c.name for c in found.columns[3:]} == set(FIELDS)
    assert (found.sides, found.classes) == (("train", "test"), ("label 0", "label 1"))
    assert decode(encode(found), Profile) == found
    price = next(c for c in found.columns if c.name == "price")
    assert price.histogram.labels == tuple("0123456789")
    sides = built.rows.group_by("is_test", "price").len()
    expected = {(row["is_test"], int(row["price"])): row["len"] for row in sides.to_dicts()}
    for side, name in ((False, "train"), (True, "test")):
        assert price.histogram.counts[name] == tuple(expected.get((side, value), 0) for value in range(10))
    assert price.histogram.counts["label 1"] == (0,) * 6 + (10,) * 4


def test_healthy_data_score_one_in_everything_but_time():
    found = scores(sales())
    assert {name for name, score in found.items() if score < 1} <= {"timeliness", "completeness", "overall"}
    assert found["completeness"] == pytest.approx(1 - profiled(sales())[1].rows["shop__last"].null_count() / 800)


def test_each_planted_fault_lowers_its_own_dimension_by_its_share():
    base = scores(sales())
    every_fifth = pl.int_range(pl.len()) % 5 == 0
    missing = scores(sales().with_columns(kind=pl.when(~every_fifth).then("kind")))
    assert missing["completeness"] == pytest.approx(base["completeness"] - 20 / 800)
    early = scores(sales().with_columns(known=pl.when(every_fifth).then(pl.col("asked") - 1).otherwise("known")))
    assert early["consistency"] == pytest.approx(0.8)
    double = sales(90)
    repeated = pl.concat([double, double.head(10).with_columns(pl.col("id") + "again")])
    assert scores(repeated)["uniqueness"] == pytest.approx(0.9)
    same_moment = sales().with_columns(asked=pl.col("asked").gather([n if n % 10 else n - n % 20 for n in range(100)]), shop=pl.lit("one"))
    assert scores(same_moment)["uniqueness"] == pytest.approx(0.95)
    assert scores(sales(), changed(checks=["price < 9"]))["consistency"] == pytest.approx(0.9)
    assert scores(sales(), changed(checks=["price < 9", "price <> 8", "NULL > 3"]))["consistency"] == pytest.approx(0.8)


def test_validity_holds_fields_against_the_contract_and_features_against_the_schema():
    contract = Contract("anna", (ColumnSchema("kind", "string", domain=("cone",)), ColumnSchema("price", "float", maximum=7.0)))
    source = msgspec.structs.replace(SOURCE, contract=contract)
    found, built = profiled(sales(), changed(labels=source))
    cells = sum(c.count - c.nulls for c in found.columns if c.role != "time")
    assert profiles.scores(found)["validity"] == pytest.approx(1 - (50 + 20) / cells)
    assert {c.name: c.invalid for c in found.columns if c.invalid} == {"kind": "50 outside the domain", "price": "20 above 7"}
    schema = Schema("ice", 1, (ColumnSchema("shop__last", "float", minimum=1.0),))
    low = int((built.rows["shop__last"] < 1).sum())
    judged, _ = profiled(sales(), expected=schema)
    assert next(c for c in judged.columns if c.name == "shop__last").invalid == f"{low} below 1"
    infinite, _ = profiled(sales().with_columns(price=pl.when(pl.col("price") == 0).then(float("inf")).otherwise("price")))
    assert {c.name: c.infinite for c in infinite.columns if c.infinite and c.name == "price"} == {"price": 10}
    assert profiles.scores(infinite)["validity"] < 1


@pytest.mark.parametrize(
    ("freshness", "late_days", "expected"), [(None, 0, 1.0), (None, 25, 0.75), ("5d", 25, 0.8), ("30d", 25, 1.0), (None, 90, 0.1)]
)
def test_timeliness_falls_with_the_age_that_the_contract_does_not_allow(freshness, late_days, expected):
    source = msgspec.structs.replace(SOURCE, contract=Contract("anna", freshness=freshness))
    newest = int(sales()["known"].max())
    assert scores(sales(), changed(labels=source, window="100d"), now_us=newest + late_days * DAY_US)["timeliness"] == pytest.approx(expected)


def test_the_inferred_schema_knows_features_and_label():
    _, built = profiled(sales())
    schema = profiles.schema(built.rows, DEFINITION, "ice@1")
    assert [(c.name, c.type) for c in schema.columns] == [("shop__last", "float"), ("label", "float")]
    assert (schema.frozen_us, schema.dataset) == (None, "ice@1")


def test_columns_that_hold_nothing_infinities_or_one_value_have_a_profile_and_a_chart():
    frame = sales().with_columns(kind=pl.lit(None, pl.String), price=pl.lit(float("-inf")))
    found, _ = profiled(frame, changed(label=Feature("extract(hour from asked) * 1.0")))
    columns = {c.name: c for c in found.columns}
    assert (columns["kind"].histogram, columns["kind"].completeness) == (None, 0.0)
    assert (columns["price"].infinite, columns["price"].mean, columns["price"].histogram) == (100, None, None)
    assert "kind" not in profile_charts.charts(found)
    assert found.classes[-1] == "above"
    one, _ = profiled(sales(), changed(label=Feature("1")))
    assert one.classes == ("label 1",)


def test_hostile_names_and_values_stand_in_data_only():
    evil = "</script><img src=x onerror=alert(1)>"
    fields = {**FIELDS, evil: "string", 'a"b': "float"}
    source = Source("sales", fields, "known", id_field="id")
    frame = sales().with_columns(pl.lit("\u202e\x00" + evil * 10_000).alias(evil), pl.lit(1.0).alias('a"b'))
    view = msgspec.structs.replace(VIEW, source=source)
    found, _ = profiled(frame, changed(labels=source, features=FeatureService("s", [view])))
    assert len(encode(found)) < 50_000, "a cell of half a megabyte does not make the profile large"
    specs = profile_charts.charts(found)
    assert {evil, 'a"b'} <= specs.keys()
    for spec in specs.values():
        for panel in spec["hconcat"]:
            assert {encoding.get("field") for encoding in panel["encoding"].values()} <= {"value", "group", "share", "from", "to", None}


def test_on_demand_features_alone_need_no_entity():
    service = FeatureService("s", [OnDemandFeatureView("r", {"kind": "string"}, {"tub": Feature("kind = 'tub'")})])
    found, _ = profiled(sales(), changed(features=service))
    assert next(c for c in found.columns if c.name == "r__tub").type == "bool"
    assert profiles.scores(found)["uniqueness"] == 1.0


@pytest.mark.slow
def test_a_million_label_rows_with_duplicate_keys_lose_and_double_nothing():
    rows = 1_000_000
    number = np.arange(rows)
    frame = pl.DataFrame(
        {
            "id": [f"s{n}" for n in number],
            "shop": [f"shop{n % 5}" for n in number],
            "asked": NOON_US - 10 * DAY_US + number // 50 * 1_000_000,
            "known": NOON_US - 10 * DAY_US + number // 50 * 1_000_000 + HOUR_US,
            "price": number % 10 * 1.0,
            "kind": np.where(number % 2, "cone", "tub"),
        }
    )
    found, built = profiled(frame)
    assert built.version.rows == built.rows["id"].n_unique() == rows
    assert profiles.scores(found)["uniqueness"] == pytest.approx(0.1), "each shop and moment stands there ten times"
    assert sum(sum(counts) for group, counts in found.columns[1].histogram.counts.items() if group in found.sides) == rows


def test_a_field_that_a_feature_is_named_like_is_refused():
    source = Source("sales", {**FIELDS, "shop__last": "float"}, "known", id_field="id")
    view = msgspec.structs.replace(VIEW, source=source)
    with pytest.raises(InvalidInput, match="already has the columns"):
        profiled(sales().with_columns(shop__last=pl.lit(1.0)), changed(labels=source, features=FeatureService("s", [view])))
