"""Whatever the data: their own schema accepts them, and observing parts of them is observing the whole."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import InvalidInput
from rota.records.record import decode, encode
from rota.records.schema import ColumnSchema, Schema
from rota.stats.bins import choose_bins, count, place
from rota.stats.schema_inference import DOMAIN_LIMIT, infer_table
from rota.stats.schema_validation import validate
from rota.stats.summarize import summarize
from rota.stats.table_summary import VALUES, merge

VALUES_OF = {
    "float": (pl.Float64, st.floats()),
    "small": (pl.Float32, st.floats(width=32)),
    "int": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    "unsigned": (pl.UInt64, st.integers(0, 2**64 - 1)),
    "bool": (pl.Boolean, st.booleans()),
    "text": (pl.String, st.text(st.characters(codec="utf-8"), max_size=4)),
    "time": (pl.Datetime("us"), st.datetimes()),
    "null": (pl.Null, st.none()),
}


@st.composite
def frames(draw):
    rows = draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES_OF)), min_size=1, max_size=4))
    columns = {}
    for position, kind in enumerate(kinds):
        dtype, values = VALUES_OF[kind]
        drawn = draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows))
        name = draw(st.sampled_from(["x", "größe", "a b", "a.b", "__index__", "'; drop", "😀"])) + str(position)
        columns[name] = pl.Series(drawn, dtype=dtype, strict=False)
    return pl.DataFrame(columns)


@given(frames())
def test_a_schema_inferred_from_data_accepts_that_data(frame):
    schema = infer_table("drawn", frame)
    stored = decode(encode(schema), Schema)
    assert stored == schema
    assert validate(stored, frame) == ()
    assert validate(stored, summarize(frame, stored, histograms=True).statistics()) == ()


@given(frames(), st.integers(0, 12))
def test_observations_of_slices_merge_into_that_of_the_whole(frame, cut):
    schema = infer_table("drawn", frame)
    parts = [summarize(part, schema, histograms=True) for part in (frame.head(cut), frame.tail(max(0, frame.height - cut))) if part.height]
    merged = parts[0] if len(parts) == 1 else merge(*parts)
    for left, right in zip(merged.statistics().columns, summarize(frame, schema, histograms=True).statistics().columns, strict=True):
        assert (left.count, left.nulls, left.nans, left.infinities, left.counts) == (
            right.count,
            right.nulls,
            right.nans,
            right.infinities,
            right.counts,
        )
        assert (left.minimum, left.maximum, left.top, left.distinct) == (right.minimum, right.maximum, right.top, right.distinct)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.integers(1, 29))
def test_moments_of_slices_merge_as_numpy_computes_them_of_the_whole(values, cut):
    parts = [summarize(pl.DataFrame({"x": part})) for part in (values[:cut], values[cut:]) if part]
    merged = parts[0] if len(parts) == 1 else merge(*parts)
    (column,) = merged.statistics().columns
    assert column.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert column.std == pytest.approx(np.std(values), abs=1e-6, rel=1e-6)


@given(frames())
def test_counting_is_placing_each_value_and_counting_the_places(frame):
    for series in frame:
        kind = "string" if series.dtype == pl.String else "float"
        bins = choose_bins(series.name, kind, series)
        assert (count(bins, series) == np.bincount(place(bins, series), minlength=bins.size)).all()


def test_parts_may_lack_a_column_or_hold_it_as_nulls():
    schema = infer_table("s", pl.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "a"]}))
    parts = [pl.DataFrame({"x": [1.0]}), pl.DataFrame({"x": [None], "y": ["a"]})]
    whole = summarize(iter(parts), schema, histograms=True)
    assert whole.rows == 2
    assert whole.columns["y"].nulls == 1
    assert list(whole.columns["x"].counts[:1]) == [1]
    assert {a.kind for a in validate(schema, whole)} == {"FEATURE_TYPE_LOW_FRACTION_PRESENT"}


def test_parts_of_two_types_are_a_type_of_their_own():
    schema = infer_table("s", pl.DataFrame({"x": [1.0, 2.0]}))
    whole = summarize(iter([pl.DataFrame({"x": [1.0]}), pl.DataFrame({"x": ["warm"]})]), schema)
    (anomaly,) = validate(schema, whole)
    assert anomaly.message == "column 'x' holds float and string where float is expected"


def test_a_stream_of_many_slices_counts_every_row_once():
    rng = np.random.default_rng(5)
    frame = pl.DataFrame({"x": rng.normal(size=1_200_000), "k": rng.integers(0, 40, 1_200_000).astype(str)})
    schema = infer_table("big", frame)
    seen = summarize(frame.iter_slices(70_000), schema, histograms=True)
    assert seen.rows == 1_200_000
    assert sum(seen.columns["x"].counts) == sum(seen.columns["k"].counts) == 1_200_000
    assert seen.columns["x"].moments.mean == pytest.approx(float(frame["x"].mean()), abs=1e-12)
    assert validate(schema, seen) == ()


def test_a_huge_domain_is_no_domain_and_costs_bounded_memory():
    frame = pl.DataFrame({"id": [f"id-{i}" for i in range(50_000)]})
    schema = infer_table("ids", frame)
    assert schema.columns[0].domain is None
    seen = summarize(frame.iter_slices(10_000), schema).columns["id"]
    assert seen.cut
    assert seen.values.height <= VALUES
    assert seen.distinct is None
    assert infer_table("few", frame.head(DOMAIN_LIMIT)).columns[0].domain is not None


def test_constrained_ids_are_counted_exactly_across_slices():
    schema = Schema("ids", 1, (ColumnSchema("id", "string", min_unique=30_000),))
    frame = pl.DataFrame({"id": [f"id-{i}" for i in range(30_000)]})
    assert validate(schema, summarize(frame.iter_slices(7_000), schema)) == ()
    doubled = pl.concat([frame.head(29_999), frame.head(1)])
    (anomaly,) = validate(schema, summarize(doubled.iter_slices(7_000), schema))
    assert (anomaly.kind, anomaly.observed) == ("FEATURE_TYPE_LOW_UNIQUE", 29_999)


def test_nothing_is_inferred_from_an_empty_frame_and_no_stream_is_no_table():
    with pytest.raises(InvalidInput, match="0 rows"):
        infer_table("empty", pl.DataFrame({"x": []}, schema={"x": pl.Float64}))
    assert summarize(iter([])).rows == 0
    schema = infer_table("s", pl.DataFrame({"at": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]}))
    assert {a.kind for a in validate(schema, pl.DataFrame())} == {"SCHEMA_MISSING_COLUMN", "DATASET_LOW_NUM_EXAMPLES"}


def test_rows_outside_range_and_domain_add_up_over_slices():
    schema = infer_table("s", pl.DataFrame({"x": [0.0, 1.0] * 50, "k": ["a", "b"] * 50}))
    broken = pl.DataFrame({"x": [-9.0, 9.0, 0.5, 9.0] * 5, "k": ["z", "a", "y", "z"] * 5})
    found = {a.kind: a.evidence for a in validate(schema, summarize(broken.iter_slices(3), schema))}
    assert found["FLOAT_TYPE_SMALL_FLOAT"] == {"rows": 5}
    assert found["FLOAT_TYPE_BIG_FLOAT"] == {"rows": 10}
    assert found["ENUM_TYPE_UNEXPECTED_STRING_VALUES"]["rows"] == 15
