"""Definitions in Feast's words: what they become here, and what is said of words that Rota does not have."""

from datetime import datetime, timedelta

import pytest

import rota
from rota.errors import InvalidInput
from rota.records.record import decode, encode

RIDES = rota.PushSource(
    name="rides",
    timestamp_field="at",
    fields={"driver": int, "at": datetime, "trips": "Int64", "rate": float, "city": "String", "vip": bool},
    description="one row a ride",
)


def test_types_are_ours_pythons_or_feasts():
    assert RIDES.fields == {"driver": "int", "at": "timestamp", "trips": "int", "rate": "float", "city": "string", "vip": "bool"}
    names = {"Float32": "float", "Float64": "float", "Int32": "int", "Int64": "int", "String": "string", "Bool": "bool", "UnixTimestamp": "timestamp"}
    names |= {"Bytes": "bytes", "Array(Float32)": "float[]", "Array(Int64)": "int[]"}
    assert {name: rota.Field("f", name).type for name in names} == names


@pytest.mark.parametrize("dtype", ["Array(String)", "Json", "float32", "", None, 7, list, list[str], [], "x" * 10_000])
def test_a_type_that_no_column_has_is_refused(dtype):
    with pytest.raises(InvalidInput, match="field 'f'"):
        rota.Field("f", dtype)


def test_a_view_in_feasts_form():
    driver = rota.Entity(name="driver", description="who drives", tags={"team": "rides"})
    view = rota.FeatureView(
        name="driver_stats",
        entities=[driver],
        ttl=timedelta(days=1),
        schema=[rota.Field("driver", "Int64"), rota.Field("trips", "Float32", description="rides that day"), rota.Field("city", "String")],
        online=True,
        source=RIDES,
        tags={"team": "rides"},
        owner="anna@example.org",
    )
    assert driver.join_keys == ("driver",)
    assert view.features == {"trips": rota.sql('CAST("trips" AS DOUBLE)'), "city": rota.sql('"city"')}, "the join key is no feature"
    assert view.descriptions == {"trips": "rides that day"}
    assert view.ttl == "1d"
    assert decode(encode(view), rota.FeatureView) == view
    service = rota.FeatureService(name="model", features=[view[["city"]]])
    assert service.feature_names == ("driver_stats__city",)
    assert decode(encode(service), rota.FeatureService) == service


@pytest.mark.parametrize(("ttl", "text"), [(timedelta(0), None), (None, None), (timedelta(minutes=90), "90m"), ("3h", "3h")])
def test_a_ttl_is_a_text_a_timedelta_or_none(ttl, text):
    assert rota.FeatureView("v", [rota.Entity("driver")], RIDES, {"trips": rota.sql("trips")}, ttl=ttl).ttl == text


@pytest.mark.parametrize("ttl", [timedelta(seconds=-1), timedelta(milliseconds=1), "1 day"])
def test_a_ttl_that_is_no_time_is_refused(ttl):
    with pytest.raises(InvalidInput):
        rota.FeatureView("v", [rota.Entity("driver")], RIDES, {"trips": rota.sql("trips")}, ttl=ttl)


@pytest.mark.parametrize(("word", "value"), [("mode", "pandas"), ("online", False), ("stream_source", RIDES), ("enable_validation", True)])
def test_a_word_that_rota_does_not_have_says_what_to_do_instead(word, value):
    with pytest.raises(InvalidInput, match=f"FeatureView 'v' has no word '{word}': "):
        rota.FeatureView(name="v", entities=[rota.Entity("driver")], source=RIDES, schema=[rota.Field("trips", int)], **{word: value})


def test_other_unknown_words_are_python_errors():
    with pytest.raises(TypeError, match="colour"):
        rota.FeatureView("v", [rota.Entity("driver")], RIDES, {"trips": rota.sql("trips")}, colour="red")
    with pytest.raises(TypeError):
        rota.Entity("driver", ["driver"], name="driver")


def test_a_schema_that_the_source_does_not_have_is_refused():
    with pytest.raises(InvalidInput, match="declares 'city' as int, the source has it as string"):
        rota.FeatureView(name="v", entities=[rota.Entity("driver")], source=RIDES, schema=[rota.Field("city", "Int64")])
    with pytest.raises(InvalidInput, match="has a schema and features"):
        rota.FeatureView("v", [rota.Entity("driver")], RIDES, {"trips": rota.sql("trips")}, schema=[rota.Field("city", "String")])
    with pytest.raises(InvalidInput, match="a field is named twice"):
        rota.FeatureView("v", [rota.Entity("driver")], RIDES, schema=[rota.Field("city", "String"), rota.Field("city", "String")])


def test_a_request_source_gives_the_inputs():
    fields = rota.RequestSource("asked", [rota.Field("x", float), rota.Field("at", "UnixTimestamp")])
    view = rota.OnDemandFeatureView("request", inputs=fields, features={"double": rota.sql("x * 2")})
    assert view == rota.OnDemandFeatureView("request", {"x": "float", "at": "timestamp"}, {"double": rota.sql("x * 2")})
    assert decode(encode(view), rota.OnDemandFeatureView) == view


def test_a_push_source_over_a_batch_source_has_its_columns_and_files():
    batch = rota.Source("rides_files", RIDES.fields, "at", path="rides/*.parquet")
    pushed = rota.PushSource("rides_pushed", batch_source=batch, owner="anna")
    assert (pushed.name, pushed.fields, pushed.path, pushed.owner) == ("rides_pushed", batch.fields, "rides/*.parquet", "anna")
    with pytest.raises(InvalidInput, match="needs its fields and timestamp_field, or a batch_source"):
        rota.PushSource("rides")


def test_a_file_source_reads_names_and_types_from_its_file(tmp_path):
    (tmp_path / "rides.csv").write_text("driver,at,created,trips,rate,city\n1,2024-01-01T10:00:00Z,2024-01-01T11:00:00Z,3,0.5,Oslo\n")
    source = rota.FileSource("rides", tmp_path / "rides.csv", timestamp_field="at", created_timestamp_column="created", owner="anna")
    assert source.fields == {"driver": "int", "at": "timestamp", "created": "timestamp", "trips": "int", "rate": "float", "city": "string"}
    assert (source.created_field, source.owner, source.path) == ("created", "anna", str(tmp_path / "rides.csv"))
    with pytest.raises(InvalidInput, match="has no field 'when'"):
        rota.FileSource("rides", tmp_path / "rides.csv", timestamp_field="when")


def test_a_file_source_whose_files_are_elsewhere_can_still_be_declared(tmp_path):
    source = rota.FileSource("rides", path=tmp_path / "nothing-*.parquet", timestamp_field="at")
    view = rota.FeatureView("v", [rota.Entity("driver")], source, {"trips": rota.sql("trips")})
    dataset = rota.DatasetDefinition(rota.FeatureService("s", [view]), source, rota.sql("trips > 1"), "at")
    assert source.fields == {}
    assert dataset.labels == source
    given = rota.FileSource("rides", tmp_path / "nothing.csv", timestamp_field="at", fields={"driver": int, "at": "timestamp"})
    assert given.fields == {"driver": "int", "at": "timestamp"}
