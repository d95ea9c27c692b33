"""Gate 1 obeys the schema's policies and comparators, follows a changed pipeline, and names a fault that has lasted for days."""

import msgspec
import numpy as np
import polars as pl
import pytest

from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices, schemas
from rota.manage.datasets.schema_edits import Edits, apply
from rota.manage.datasets.schema_inference import describe, following, of_version
from rota.ports.metadata import Batch
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.run import Deployed
from rota.records.schema import Schema
from rota.records.time import DAY_US
from rota.testing.story import NOON_US, alert
from rota.train import data_gate

DAY0_US = NOON_US - NOON_US % DAY_US
DAYS, ROWS = 50, 60
SOURCE = Source("w", {"shop": "string", "at": "timestamp", "temp": "float", "kind": "string"}, "at")
VERSION = DatasetVersion("ice", 1, "d", "t", 0, DAYS * ROWS, 0, 0, 0, 0, 0, NOON_US)


def definition(**features):
    wanted = features or {"temp": "temp", "kind": "kind"}
    view = FeatureView("w", [Entity("shop", ["shop"])], SOURCE, {name: Feature(sql) for name, sql in wanted.items()})
    return DatasetDefinition(FeatureService("s", [view]), SOURCE, Feature("temp > 70"), "at")


def rows(broken_days=0, **columns):
    """Days of temperature around 70 and of two kinds; the newest days came in Celsius where 70 F are expected."""
    rng = np.random.default_rng(3)
    day = np.repeat(np.arange(DAYS), ROWS)
    temp = 70 + rng.normal(0, 1, DAYS)[day] + rng.normal(0, 5, len(day))
    frame = pl.DataFrame(
        {
            datasets.AT: DAY0_US + day * DAY_US + np.tile(np.arange(ROWS), DAYS) * 60_000_000,
            "w__temp": np.where(day >= DAYS - broken_days, (temp - 32) / 1.8, temp),
            "w__kind": rng.choice(["cone", "tub"], len(day)),
            datasets.TEST: day >= DAYS - 3,
        }
    )
    return frame.with_columns(**columns)


@pytest.fixture(scope="module")
def schema():
    return data_gate.infer(definition(), rows(), "ice", VERSION, now_us=NOON_US)


def judged(schema, frame, *, open_faults=(), controls=None):
    found = data_gate.judge(schema, frame, definition().features.feature_names, open_faults, controls).anomalies
    return {(a.feature, a.kind, a.severity) for a in found}


@pytest.mark.parametrize("days", [2, 3, 5, 8])
def test_a_fault_is_named_on_every_day_that_it_lasts(schema, days):
    assert ("w__temp", "KNOWN_FAULT", "fail") in judged(schema, rows(broken_days=days))


def test_the_days_before_the_newest_two_that_were_faulty_are_left_out(schema):
    days = daily_slices.cut(rows(broken_days=5), datasets.AT, schema.bins)
    faulty = daily_slices.spoiled(schema.bins, days)
    assert faulty == {"w__temp": frozenset(DAY0_US + day * DAY_US for day in range(DAYS - 5, DAYS - 1))}
    assert daily_slices.spoiled(schema.bins, daily_slices.cut(rows(), datasets.AT, schema.bins)) == {}


def test_a_policy_decides_what_faults_and_alerts_do(schema):
    broken, opened = rows(broken_days=2), alert("w__kind", kind="distribution_skew")
    lenient = apply(schema, Edits(policies=["w__temp.KNOWN_FAULT=warn", "OPEN_ALERT=ignore", "w__temp.FLOAT_TYPE_SMALL_FLOAT=ignore"]))
    found = judged(lenient, broken, open_faults=[opened])
    assert ("w__temp", "KNOWN_FAULT", "warn") in found
    assert {"OPEN_ALERT", "FLOAT_TYPE_SMALL_FLOAT"}.isdisjoint({kind for _, kind, _ in found})
    strict = apply(schema, Edits(policies=["FLOAT_TYPE_SMALL_FLOAT=fail"]))
    assert ("w__temp", "FLOAT_TYPE_SMALL_FLOAT", "fail") in judged(strict, broken)


def test_a_column_of_serving_only_is_not_missed_in_training(schema):
    assert ("w__kind", "SCHEMA_MISSING_COLUMN", "fail") in judged(schema, rows().drop("w__kind"))
    serving_only = apply(schema, Edits(["w__kind.not_in_environment=TRAINING"]))
    assert "SCHEMA_MISSING_COLUMN" not in {kind for _, kind, _ in judged(serving_only, rows().drop("w__kind"))}


