"""How rows come out of files, tables, databases and outcomes: each once, whatever form they have, whatever was there before."""

import functools
import gzip
import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput, NotFound, Unavailable
from rota.manage.features.ingestion import ingestion_log, source_status, watermarks
from rota.manage.features.ingestion import quarantine as rejects
from rota.manage.features.rows import field_inference, file_readers
from rota.manage.features.writer import Feed
from rota.manage.signals import labels, prediction_log
from rota.ports.inputs import Inputs
from rota.records.data import Source, outcomes
from rota.records.signal import Label, Prediction
from rota.records.time import parse_time
from rota.testing.clock import FakeClock

NOON = parse_time("2013-07-15T12:00:00Z")
HOUR = 3_600_000_000
FIELDS = {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}


class Place:
    """The stores of a platform in memory, with real files and databases around it."""

    def __init__(self) -> None:
        self.metadata, self.tables, self.journal, self.clock = MemoryMetadata(), MemoryTables(), MemoryJournal(), FakeClock(NOON)
        self.feed = self.another()

    def another(self) -> Feed:
        stores = (self.metadata, self.tables, MemoryOnline(), self.journal, self.clock)
        return Feed(*stores, inputs=Inputs(FileInput(), SqlInput({"DATABASE_PASSWORD": "hunter2"})))

    def source(self, name: str = "sales", fields: Any = FIELDS, at: str = "at", **words: Any) -> str:
        self.feed.register([Source(name, fields, at, **words)])
        return name

    def rows(self, name: str = "sales") -> list[dict[str, Any]]:
        if self.tables.version(f"sources/{name}") is None:
            return []
        found = self.tables.scan(f"sources/{name}").collect()
        return found.sort([key for key in ("id", "prediction_id") if key in found.columns], maintain_order=True).to_dicts()

    def rejects(self, name: str = "sales") -> list[tuple[int, str]]:
        return [(each["row"], each["reason"]) for each in rejects.read(self.tables, name)]

    def arrivals(self) -> list[int]:
        return [event.body["rows"] for event in self.metadata.events(0) if event.kind == "data.arrived"]


@pytest.fixture
def place() -> Place:
    return Place()


def in_chunks_of(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "chunks", functools.partial(file_readers.chunks, rows=rows))


def counts(done: Any) -> tuple[int, int, int, int]:
    return done.rows_in, done.rows_out, done.known, done.rejected


