"""Each planted fault gives exactly the anomaly that TFDV names it, with its evidence, and only where it is expected."""

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.records.record import decode, encode
from rota.records.schema import SERVING, TRAINING, ColumnSchema, Comparator, DatasetConstraints, Schema
from rota.stats.schema_inference import infer_table
from rota.stats.schema_validation import POLICY, validate
from rota.stats.summarize import summarize

BIG = 2**53


def frame(**columns):
    usual = {"temp": [float(i) for i in range(100)], "seats": list(range(100)), "carrier": ["UA", "AA"] * 50, "delayed": [True, False] * 50}
    return pl.DataFrame(usual | columns)


def schema(column="", **changes):
    """The schema of the usual frame, with one column changed."""
    inferred = infer_table("flights", frame())
    columns = tuple(msgspec.structs.replace(c, **changes) if c.name == column else c for c in inferred.columns)
    return msgspec.structs.replace(inferred, columns=columns)


def found(expected, data, **options):
    return {(a.feature, a.kind, a.severity) for a in validate(expected, data, **options)}


PLANTED = [
    ("temp", {"min_count": 100}, frame(temp=[None, *[1.0] * 99]), "FEATURE_TYPE_LOW_NUMBER_PRESENT"),
    ("temp", {"allow_nan": False}, frame(temp=[float("nan"), *[1.0] * 99]), "FLOAT_TYPE_HAS_NAN"),
    ("temp", {"allow_inf": False}, frame(temp=[float("-inf"), *[1.0] * 99]), "FLOAT_TYPE_HAS_INF"),
    ("carrier", {"min_unique": 2}, frame(carrier=["UA"] * 100), "FEATURE_TYPE_LOW_UNIQUE"),
    ("temp", {"max_unique": 99}, frame(), "FEATURE_TYPE_HIGH_UNIQUE"),
    ("seats", {"min_unique": 100}, frame(seats=[7] * 100), "FEATURE_TYPE_LOW_UNIQUE"),
    ("carrier", {"min_values": 1}, frame(carrier=[[], *[["UA"]] * 99]), "FEATURE_TYPE_LOW_NUMBER_VALUES"),
    ("carrier", {"max_values": 2}, frame(carrier=[["UA"] * 3, *[["AA"]] * 99]), "FEATURE_TYPE_HIGH_NUMBER_VALUES"),
    ("carrier", {"max_values": 2}, frame(carrier=[["UA", "ZZ"], *[["AA"]] * 99]), "ENUM_TYPE_UNEXPECTED_STRING_VALUES"),
    ("carrier", {}, frame(carrier=[["UA"]] * 100), "UNEXPECTED_DATA_TYPE"),
    ("delayed", {}, frame(delayed=[1] * 100), "UNEXPECTED_DATA_TYPE"),
    ("seats", {"maximum": BIG}, frame(seats=[BIG + 1] * 100), "INT_TYPE_BIG_INT"),
    ("seats", {"minimum": -BIG, "maximum": 0}, frame(seats=[-BIG - 1] * 100), "INT_TYPE_SMALL_INT"),
]


@pytest.mark.parametrize(("column", "changes", "data", "kind"), PLANTED)
def test_each_planted_fault_gives_exactly_its_anomaly(column, changes, data, kind):
    assert found(schema(column, **changes), data) == {(column, kind, POLICY[kind])}


@pytest.mark.parametrize(
    ("column", "changes"), list(dict.fromkeys((c, tuple(d.items())) for c, d, _, _ in PLANTED if c != "seats" and "max_unique" not in d))
)
def test_the_same_expectations_accept_data_without_the_fault(column, changes):
    assert found(schema(column, **dict(changes)), frame()) == set()


def test_an_anomaly_says_how_many_rows_and_which_values():
    (unknown,) = validate(schema(), frame(carrier=["ZZ"] * 3 + ["UA"] * 97))
    assert (unknown.observed, unknown.threshold, unknown.evidence) == (0.03, 0.0, {"rows": 3, "values": "'ZZ'"})
    (big,) = validate(schema(), frame(temp=[999.0] * 7 + [1.0] * 93))
    assert (big.observed, big.evidence) == (999.0, {"rows": 7})


def test_unknown_values_may_be_given_a_share():
    data = frame(carrier=["ZZ"] * 3 + [None] * 4 + ["UA"] * 93)
    assert found(schema("carrier", max_unknown_share=3 / 96), data) == set()
    assert found(schema("carrier", max_unknown_share=0.03), data) == {("carrier", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "warn")}


