"""Signal streams: what earlier releases wrote is still read, and written in the same bytes."""

import base64

import polars as pl
import pytest

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.signals import business_outcomes, labels, prediction_log
from rota.records.signal import Label, Outcome, Prediction

AT_US = 1_373_889_700_000_000
PREDICTIONS = [
    Prediction(
        "p1",
        "delay",
        1_373_889_600_000_000,
        "flights",
        2,
        "canary",
        4,
        "u1",
        {"origin": "JFK", "hour": 7},
        {"v__x": 1.5, "v__kind": "AA", "v__flag": True, "v__none": None},
        0.25,
        120,
    ),
    Prediction("p2", "delay", 1_373_889_600_000_001, "flights", 1, "stable", 4, "u2", {"origin": "é"}, {"v__x": 2}, None, 90, "boom"),
]
LABELS = [Label("p1", 1.0, AT_US), Label("p2", 0.0, AT_US + 1)]
OUTCOMES = [Outcome("p1", "sale", 12.5, AT_US)]
UNPLACED = [Outcome("p2", "cost", -3.0, AT_US + 1)]
RECEIVED_US = 1_373_889_800_000_000

# One journal entry of each stream, as it was written before the three streams shared their code.
OLD = {
    "predictions/delay": "kwGSlKR2X194p3ZfX2tpbmSndl9fZmxhZ6d2X19ub25lkaR2X194kp2icDHPAAThi5mRkACnZmxpZ2h0cwKmY2FuYXJ5BKJ1Mcs/0AAAAAAAAHi"
    "guXsib3JpZ2luIjoiSkZLIiwiaG91ciI6N30AlMs/+AAAAAAAAKJBQcPAnaJwMs8ABOGLmZGQAadmbGlnaHRzAaZzdGFibGUEonUywFqkYm9vba97Im9yaWdpbiI6IsOpIn0BkQI=",
    "labels/delay": "ks8ABOGLpX1SAJKDrXByZWRpY3Rpb25faWSicDGldmFsdWXLP/AAAAAAAAClYXRfdXPPAAThi5+HcQCDrXByZWRpY3Rpb25faWSicDKldmFsdWXLAAAAAAAAAAClYXRf"
    "dXPPAAThi5+HcQE=",
    "outcomes/delay": "ks8ABOGLpX1SAJGErXByZWRpY3Rpb25faWSicDGkbmFtZaRzYWxlpXZhbHVly0ApAAAAAAAApWF0X3VzzwAE4Yufh3EA",
    "unplaced_outcomes": "ks8ABOGLpX1SAZGErXByZWRpY3Rpb25faWSicDKkbmFtZaRjb3N0pXZhbHVly8AIAAAAAAAApWF0X3VzzwAE4Yufh3EB",
}


def test_entries_are_written_in_the_bytes_of_earlier_releases():
    journal = MemoryJournal()
    prediction_log.append(journal, "delay", PREDICTIONS)
    labels.append(journal, "delay", LABELS, RECEIVED_US)
    business_outcomes.append(journal, "delay", OUTCOMES, RECEIVED_US)
    business_outcomes.append(journal, "", UNPLACED, RECEIVED_US + 1)
    written = {name: [payload for chunk in journal.read(name) for payload in chunk.payloads] for name in journal.streams()}
    assert written == {name: [base64.b64decode(entry)] for name, entry in OLD.items()}


def test_entries_of_earlier_releases_are_read_into_tables_of_the_same_layout():
    journal, tables = MemoryJournal(), MemoryTables()
    for name, entry in OLD.items():
        journal.append(name, [base64.b64decode(entry)])
    assert [stream.flush(journal, tables, "delay") for stream in (prediction_log, labels, business_outcomes)] == [2, 2, 1]
    assert business_outcomes.flush(journal, tables, "") == 1

    assert [prediction_log.find(tables, each) for each in ("p1", "p2")] == [
        Prediction(**{name: getattr(each, name) for name in Prediction.__struct_fields__} | {"features": features})
        for each, features in zip(
            PREDICTIONS,
            ({"v__x": 1.5, "v__flag": 1.0, "v__kind": "AA"}, {"v__x": 2.0, "v__flag": None, "v__kind": None}),
            strict=True,
        )
    ]
    logged = {name: str(kind) for name, kind in tables.scan("predictions/delay").collect_schema().items()}
    assert logged == {
        "prediction_id": "String",
        "at_us": "Int64",
        "day": "String",
        "model": "String",
        "number": "Int64",
        "role": "String",
        "revision": "Int64",
        "unit": "String",
        "answer": "Float64",
        "latency_us": "Int64",
        "error": "String",
        "request": "String",
        "missing": "String",  # came later: "" in rows of earlier entries
        "v__x": "Float64",
        "v__flag": "Float64",
        "v__kind": "String",
    }
    stored = tables.scan("labels/delay").collect()
    assert stored.schema == {"prediction_id": pl.String, "value": pl.Float64, "at_us": pl.Int64, "received_us": pl.Int64}
    assert stored.rows() == [("p1", 1.0, AT_US, RECEIVED_US), ("p2", 0.0, AT_US + 1, RECEIVED_US)]
    stored = tables.scan("outcomes/delay").collect()
    assert stored.schema == {"prediction_id": pl.String, "name": pl.String, "value": pl.Float64, "at_us": pl.Int64, "received_us": pl.Int64}
    assert stored.rows() == [("p1", "sale", 12.5, AT_US, RECEIVED_US)]
    assert tables.scan("unplaced_outcomes").collect().rows() == [("p2", "cost", -3.0, AT_US + 1, RECEIVED_US + 1)]


@pytest.mark.parametrize("stream", [prediction_log.STREAM, labels.STREAM, business_outcomes.STREAM], ids=lambda stream: stream.folder)
def test_an_endpoint_without_rows_has_the_columns_of_its_stream_and_an_unsafe_name_none(stream):
    tables = MemoryTables()
    assert stream.scan(tables, "delay").collect_schema() == stream.columns
    assert stream.scan(tables, "delay", ["at_us"]).collect_schema() == {"at_us": pl.Int64}
    for name in ("../x", "a/b"):
        with pytest.raises(InvalidInput, match="endpoint name"):
            stream.scan(tables, name)


def test_only_outcomes_may_come_without_an_endpoint():
    assert business_outcomes.STREAM.table("") == "unplaced_outcomes"
    for stream in (prediction_log.STREAM, labels.STREAM):
        with pytest.raises(InvalidInput, match="endpoint name ''"):
            stream.table("")
