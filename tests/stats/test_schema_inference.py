"""A schema inferred from clean data passes clean data and names each way in which other data break it."""

import msgspec
import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.records.schema import Schema, Statistics
from rota.stats.bins import choose_bins
from rota.stats.schema_inference import infer_schema
from rota.stats.schema_validation import validate
from rota.stats.slice_statistics import column_statistics

TYPES = {"temp": "float", "seats": "int", "carrier": "string", "weekend": "bool"}


def clean(**columns: list[object]) -> pl.DataFrame:
    frame = {
        "temp": [float(i) for i in range(100)],
        "seats": [10 + i for i in range(100)],
        "carrier": ["UA", "AA"] * 50,
        "weekend": [True, False] * 50,
    }
    return pl.DataFrame(frame | columns)


def statistics(frame: pl.DataFrame, training: pl.DataFrame | None = None) -> Statistics:
    source = clean() if training is None else training
    bins = {name: choose_bins(name, TYPES[name], source[name]) for name in frame.columns}
    return Statistics(len(frame), tuple(column_statistics(name, TYPES[name], frame[name], bins[name]) for name in frame.columns))


def inferred() -> Schema:
    frame = clean()
    return infer_schema("flights", statistics(frame), [choose_bins(name, TYPES[name], frame[name]) for name in frame.columns])


def kinds(data: pl.DataFrame | Statistics, schema: Schema | None = None) -> dict[str, str]:
    return {anomaly.kind: anomaly.severity for anomaly in validate(schema or inferred(), data)}


def test_the_data_behind_a_schema_are_valid_as_frame_and_as_statistics():
    assert validate(inferred(), clean()) == ()
    assert validate(inferred(), statistics(clean())) == ()


def test_ranges_and_null_shares_have_a_margin():
    temp = inferred().columns[0]
    assert (temp.minimum, temp.maximum, temp.max_null_share) == (0.0, pytest.approx(108.9), 0.05)
    assert kinds(clean(temp=[*map(float, range(96)), 105.0, *[None] * 3])) == {}


BROKEN = [
    (clean().drop("temp"), {"SCHEMA_MISSING_COLUMN": "fail"}),
    (clean(gate=["A"] * 100), {"SCHEMA_NEW_COLUMN": "fail"}),
    (clean(temp=["warm"] * 100), {"UNEXPECTED_DATA_TYPE": "fail"}),
    (clean(seats=[10.5] * 100), {"UNEXPECTED_DATA_TYPE": "fail"}),
    (clean(temp=[None] * 10 + [5.0] * 90), {"FEATURE_TYPE_LOW_FRACTION_PRESENT": "fail"}),
    (clean(temp=[float("nan")] * 100), {"FEATURE_TYPE_LOW_FRACTION_PRESENT": "fail"}),
    (clean(carrier=["UA"] * 99 + ["ZZ"]), {"ENUM_TYPE_UNEXPECTED_STRING_VALUES": "warn"}),
    (clean(temp=[-40.0] + [1.0] * 99), {"FLOAT_TYPE_SMALL_FLOAT": "warn"}),
    (clean(temp=[451.0] + [1.0] * 99), {"FLOAT_TYPE_BIG_FLOAT": "warn"}),
    (clean(temp=[float("inf")] + [1.0] * 99), {"FLOAT_TYPE_BIG_FLOAT": "warn"}),
    (clean(seats=[-1] + [20] * 99), {"INT_TYPE_SMALL_INT": "warn"}),
    (clean(seats=[900] + [20] * 99), {"INT_TYPE_BIG_INT": "warn"}),
    (clean().head(0), {"DATASET_LOW_NUM_EXAMPLES": "fail"}),
]


@pytest.mark.parametrize(("data", "expected"), BROKEN)
def test_each_broken_expectation_is_named_as_tfdv_names_it(data, expected):
    assert kinds(data) == expected


def test_statistics_show_unknown_values_nulls_and_ranges_too():
    broken = clean(carrier=["UA"] * 97 + ["ZZ"] * 3, temp=[None] * 10 + [500.0] * 90)
    found = {anomaly.kind: anomaly for anomaly in validate(inferred(), statistics(broken))}
    assert set(found) == {"ENUM_TYPE_UNEXPECTED_STRING_VALUES", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "FLOAT_TYPE_BIG_FLOAT"}
    assert found["ENUM_TYPE_UNEXPECTED_STRING_VALUES"].observed == pytest.approx(0.03)


def test_the_message_names_column_value_and_share():
    (anomaly,) = validate(inferred(), clean(carrier=["UA"] * 99 + ["ZZ"]))
    assert anomaly.message == "column 'carrier': 1.0% of the rows hold values outside the domain, such as 'ZZ'"
    assert anomaly.feature == "carrier"


@pytest.mark.parametrize(("policy", "expected"), [("fail", {"FLOAT_TYPE_BIG_FLOAT": "fail"}), ("ignore", {})])
def test_a_columns_own_policy_overrides_the_default(policy, expected):
    schema = inferred()
    temp = msgspec.structs.replace(schema.columns[0], policy={"FLOAT_TYPE_BIG_FLOAT": policy})
    edited = msgspec.structs.replace(schema, columns=(temp, *schema.columns[1:]))
    assert kinds(clean(temp=[451.0] * 100), edited) == expected


def test_whole_numbers_fit_a_float_column_and_a_column_of_nulls_fits_any_type():
    assert kinds(clean(temp=list(range(100)))) == {}
    schema = inferred()
    lenient = msgspec.structs.replace(schema, columns=tuple(msgspec.structs.replace(column, max_null_share=1.0) for column in schema.columns))
    assert kinds(clean(temp=[None] * 100, carrier=[None] * 100), lenient) == {}


def test_a_text_with_more_values_than_a_class_would_have_gets_no_domain():
    frame = pl.DataFrame({"carrier": [str(i) for i in range(2_000)]})
    schema = infer_schema("ids", statistics(frame, frame), [choose_bins("carrier", "string", frame["carrier"])])
    assert schema.columns[0].domain is None


def test_nothing_is_inferred_from_no_rows():
    with pytest.raises(InvalidInput, match="0 rows"):
        infer_schema("empty", statistics(clean().head(0)), [])
