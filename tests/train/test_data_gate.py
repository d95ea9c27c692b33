"""Gate 1: what breaks the schema fails, what drifts warns, a known fault fails by its name, an open alert blocks."""

import msgspec
import numpy as np
import polars as pl
import pytest

from rota.manage.datasets import build as datasets
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.time import DAY_US
from rota.testing.story import NOON_US, alert
from rota.train import data_gate

DAY0_US = NOON_US - NOON_US % DAY_US
DAYS, ROWS = 50, 60
SOURCE = Source("w", {"shop": "string", "at": "timestamp", "temp": "float", "kind": "string"}, "at")
VIEW = FeatureView("w", [Entity("shop", ["shop"])], SOURCE, {"temp": Feature("temp"), "kind": Feature("kind")})
DEFINITION = DatasetDefinition(FeatureService("s", [VIEW]), SOURCE, Feature("temp > 70"), "at")
NAMES = DEFINITION.features.feature_names
VERSION = DatasetVersion("ice", 1, "d", "t", 0, DAYS * ROWS, 0, 0, 0, 0, 0, NOON_US)


def rows(temp=lambda day, values: values, days=DAYS):
    """Days of temperature around 70 and of two kinds; the newest three days are the test days, `temp` changes the last two."""
    rng = np.random.default_rng(3)
    day = np.repeat(np.arange(days), ROWS)
    values = 70 + rng.normal(0, 1, days)[day] + rng.normal(0, 5, len(day))
    return pl.DataFrame(
        {
            datasets.AT: DAY0_US + day * DAY_US + np.tile(np.arange(ROWS), days) * 60_000_000,
            "w__temp": np.where(day >= days - 2, temp(day, values), values),
            "w__kind": rng.choice(["cone", "tub"], len(day)),
            datasets.TEST: day >= days - 3,
        }
    )


@pytest.fixture(scope="module")
def schema():
    return data_gate.infer(DEFINITION, rows(), "ice", VERSION, now_us=NOON_US)


def judged(schema, frame, *, features=NAMES, open_faults=()):
    return {(a.feature, a.kind, a.severity) for a in data_gate.judge(schema, frame, features, open_faults).anomalies}


def test_the_first_dataset_becomes_the_frozen_schema_and_passes_it(schema):
    assert (schema.version, schema.frozen_us, schema.dataset) == (1, NOON_US, "ice@1")
    assert {column.name for column in schema.columns} == set(NAMES)
    assert {severity for _, _, severity in judged(schema, rows())} <= {"warn"}


def test_a_column_that_is_gone_fails(schema):
    assert ("w__temp", "SCHEMA_MISSING_COLUMN", "fail") in judged(schema, rows().drop("w__temp"))


def test_a_feature_that_is_new_fails_and_a_field_of_the_label_source_does_not(schema):
    frame = rows().with_columns(pl.lit(1.0).alias("w__new"))
    assert ("w__new", "SCHEMA_NEW_COLUMN", "fail") in judged(schema, frame, features=(*NAMES, "w__new"))
    assert "w__new" not in {feature for feature, _, _ in judged(schema, frame)}


def test_a_feature_that_is_null_in_every_training_row_fails_by_its_name_unless_the_schema_lets_it_pass():
    for empty in (pl.lit(None, dtype=pl.Float64), pl.lit(float("nan"))):
        frame = rows().with_columns(empty.alias("w__temp"))
        schema = data_gate.infer(DEFINITION, frame, "ice", VERSION, now_us=NOON_US)
        result = data_gate.judge(schema, frame, NAMES, ())
        assert ("w__temp", "FEATURE_ALL_NULL", "fail") in {(a.feature, a.kind, a.severity) for a in result.anomalies}
        assert f"feature 'w__temp' is null in all of {(DAYS - 3) * ROWS} training rows" in data_gate.refusal(schema, result)
    allowing = msgspec.structs.replace(schema, policy={"FEATURE_ALL_NULL": "warn", "FLOAT_TYPE_HAS_NAN": "warn"})
    assert ("w__temp", "FEATURE_ALL_NULL", "warn") in judged(allowing, frame)
    only_tests = rows().with_columns(pl.when(pl.col(datasets.TEST)).then(pl.col("w__kind")).alias("w__kind"))
    assert ("w__kind", "FEATURE_ALL_NULL", "fail") in judged(schema, only_tests)


def test_a_column_of_another_type_fails_and_the_others_are_still_judged(schema):
    frame = rows(lambda day, values: (values - 32) / 1.8).with_columns(pl.lit(3.0).alias("w__kind"))
    found = judged(schema, frame)
    assert ("w__kind", "UNEXPECTED_DATA_TYPE", "fail") in found
    assert ("w__temp", "KNOWN_FAULT", "fail") in found


def test_a_changed_unit_fails_by_name(schema):
    result = data_gate.judge(schema, rows(lambda day, values: (values - 32) / 1.8), NAMES, ())
    (fault,) = [anomaly for anomaly in result.anomalies if anomaly.kind == "KNOWN_FAULT"]
    assert (fault.feature, fault.severity) == ("w__temp", "fail")
    assert "Fahrenheit read as Celsius" in fault.message
    assert result.statistics.rows == 3 * ROWS


def test_drift_without_a_fault_only_warns(schema):
    frame = rows()
    late = pl.col(datasets.AT) >= DAY0_US + (DAYS - 7) * DAY_US
    frame = frame.with_columns(pl.when(late).then(pl.lit("cone")).otherwise("w__kind").alias("w__kind"))
    found = judged(schema, frame)
    assert ("w__kind", "COMPARATOR_L_INFTY_HIGH", "warn") in found
    assert "fail" not in {severity for _, _, severity in found}


def test_an_open_critical_alert_fails_unless_the_gate_sees_the_same_fault_itself(schema):
    opened = alert("w__temp", kind="distribution_skew")
    assert ("w__temp", "OPEN_ALERT", "fail") in judged(schema, rows(), open_faults=[opened])
    broken = rows(lambda day, values: (values - 32) / 1.8)
    assert "OPEN_ALERT" not in {kind for _, kind, _ in judged(schema, broken, open_faults=[opened])}


def test_no_test_rows_fail(schema):
    empty = rows().with_columns(pl.lit(value=False).alias(datasets.TEST))
    assert "DATASET_LOW_NUM_EXAMPLES" in {kind for _, kind, _ in judged(schema, empty)}