def test_a_column_of_nulls_has_no_values_but_is_no_row_with_too_few():
    assert found(schema("carrier", min_values=1, max_null_share=1.0), frame(carrier=pl.Series([None] * 100, dtype=pl.String))) == set()


def test_the_label_is_expected_in_training_and_not_in_serving():
    expected, unlabelled = schema("delayed", not_in_environment=(SERVING,)), frame().drop("delayed")
    missing = {("delayed", "SCHEMA_MISSING_COLUMN", "fail")}
    assert found(expected, unlabelled, environment=SERVING) == set()
    assert found(expected, unlabelled, environment=TRAINING) == missing
    assert found(expected, unlabelled) == missing
    assert found(expected, frame(), environment=SERVING) == set()


def test_a_column_may_be_expected_in_an_environment_of_its_own_only():
    expected = schema("delayed", in_environment=("AUDIT",))
    expected = msgspec.structs.replace(expected, environments=())
    bare = frame().select("temp")
    assert {feature for feature, _, _ in found(expected, bare, environment="AUDIT")} == {"delayed"}
    assert found(expected, bare, environment=TRAINING) == set()


def test_an_optional_column_may_be_absent_but_not_wrong():
    expected = schema("temp", required=False)
    assert found(expected, frame().drop("temp")) == set()
    assert found(expected, frame(temp=["x"] * 100)) == {("temp", "UNEXPECTED_DATA_TYPE", "fail")}


def test_the_number_of_rows_is_bounded_alone_and_by_the_data_before():
    limits = DatasetConstraints(min_examples=50, max_examples=150, min_fraction=0.5, max_fraction=2.0)
    expected = msgspec.structs.replace(schema(), constraints=limits)
    before = {rows: summarize(frame().head(rows), expected).statistics() for rows in (40, 100)}
    assert found(expected, frame()) == set()
    assert found(expected, frame().head(49)) == {("", "DATASET_LOW_NUM_EXAMPLES", "fail")}
    assert found(expected, pl.concat([frame(), frame()])) == {("", "DATASET_HIGH_NUM_EXAMPLES", "fail")}
    assert found(expected, frame(), previous=before[40]) == {("", "COMPARATOR_HIGH_NUM_EXAMPLES", "warn")}
    assert ("", "COMPARATOR_LOW_NUM_EXAMPLES", "warn") in found(expected, frame().head(49), previous=before[100])


def test_comparators_hold_the_shares_of_values_against_given_statistics():
    expected = schema("carrier", drift=Comparator(infinity_norm=0.1), skew=Comparator(infinity_norm=0.3))
    before = summarize(frame(), expected).statistics()
    shifted = frame(carrier=["UA"] * 70 + ["AA"] * 30)
    (anomaly,) = validate(expected, shifted, previous=before, serving=before)
    assert (anomaly.kind, anomaly.severity, anomaly.evidence) == ("COMPARATOR_L_INFTY_HIGH", "warn", {"against": "the data before"})
    assert anomaly.observed == pytest.approx(0.2)
    assert found(expected, frame(), previous=before, serving=before) == set()
    assert found(expected, shifted) == set()


def test_nulls_are_the_business_of_presence_and_not_of_comparators():
    expected = schema("carrier", drift=Comparator(infinity_norm=0.1), max_null_share=1.0)
    before = summarize(frame(), expected).statistics()
    assert found(expected, frame(carrier=[None] * 60 + ["UA", "AA"] * 20), previous=before) == set()
    assert found(expected, frame(carrier=pl.Series([None] * 100, dtype=pl.String)), previous=before) == set()


def test_the_divergence_of_numbers_has_the_closed_form_of_disjoint_and_equal_halves():
    expected = schema("temp", drift=Comparator(jensen_shannon_divergence=0.2))
    before = summarize(frame(temp=[1.0] * 100), expected).statistics()
    (anomaly,) = validate(expected, frame(temp=[1.0] * 50 + [98.0] * 50), previous=before)
    # P = (1, 0), Q = (1/2, 1/2): the divergence is 1 - 3/4 log2 3 + 1/2 bits
    assert anomaly.observed == pytest.approx(1.5 - 0.75 * np.log2(3))


def test_a_control_without_the_column_is_named():
    expected = schema("temp", drift=Comparator(jensen_shannon_divergence=0.2))
    control = summarize(frame().drop("temp"), expected).statistics()
    assert found(expected, frame(), previous=control) == {("temp", "COMPARATOR_CONTROL_DATA_MISSING", "warn")}