def test_every_form_of_file_gives_the_same_rows(place: Place, tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": [1, 2], "shop": ["a", 'ü,\n"b"'], "at": ["2013-07-15T11:00:00Z", "2013-07-15 11:30"], "amount": [1.5, None]})
    text = frame.write_csv()
    (tmp_path / "a.csv").write_text("\ufeff" + text.replace("\n1", "\r\n1"), encoding="utf-8", newline="")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    frame.lazy().sink_csv(tmp_path / "c.csv.zst", compression="zstd")
    frame.write_parquet(tmp_path / "d.parquet")
    frame.write_ndjson(tmp_path / "e.jsonl")
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + frame.write_ndjson().encode() + b"\n\n"))
    for path in sorted(tmp_path.iterdir()):
        name = place.source(path.name.replace(".", "_"))
        assert counts(place.feed.ingestion.ingest(name, path)) == (2, 2, 0, 0), path.name
    stored = [place.rows(path.name.replace(".", "_")) for path in sorted(tmp_path.iterdir())]
    assert [row["at"] for row in stored[0]] == [NOON - HOUR, NOON - HOUR // 2]
    assert all(rows == stored[0] for rows in stored)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.csv.gz"])
def test_an_empty_file_is_an_ingestion_of_nothing(place: Place, tmp_path: Path, name: str) -> None:
    place.source()
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    assert counts(place.feed.ingestion.ingest("sales", tmp_path / name)) == (0, 0, 0, 0)
    (tmp_path / "header.csv").write_text("id,shop,at,amount\n")
    pl.DataFrame({name: [] for name in FIELDS}).write_parquet(tmp_path / "none.parquet")
    for empty in ("header.csv", "none.parquet"):
        assert counts(place.feed.ingestion.ingest("sales", tmp_path / empty)) == (0, 0, 0, 0)
    assert place.rows() == []
    assert place.arrivals() == []


def test_a_broken_row_costs_that_row_only_and_is_kept_with_its_reason(place: Place, tmp_path: Path) -> None:
    place.source()
    head = b"id,shop,at,amount\n1,a,2013-07-15,1\n"
    (tmp_path / "a.csv").write_bytes(head + b"2,b,2013-07-15,1,extra\n3,\xff\xfe,2013-07-15,1\n4,d,2013-07-15\n5,e,2013-07-15,many\n")
    done = place.feed.ingestion.ingest("sales", tmp_path / "a.csv")
    assert counts(done) == (5, 1, 0, 4)
    assert place.rejects() == [
        (2, "the row has 5 fields, the header 4"),
        (
            3,
            "the row is no valid UTF-8 (byte 0xFF); if the file is written otherwise, give the source its encoding, such as encoding='latin-1'",
        ),
        (4, "the row has 3 fields, the header 4"),
        (5, "field 'amount': many is no float"),
    ]
    assert json.loads(rejects.read(place.tables, "sales")[0]["raw"]) == ["2", "b", "2013-07-15", "1", "extra"]
    lines = [
        '{"id": 6, "at": 0}',
        "[1]",
        "{",
        '{"id": 1e30, "at": 0}',
        '{"id": "7", "at": "x"}',
        '{"at": 0}',
        '{"id": 123456789012345678901, "at": 0}',
    ]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    assert counts(place.feed.ingestion.ingest("sales", tmp_path / "b.jsonl")) == (7, 2, 0, 5)
    assert {row["id"] for row in place.rows()} == {1, 6, None}


def test_a_quote_that_is_no_quote_costs_its_line_only(place: Place, tmp_path: Path) -> None:
    place.source()
    head = "id,shop,at,amount\n1,a,2013-07-15,1\n"
    (tmp_path / "a.csv").write_text(head + '2,"b,2013-07-15,1\n3,"c",2013-07-15,1\n4,"d"d,2013-07-15,1\n5,5" pipe,2013-07-15,1\n6,"e,2013-07-15,1\n')
    assert counts(place.feed.ingestion.ingest("sales", tmp_path / "a.csv", final=True)) == (6, 3, 0, 3)
    assert [(row["id"], row["shop"]) for row in place.rows()] == [(1, "a"), (3, "c"), (5, '5" pipe')]
    assert [(each["row"], each["line"], each["reason"]) for each in rejects.read(place.tables, "sales")] == [
        (2, 3, "a quote is opened in field 2 and not closed"),
        (4, 5, 'field 2 goes on behind its closing quote: "d"d,2013-07-15,1'),
        (6, 7, "a quote is opened in field 2 and not closed"),
    ]


def test_times_with_offsets_and_without_become_utc(place: Place, tmp_path: Path) -> None:
    place.source()
    texts = ["2013-07-15T12:00:00+02:00", "2013-07-15T10:00:00", "2013-07-15 10:00:00.000000", "2013-07-15T10:00:00Z", "2013-07-15T05:30-04:30"]
    texts += [str(parse_time(texts[0])), "2013-07-15T10:00:00+00:00"]
    bad = ["2013-02-30", "2013-07-15T24:30:00", "0000-01-01T00:00:00Z", "2013-07-15T10:00:60Z", "10:00", "99999-01-01"]
    rows = [f"{i},a,{text},1" for i, text in enumerate([*texts, *bad])]
    (tmp_path / "a.csv").write_text("id,shop,at,amount\n" + "\n".join(rows) + "\n")
    assert counts(place.feed.ingestion.ingest("sales", tmp_path / "a.csv")) == (13, 7, 0, 6)
    assert {row["at"] for row in place.rows()} == {parse_time("2013-07-15T10:00:00Z")}
    naive, zoned = pl.Series([parse_time(texts[3])]).cast(pl.Datetime("us")), pl.Series([parse_time(texts[3])]).cast(pl.Datetime("us", "Asia/Tokyo"))
    for i, at in enumerate((naive, zoned, naive.cast(pl.Datetime("ns")))):
        pl.DataFrame({"id": [100 + i], "at": at}).write_parquet(tmp_path / f"{i}.parquet")
        place.feed.ingestion.ingest("sales", tmp_path / f"{i}.parquet")
    assert len({row["at"] for row in place.rows()}) == 1


def test_numbers_beyond_what_a_type_holds_are_rejected_and_never_rounded(place: Place, tmp_path: Path) -> None:
    place.source()
    pl.DataFrame({"id": pl.Series([2**63, 2**63 - 1], dtype=pl.UInt64), "at": [0, 0], "amount": [float("inf"), 1.0]}).write_parquet(
        tmp_path / "a.parquet"
    )
    (tmp_path / "b.csv").write_text(f"id,at\n{2**63},0\n{-(2**63)},2013-07-15\n9007199254740993,2013-07-15\n1.5,2013-07-15\n")
    (tmp_path / "c.jsonl").write_text('{"id": 9007199254740995, "at": 0}\n{"id": 1.5, "at": 0}\n')
    assert place.feed.ingestion.ingest("sales", tmp_path / "*").rejected == 4
    assert {row["id"] for row in place.rows()} == {2**63 - 1, -(2**63), 9007199254740993, 9007199254740995}


def test_a_schema_that_changes_between_files_is_followed_or_named(place: Place, tmp_path: Path) -> None:
    place.source(id_field="id")
    (tmp_path / "1.csv").write_text("id,at,amount\n1,2013-07-15,1\n")
    (tmp_path / "2.csv").write_text("amount,colour,at,id,shop\n2,red,2013-07-15,2,b\n")
    assert place.feed.ingestion.ingest("sales", tmp_path / "*.csv").rows_out == 2
    pl.DataFrame({"id": [3], "at": ["2013-07-15"], "amount": [3]}).write_parquet(tmp_path / "3.parquet")
    assert place.feed.ingestion.ingest("sales", tmp_path / "*.parquet").rows_out == 1
    pl.DataFrame({"id": [6], "at": ["2013-07-15"], "amount": ["3"]}).write_parquet(tmp_path / "6.parquet")
    assert [each.reason for each in place.feed.ingestion.ingest("sales", tmp_path / "6.parquet").rejections] == ["field 'amount': '3' is no float"]
    (tmp_path / "4.csv").write_text("id,shop,amount\n4,d,4\n")
    with pytest.raises(InvalidInput, match=r"4\.csv has no column 'at', which every row of source 'sales' needs"):
        place.feed.ingestion.ingest("sales", tmp_path / "4.csv")
    pl.DataFrame({"id": [5], "at": ["2013-07-15"], "amount": [[5.0]]}).write_parquet(tmp_path / "5.parquet")
    with pytest.raises(InvalidInput, match=r"column 'amount'.*List"):
        place.feed.ingestion.ingest("sales", tmp_path / "5.parquet")
    assert [(row["id"], row["shop"], row["amount"]) for row in place.rows()] == [(1, None, 1.0), (2, "b", 2.0), (3, None, 3.0)]


def test_a_file_is_taken_once_by_its_content_under_any_name(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.source(path=str(tmp_path / "*.csv"))
    (tmp_path / "a.csv").write_text("id,at\n1,2013-07-15\n1,2013-07-15\n")
    assert counts(place.feed.ingestion.ingest("sales")) == (2, 2, 0, 0)
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("id,at\n2,2013-07-15\n")
    assert counts(place.feed.ingestion.ingest("sales")) == (3, 1, 2, 0)
    opened: list[Path] = []
    monkeypatch.setattr(file_readers, "digest", opened.append)
    assert counts(place.feed.ingestion.ingest("sales")) == (3, 0, 3, 0)
    assert opened == []
    assert len(place.rows()) == 3
    assert place.arrivals() == [2, 1]
    assert [each.rows_out for each in ingestion_log.history(place.metadata, "sales")] == [1, 2]


def test_the_history_says_who_took_what_in_and_when(place: Place, tmp_path: Path) -> None:
    place.source()
    (tmp_path / "a.csv").write_text("id,at\n1,2013-07-15\nx,2013-07-15\n")
    place.feed.ingestion.ingest("sales", tmp_path / "a.csv", actor="anna")
    (done,) = ingestion_log.history(place.metadata, "sales")
    assert (done.number, done.status, done.actor, done.origin, done.at_us) == (1, "done", "anna", str(tmp_path / "a.csv"), NOON)
    assert counts(done) == (2, 1, 0, 1)
    assert done.version == place.tables.version("sources/sales")


def test_a_large_file_is_taken_in_chunks_with_row_numbers_that_go_on(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.source(id_field="id")
    rows = [f"{i},a,2013-07-15T10:00:00Z,{'x' if i == 2_500 else 1}" for i in range(3_000)]
    (tmp_path / "a.csv").write_text("id,shop,at,amount\n" + "\n".join(rows) + "\n")
    (tmp_path / "b.jsonl").write_text("\n".join(f'{{"id": {i}, "at": "2013-07-15"}}' for i in range(3_000, 5_000)) + "\n{\n")
    in_chunks_of(700, monkeypatch)
    assert counts(place.feed.ingestion.ingest("sales", tmp_path / "*")) == (5_001, 4_999, 0, 2)
    assert {row["id"] for row in place.rows()} == set(range(5_000)) - {2_500}
    assert sorted(row for row, _ in place.rejects()) == [2_001, 2_501]
    assert place.tables.version("sources/sales") == 5 + 3 - 1


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_million_rows_are_taken_a_chunk_at_a_time(place: Place, tmp_path: Path, form: str) -> None:
    place.source()
    frame = pl.DataFrame({"id": pl.int_range(1_000_000, eager=True), "at": pl.int_range(NOON, NOON + 1_000_000, eager=True), "amount": 0.5})
    frame.write_csv(tmp_path / "a.csv") if form == "csv" else frame.write_parquet(tmp_path / "a.parquet")
    assert counts(place.feed.ingestion.ingest("sales", tmp_path / f"a.{form}")) == (1_000_000, 1_000_000, 0, 0)
    stored = place.tables.scan("sources/sales").select(pl.len(), pl.col("id").n_unique().alias("ids"), pl.col("at").max()).collect()
    assert stored.row(0) == (1_000_000, 1_000_000, NOON + 999_999)
    assert place.tables.version("sources/sales") == 9


def test_rejects_are_all_counted_and_bounded_in_number(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejects, "MOST", 50)
    place.source()
    (tmp_path / "a.csv").write_text("id,at\n" + "x,2013-07-15\n" * 200)
    done = place.feed.ingestion.ingest("sales", tmp_path / "a.csv")
    assert (done.rejected, len(done.rejections)) == (200, 50 + 50)
    assert rejects.count(place.tables, "sales") == 50


def test_created_times_come_from_their_column_and_never_out_of_the_future(place: Place, tmp_path: Path) -> None:
    place.source(fields={**FIELDS, "made": "timestamp"}, created_field="made", id_field="id")
    (tmp_path / "a.csv").write_text("id,at,amount,made\n1,2013-07-15,1,2013-07-15T10:00:00Z\n2,2013-07-15,2,2999-01-01\n3,2013-07-15,3,\n")
    place.feed.ingestion.ingest("sales", tmp_path / "a.csv")
    assert [row["created_us"] for row in place.rows()] == [NOON - 2 * HOUR, NOON, NOON]
    (tmp_path / "b.csv").write_text("id,at,amount,made\n1,2013-07-15,9,2013-07-15T09:00:00Z\n1,2013-07-15,1,2013-07-15T10:00:00Z\n")
    assert place.feed.ingestion.ingest("sales", tmp_path / "b.csv").rows_out == 1  # the older form of a row is history, not a correction
    assert [(row["amount"], row["created_us"]) for row in place.rows()][:2] == [(1.0, NOON - 2 * HOUR), (9.0, NOON - 3 * HOUR)]
    (tmp_path / "c.csv").write_text("id,at,amount,made\n1,2013-07-15,9,2013-07-15T09:00:00Z\n")
    assert place.feed.ingestion.ingest("sales", tmp_path / "c.csv").known == 1
    (tmp_path / "d.csv").write_text("made,id,at,amount\n2013-07-15T09:00:00Z,1,2013-07-15,9\n")
    assert place.feed.ingestion.ingest("sales", tmp_path / "d.csv").known == 1


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"id": [1, 2], "at": ["2013-07-15", "2013-07-16"], "amount": [1.0, None], "other": [[1], [2]]}),
        pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2013-07-15", "2013-07-16"]), "amount": [1.0, float("nan")]}),
        [{"id": 1, "at": "2013-07-15", "amount": 1}, {"id": 2, "at": "2013-07-16", "amount": None}],
    ],
    ids=["polars", "pandas", "dicts"],
)
def test_tables_of_any_library_are_taken_once(place: Place, table: Any) -> None:
    place.source()
    assert counts(place.feed.ingestion.ingest_table("sales", table)) == (2, 2, 0, 0)
    assert counts(place.feed.ingestion.ingest_table("sales", table)) == (2, 0, 2, 0)
    assert [(row["id"], row["at"], row["amount"]) for row in place.rows()] == [
        (1, parse_time("2013-07-15"), 1.0),
        (2, parse_time("2013-07-16"), None),
    ]