def test_a_drift_comparator_compares_with_the_dataset_before(schema):
    limited = apply(schema, Edits(["w__kind.drift.infinity_norm=0.2", "min_fraction=0.9"]))
    before = data_gate.Controls(previous=describe(datasets.newest(rows()), limited.bins))
    assert judged(limited, rows(), controls=before) == set()
    cones = rows(w__kind=pl.when(pl.col(datasets.TEST)).then(pl.lit("cone")).otherwise("w__kind"))
    assert ("w__kind", "COMPARATOR_L_INFTY_HIGH", "warn") in judged(limited, cones, controls=before)
    fewer = rows().filter(~pl.col(datasets.TEST) | (pl.col(datasets.AT) % 120_000_000 == 0))
    assert ("", "COMPARATOR_LOW_NUM_EXAMPLES", "warn") in judged(limited, fewer, controls=before)


def test_a_refusal_names_the_way_out_unless_the_feed_is_at_fault(schema):
    names = definition().features.feature_names
    missing = data_gate.judge(schema, rows().drop("w__kind"), names, ())
    assert "rota data schema edit ice --freeze" in data_gate.refusal(schema, missing)
    faulty = data_gate.refusal(schema, data_gate.judge(schema, rows(broken_days=2), names, ()))
    assert "Fahrenheit read as Celsius" in faulty
    assert "rota data schema" not in faulty
    assert data_gate.refusal(schema, data_gate.judge(schema, rows(), names, ())) == ""


def test_the_law_stays_the_law_while_the_features_stay(schema):
    assert data_gate.active_schema(schema, "ice", definition(), rows(), VERSION, now_us=NOON_US) is schema


def test_a_new_feature_is_inferred_and_the_others_keep_what_was_frozen(schema):
    narrow = apply(schema, Edits(["w__temp.maximum=71"]))
    frame, wanted = rows(w__wet=pl.lit(1.0)), definition(temp="temp", kind="kind", wet="temp > 60")
    law = data_gate.active_schema(narrow, "ice", wanted, frame, msgspec.structs.replace(VERSION, number=2), now_us=NOON_US)
    assert [column.name for column in law.columns] == ["w__temp", "w__kind", "w__wet"]
    assert law.columns[0] == narrow.columns[0]
    assert law.bins[:2] == narrow.bins
    assert (law.dataset, law.frozen_us) == ("ice@2", NOON_US + 1)


def test_a_feature_that_is_gone_or_computed_otherwise_is_not_held_to_the_old_law(schema):
    dropped = following(schema, definition(temp="temp"), rows(), VERSION)
    assert [column.name for column in dropped.columns] == ["w__temp"]
    celsius = rows(broken_days=DAYS)
    changed = following(schema, definition(temp="(temp - 32) / 1.8", kind="kind"), celsius, VERSION)
    assert changed.columns[0].maximum < 50 < schema.columns[0].maximum
    assert changed.columns[1] == schema.columns[1]


def test_a_faulty_feed_does_not_change_the_law(schema):
    assert following(schema, definition(), rows(broken_days=5), VERSION) is schema


def test_a_pipeline_with_other_features_trains_on_under_the_law_that_followed(world):
    world.history(10)
    assert world.train().status == "succeeded"
    (deployed,) = world.metadata.find(Deployed)
    held = deployed.definition.dataset.features
    (weather,) = held.stored_views
    wider = msgspec.structs.replace(weather, features={**weather.features, "warm": Feature("temp > 70")})
    service = msgspec.structs.replace(held, views=(wider, *held.request_views))
    pipeline = msgspec.structs.replace(deployed.definition, dataset=msgspec.structs.replace(deployed.definition.dataset, features=service), gates=())
    batch = Batch()
    batch.put(msgspec.structs.replace(deployed, definition=pipeline))
    world.metadata.commit(batch)
    world.clock.advance(world.clock.now_us() + 1_000_000)
    assert world.train().status == "succeeded"
    laws = world.metadata.find(Schema, {"name": "ice"}, order="version")
    assert [len(law.columns) for law in laws] == [2, 3]
    assert schemas.active(world.metadata, "ice") == laws[1]
    assert schemas.serving(world.metadata, "ice") in laws


def test_a_schema_is_inferred_again_from_a_stored_dataset(world):
    world.history(10)
    world.train()
    version = datasets.get(world.metadata, "ice", 1)
    law = schemas.active(world.metadata, "ice")
    again = schemas.create(world.metadata, of_version(world.platform.repositories, version, "ice"), author="anna", now_us=NOON_US)
    assert (again.version, again.columns, again.bins, again.dataset) == (2, law.columns, law.bins, "ice@1")
    assert schemas.active(world.metadata, "ice") == law
    assert schemas.freeze(world.metadata, "ice", author="anna", now_us=NOON_US).version == 2
    world.clock.advance(world.clock.now_us() + 1_000_000)
    assert world.train().status == "succeeded"