def test_a_column_rules_over_the_schema_and_the_schema_over_the_default():
    data = frame(temp=[999.0] * 100)
    rules = [({}, {}, "warn"), ({"FLOAT_TYPE_BIG_FLOAT": "fail"}, {}, "fail"), ({"*": "fail"}, {"FLOAT_TYPE_BIG_FLOAT": "warn"}, "warn")]
    for of_schema, of_column, severity in rules:
        expected = msgspec.structs.replace(schema("temp", policy=of_column), policy=of_schema)
        assert found(expected, data) == {("temp", "FLOAT_TYPE_BIG_FLOAT", severity)}
    assert found(msgspec.structs.replace(schema("temp", policy={"*": "ignore"})), data) == set()
    assert found(msgspec.structs.replace(schema(), policy={"SCHEMA_NEW_COLUMN": "ignore"}), frame(extra=[1] * 100)) == set()


def test_statistics_that_counted_no_distinct_values_say_so():
    expected = schema("temp", max_unique=5)
    counted = summarize(frame(), schema()).statistics()
    assert found(expected, counted) == {("temp", "FEATURE_TYPE_NO_UNIQUE", "warn")}
    assert found(expected, summarize(frame(), expected).statistics()) == {("temp", "FEATURE_TYPE_HIGH_UNIQUE", "fail")}


def test_a_value_that_joined_the_domain_later_is_known_in_statistics_too():
    data = frame(carrier=["ZZ"] * 10 + ["UA"] * 90)
    counted = summarize(data, schema()).statistics()
    assert found(schema(), counted) == {("carrier", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "warn")}
    assert found(schema("carrier", domain=("AA", "UA", "ZZ")), counted) == set()


def test_times_have_ranges_in_microseconds():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    data = pl.DataFrame({"at": [at]})
    limit = int(at.timestamp() * 1_000_000)
    assert found(Schema("s", 1, (ColumnSchema("at", "timestamp", minimum=limit, maximum=limit),)), data) == set()
    assert found(Schema("s", 1, (ColumnSchema("at", "timestamp", maximum=limit - 1),)), data) == {("at", "INT_TYPE_BIG_INT", "warn")}


def test_whole_numbers_beyond_two_to_the_fifty_third_survive_the_record():
    stored = decode(encode(Schema("s", 1, (ColumnSchema("id", "int", maximum=BIG + 1),))), Schema)
    assert found(stored, pl.DataFrame({"id": [BIG + 1]})) == set()
    (anomaly,) = validate(stored, pl.DataFrame({"id": [BIG + 2]}))
    assert anomaly.message == "column 'id': the largest value 9007199254740994 lies above 9007199254740993"


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("share between 0 and 1", {"max_null_share": 1.5}),
        ("lies above", {"minimum": 2, "maximum": 1}),
        ("leave an end out", {"maximum": float("inf")}),
        ("domain of texts", {"domain": ("a",)}),
    ],
)
def test_an_expectation_that_no_data_can_meet_is_refused(words, fields):
    with pytest.raises(InvalidInput, match=words):
        ColumnSchema("x", "float", **fields)


def test_a_schema_names_a_column_once():
    with pytest.raises(InvalidInput, match=r"twice: \['x'\]"):
        Schema("s", 1, (ColumnSchema("x", "float"), ColumnSchema("x", "int")))


def test_a_schema_of_an_older_release_still_reads():
    old = b'{"name":"s","version":1,"columns":[{"name":"x","type":"float","max_null_share":0.1,"minimum":0.0}],"frozen_us":5}'
    stored = decode(old, Schema)
    assert found(stored, pl.DataFrame({"x": [-1.0]})) == {("x", "FLOAT_TYPE_SMALL_FLOAT", "warn")}
    assert stored.constraints.min_examples == 1


def test_a_column_of_a_type_without_expectations_cannot_be_inferred():
    with pytest.raises(InvalidInput, match=r"'spans' holds Duration"):
        infer_table("s", pl.DataFrame({"spans": [1]}).cast(pl.Duration("us")))


def test_the_documentation_lists_every_kind_with_its_default():
    text = (Path(__file__).parents[2] / "docs" / "schema.md").read_text()
    listed = re.findall(r"^\| `([A-Z_]+)` \|.*\| (fail|warn) \|$", text, re.MULTILINE)
    assert dict(listed) == dict(POLICY)