class Shop:
    """A SQLite database that somebody else writes."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shop.db"
        self.write("CREATE TABLE sales (id INTEGER, shop TEXT, at TEXT, amount)")

    @property
    def words(self) -> dict[str, str]:
        return {"url": f"sqlite:///{self.file}", "query": "sales"}

    def write(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.executemany(statement, rows) if rows else connection.execute(statement)

    def sell(self, *rows: tuple[int, str, float]) -> None:
        self.write("INSERT INTO sales VALUES (?, 'a', ?, ?)", *((i, f"2013-07-15 {at}", amount) for i, at, amount in rows))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_database_is_read_on_from_its_watermark(place: Place, shop: Shop) -> None:
    place.source(**shop.words)
    shop.sell((1, "10:00:00", 1.0), (2, "10:00:00", 1.0), (3, "10:30:00", 1.0))
    first = place.feed.ingestion.ingest("sales")
    assert (counts(first), first.watermark) == ((3, 3, 0, 0), parse_time("2013-07-15T10:30:00Z"))
    assert counts(place.feed.ingestion.ingest("sales")) == (1, 0, 1, 0)
    shop.sell((4, "10:30:00", 1.0), (5, "11:00:00", 1.0))
    assert counts(place.feed.ingestion.ingest("sales")) == (3, 2, 1, 0)
    assert [row["id"] for row in place.rows()] == [1, 2, 3, 4, 5]
    assert place.arrivals() == [3, 2]
    assert place.feed.ingestion.ingest("sales").number == 0  # nothing new is no history


def test_rows_that_appear_late_are_found_within_the_lateness(place: Place, shop: Shop) -> None:
    place.source(**shop.words, lateness="1h")
    shop.sell((1, "10:00:00", 1.0))
    place.feed.ingestion.ingest("sales")
    shop.sell((2, "09:00:00", 1.0), (3, "08:59:59", 1.0))
    assert counts(place.feed.ingestion.ingest("sales")) == (2, 1, 1, 0)
    assert [row["id"] for row in place.rows()] == [1, 2]


def test_equal_rows_without_an_id_count_as_often_as_the_database_has_them(place: Place, shop: Shop) -> None:
    place.source(**shop.words)
    shop.sell(*[(1, "10:00:00", 1.0)] * 2)
    assert place.feed.ingestion.ingest("sales").rows_out == 2
    shop.sell((1, "10:00:00", 1.0))
    assert counts(place.feed.ingestion.ingest("sales")) == (3, 1, 2, 0)
    assert len(place.rows()) == 3


def test_a_changed_row_is_a_correction_and_its_return_another(place: Place, shop: Shop) -> None:
    place.source(**shop.words, id_field="id")
    shop.sell((1, "10:00:00", 1.0))
    for hour, amount in enumerate((1.0, 2.0, 1.0)):
        place.clock.advance(NOON + hour * HOUR)
        shop.write(f"UPDATE sales SET amount = {amount}")
        assert place.feed.ingestion.ingest("sales").rows_out == 1
        assert place.feed.ingestion.ingest("sales").rows_out == 0
    assert [row["amount"] for row in sorted(place.rows(), key=lambda row: row["created_us"])] == [1.0, 2.0, 1.0]


def test_a_row_that_does_not_fit_is_rejected_once_although_the_overlap_shows_it_again(place: Place, shop: Shop) -> None:
    place.source(**shop.words)
    shop.sell((1, "10:00:00", 1.0), (2, "10:00:00", "many"))  # type: ignore[arg-type]
    assert counts(place.feed.ingestion.ingest("sales")) == (2, 1, 0, 1)
    assert counts(place.feed.ingestion.ingest("sales")) == (2, 0, 2, 0)
    assert place.rejects() == [(2, "field 'amount': 'many' is no float")]


def test_rows_of_one_watermark_are_never_parted_by_a_chunk(place: Place, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watermarks, "CHUNK_ROWS", 7)
    place.source(**shop.words)
    shop.sell(*((i, f"10:{i // 10:02d}:00", i % 2) for i in range(100)))
    done = place.feed.ingestion.ingest("sales")
    assert counts(done) == (100, 100, 0, 0)
    assert [row["id"] for row in place.rows()] == list(range(100))
    assert place.tables.version("sources/sales") == 10 - 1


def test_a_database_that_cannot_be_read_safely_is_refused_when_it_is_registered(place: Place, shop: Shop) -> None:
    refused = {
        "one SELECT": {"query": "DELETE FROM sales"},
        "one SELECT ": {"query": "SELECT * FROM sales; SELECT 1"},
        "only reads": {"url": "postgresql://h/d", "query": "WITH x AS (DELETE FROM sales RETURNING *) SELECT * FROM x"},
        "only reads,": {"query": "SELECT * INTO copy FROM sales"},
        "cannot be read": {"query": "SELECT FROM WHERE ("},
        "password": {"url": "postgresql://u:hunter2@h/d"},
        "'mysql' are not read": {"url": "mysql://h/d"},
        "must be int or timestamp": {"watermark": "amount"},
    }
    for message, words in refused.items():
        with pytest.raises(InvalidInput, match=message.strip()) as failed:
            place.source(**{**shop.words, **words})
        assert "hunter2" not in str(failed.value)
    place.source("ok", url="postgresql://u:${DATABASE_PASSWORD}@127.0.0.1:1/d", query="sales")
    with pytest.raises(Unavailable) as failed:
        place.feed.ingestion.ingest("ok")
    assert "hunter2" not in str(failed.value)


def test_a_source_whose_query_changed_begins_again_and_doubles_nothing(place: Place, shop: Shop) -> None:
    place.source(**shop.words)
    shop.sell((1, "10:00:00", 1.0), (2, "11:00:00", 1.0))
    place.feed.ingestion.ingest("sales")
    place.source(**(shop.words | {"query": "SELECT * FROM sales WHERE id > 0"}))
    assert counts(place.feed.ingestion.ingest("sales")) == (2, 0, 2, 0)


def test_two_ingesters_at_once_take_each_row_once_and_count_it_once(
    place: Place, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watermarks, "CHUNK_ROWS", 50)
    in_chunks_of(50, monkeypatch)
    (tmp_path / "a.csv").write_text("id,shop,at,amount\n" + "\n".join(f"{i},a,2013-07-15,1" for i in range(1_000, 2_000)) + "\n")
    shop.sell(*((i, f"{10 + i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}", 1.0) for i in range(1_000)))
    place.source(**shop.words, path=str(tmp_path / "a.csv"))
    failed: list[BaseException] = []

    def ingest() -> None:
        try:
            place.another().ingestion.ingest("sales")
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=ingest) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [row["id"] for row in place.rows()] == list(range(2_000))
    assert sum(each.rows_out for each in ingestion_log.history(place.metadata, "sales")) == 2_000
    assert sum(place.arrivals()) == 2_000


def predicted(i: int, **changes: Any) -> Prediction:
    made = {
        "prediction_id": f"p{i}",
        "endpoint": "delay",
        "at_us": NOON + i,
        "model": "delay",
        "number": 1,
        "role": "stable",
        "revision": 1,
        "unit": "",
        "request": {"origin": "JFK", "distance": i},
        "features": {"weather__wind": 1.5 * i},
        "answer": 0.5,
        "latency_us": 10,
    }
    return Prediction(**{**made, **changes})


def test_outcomes_become_rows_that_follow_their_labels(place: Place) -> None:
    source = outcomes("delay", fields={"origin": "string", "distance": "int", "weather__wind": "float", "answer": "float"})
    place.feed.register([source])
    assert place.feed.ingestion.ingest(source.name).rows_out == 0
    prediction_log.append(place.journal, "delay", [predicted(i) for i in range(3)])
    prediction_log.append(place.journal, "delay", [predicted(3, role="shadow"), predicted(4, error="x", answer=None)])
    labels.append(place.journal, "delay", [Label(f"p{i}", float(i), NOON + HOUR) for i in (0, 1, 3, 4, 9)], NOON + HOUR)
    place.clock.advance(NOON + 2 * HOUR)
    assert counts(place.feed.ingestion.ingest(source.name)) == (2, 2, 0, 0)
    assert place.rows(source.name)[1] == {
        "_received_us": NOON + 2 * HOUR,
        "answer": 0.5,
        "asked_at": NOON + 1,
        "created_us": NOON + HOUR,
        "distance": 1,
        "labelled_at": NOON + HOUR,
        "origin": "JFK",
        "prediction_id": "p1",
        "value": 1.0,
        "weather__wind": 1.5,
    }
    assert place.feed.ingestion.ingest(source.name).rows_out == 0
    labels.append(place.journal, "delay", [Label("p1", 7.0, NOON + 2 * HOUR)], NOON + 2 * HOUR)
    prediction_log.append(place.journal, "delay", [predicted(9)])  # its label came first
    assert place.feed.refresh(source.name).rows_out == 2
    newest = {row["prediction_id"]: row["value"] for row in sorted(place.rows(source.name), key=lambda row: row["created_us"])}
    assert newest == {"p0": 0.0, "p1": 7.0, "p9": 9.0}


def test_an_outcome_read_again_holds_the_label_that_was_known_when_it_was_read_first(place: Place) -> None:
    source = outcomes("delay")
    prediction_log.append(place.journal, "delay", [predicted(1)])
    for value, received in ((1.0, NOON + HOUR), (7.0, NOON + 3 * HOUR)):
        labels.append(place.journal, "delay", [Label("p1", value, NOON)], received)

    def read(until: int | None) -> list[tuple[float, int]]:
        found = watermarks.outcomes(place.tables, place.journal, source).read(None, until)
        return pl.concat([each.rows for each in found]).select("value", "created_us").rows()

    assert read(NOON + 2 * HOUR) == [(1.0, NOON + HOUR)]
    assert read(None) == [(7.0, NOON + 3 * HOUR)]


def test_refresh_asks_what_can_be_asked_and_misses_no_file_that_is_elsewhere(place: Place, tmp_path: Path) -> None:
    place.source("pushed")
    place.source("filed", path=str(tmp_path / "*.csv"))
    place.feed.pushes.push("pushed", [{"id": 1, "at": NOON}])
    assert place.feed.refresh("pushed") is None
    assert len(place.rows("pushed")) == 1
    assert place.feed.refresh("filed") is None
    (tmp_path / "a.csv").write_text("id,at\n1,2013-07-15\n")
    assert place.feed.refresh("filed").rows_out == 1
    with pytest.raises(NotFound, match="no file matches"):
        place.feed.ingestion.ingest("filed", tmp_path / "b.csv")


def test_a_look_at_an_input_stores_nothing(place: Place, shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,at,amount,when,ok,name\n1,2013-07-15,1.5,2013-07-15,true,5a\nx,y,2,2013-07-16T00:00:00Z,false,NA\n")
    place.source(path=str(tmp_path / "a.csv"))
    found = source_status.probe(Inputs(FileInput(), SqlInput({})), source_status.get(place.metadata, "sales"))
    assert found.columns == {"id": "string", "at": "string", "amount": "float", "when": "timestamp", "ok": "bool", "name": "string"}
    assert (found.missing, found.undeclared, found.rejected) == (("shop",), ("when", "ok", "name"), 1)
    assert found.rejections[0].reason in ("field 'id': x is no int", "field 'at': y is no timestamp")
    shop.sell((1, "10:00:00", 1.0))
    place.source("dbs", **shop.words)
    assert source_status.probe(Inputs(FileInput(), SqlInput({})), source_status.get(place.metadata, "dbs")).columns["at"] == "timestamp"
    assert (place.rows(), place.rows("dbs"), ingestion_log.history(place.metadata, "sales")) == ([], [], [])


def test_fields_are_inferred_from_the_first_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,at,amount,flag,zero,name,none\n1,2013-07-15,1,true,0,a,\n2,2013-07-15T01:00:00+02:00,2.5,false,1,b,\n")
    assert field_inference.inferred_fields(tmp_path / "*.csv") == {
        "id": "int",
        "at": "timestamp",
        "amount": "float",
        "flag": "bool",
        "zero": "int",
        "name": "string",
        "none": "string",
    }
    (tmp_path / "a.jsonl").write_text('{"id": 1, "at": "2013-07-15", "x": {"y": 1}, "b": true}\n{"id": 2.5, "new": "x"}\n')
    assert field_inference.inferred_fields(tmp_path / "a.jsonl") == {"id": "float", "at": "timestamp", "b": "bool", "new": "string"}
    with pytest.raises(NotFound):
        field_inference.inferred_fields(tmp_path / "*.parquet")
    with pytest.raises(Unavailable):
        field_inference.inferred_fields("s3://bucket/a.csv")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/hostname", "a\0.csv", "http://x/a.csv", "/dev/zero", "x" * 5_000])
def test_a_hostile_path_is_an_error_of_one_kind(place: Place, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place.source()
    with pytest.raises((InvalidInput, NotFound)):
        place.feed.ingestion.ingest("sales", path)
    assert place.rows() == []


def test_files_of_a_bucket_are_taken_like_any_other(place: Place, s3_env: Any, put: Callable[[str, bytes], None]) -> None:
    url = s3_env.url()
    put(f"{url}/day=1/a.csv", b"id,at\n1,2013-07-15\n")
    put(f"{url}/day=2/a.csv", b"id,at\n2,2013-07-15\nx,2013-07-15\n")
    place.source(path=f"{url}/**/*.csv")
    assert counts(place.feed.ingestion.ingest("sales")) == (3, 2, 0, 1)
    before = len(s3_env.requests())
    assert counts(place.feed.ingestion.ingest("sales")) == (3, 0, 2, 1)
    assert not [request for request in s3_env.requests()[before:] if request.endswith("a.csv")]
    assert rejects.read(place.tables, "sales")[0]["file"] == f"{url}/day=2/a.csv"


@pytest.fixture
def put() -> Callable[[str, bytes], None]:
    from rota.backends.storage.s3_bucket import open_bucket  # noqa: PLC0415 - obstore is there only with rota[s3]

    def put(url: str, data: bytes) -> None:
        place, _, name = url.rpartition("/")
        open_bucket(place).write(name, data)

    return put


def test_a_file_that_an_older_version_took_is_not_taken_again(place: Place, tmp_path: Path) -> None:
    place.source()
    (tmp_path / "a.csv").write_text("id,at\n1,2013-07-15\n")
    place.tables.append(
        "sources/sales", pl.DataFrame({"id": [1], "at": [0], "created_us": [0]}), batch=(f"ingest/{file_readers.digest(tmp_path / 'a.csv')}", 1)
    )
    assert place.feed.ingestion.ingest("sales", tmp_path / "a.csv").rows_out == 0
