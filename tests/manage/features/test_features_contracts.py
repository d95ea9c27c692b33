"""What an owner promises about a source is held against every row that comes in, by file, by table and by push."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput, Refused
from rota.manage.features.ingestion import contracts, ingestion_log, quarantine, source_status
from rota.manage.features.rows import file_readers
from rota.manage.features.writer import Feed
from rota.ports.inputs import Inputs
from rota.records.data import Contract, Source
from rota.records.schema import ColumnSchema
from rota.records.time import parse_time
from rota.testing.clock import FakeClock

NOON = parse_time("2013-07-15T12:00:00Z")
FIELDS = {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}
PROMISES = (
    ColumnSchema("amount", "float", minimum=0, maximum=100, max_null_share=0.0),
    ColumnSchema("shop", "string", domain=("a", "b"), max_null_share=0.5),
)


class Place:
    def __init__(self, contract: Contract | None) -> None:
        self.metadata, self.tables, self.clock = MemoryMetadata(), MemoryTables(), FakeClock(NOON)
        stores = (self.metadata, self.tables, MemoryOnline(), MemoryJournal(), self.clock)
        self.feed = Feed(*stores, inputs=Inputs(FileInput(), SqlInput({})))
        self.feed.register([source(contract)])

    def ids(self) -> list[int]:
        self.feed.pushes.flush("sales")
        if self.tables.version("sources/sales") is None:
            return []
        return sorted(self.tables.scan("sources/sales").collect()["id"].to_list())

    def reasons(self) -> list[tuple[int, str]]:
        return [(each["row"], each["reason"]) for each in quarantine.read(self.tables, "sales")]


def source(contract: Contract | None) -> Source:
    return Source("sales", FIELDS, "at", contract=contract)


def sale(i: int, shop: str | None = "a", amount: float | None = 1.0) -> dict[str, Any]:
    return {"id": i, "shop": shop, "at": NOON, "amount": amount}


SALES = [
    sale(1),
    sale(2, amount=-1.0),
    sale(3, shop="z"),
    sale(4, amount=None),
    sale(5, shop=None),
    sale(6, shop="b", amount=100.0),
    sale(7, amount=101.0),
]
REASONS = [
    (2, "contract of anna (version 1): field 'amount': -1.0 is below 0"),
    (3, "contract of anna (version 1): field 'shop': z is not one of ['a', 'b']"),
    (4, "contract of anna (version 1): field 'amount': null where none may be null"),
    (7, "contract of anna (version 1): field 'amount': 101.0 is above 100"),
]


def test_quarantine_keeps_the_broken_rows_of_a_file_apart_with_the_owner_field_and_value(tmp_path: Path) -> None:
    place = Place(Contract("anna", PROMISES))
    pl.DataFrame(SALES).write_csv(tmp_path / "a.csv")
    done = place.feed.ingestion.ingest("sales", tmp_path / "a.csv")
    assert (done.rows_in, done.rows_out, done.rejected) == (7, 3, 4)
    assert place.reasons() == REASONS
    assert place.ids() == [1, 5, 6]


def test_quarantine_keeps_the_broken_rows_of_a_push_apart_and_takes_the_others(tmp_path: Path) -> None:
    place = Place(Contract("anna", PROMISES))
    assert place.feed.pushes.push("sales", SALES) == 3
    assert place.reasons() == REASONS
    assert place.ids() == [1, 5, 6]
    assert place.feed.pushes.push("sales", [sale(8, shop="z")]) == 0
    assert place.ids() == [1, 5, 6]


def test_a_refusal_stores_nothing_but_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "CHUNK_ROWS", 2)
    place = Place(Contract("anna", PROMISES, on_break="refuse"))
    for i in range(3):
        pl.DataFrame([sale(i)]).write_csv(tmp_path / f"{i}.csv")
    pl.DataFrame([*[sale(i) for i in range(10, 15)], sale(15, amount=-5.0)]).write_csv(tmp_path / "9.csv")
    with pytest.raises(Refused, match=r"9\.csv, row 6: contract of anna \(version 1\): field 'amount': -5.0 is below 0.*ask anna"):
        place.feed.ingestion.ingest("sales", tmp_path / "*.csv")
    with pytest.raises(Refused, match=r"push, row 2: .*'shop': z is not one of"):
        place.feed.pushes.push("sales", [sale(1), sale(2, shop="z")])
    with pytest.raises(Refused, match=r"row 1.*'amount': 200\.0"):
        place.feed.ingestion.ingest_table("sales", [sale(1, amount=200.0)])
    assert place.ids() == []
    assert place.reasons() == []
    history = ingestion_log.history(place.metadata, "sales")
    assert [(each.number, each.status, each.rows_out) for each in history] == [(3, "refused", 0), (2, "refused", 0), (1, "refused", 0)]
    assert "ask anna" in history[2].reason
    (tmp_path / "9.csv").unlink()
    assert place.feed.ingestion.ingest("sales", tmp_path / "*.csv").rows_out == 3


def test_a_value_of_the_wrong_type_breaks_a_contract_that_refuses(tmp_path: Path) -> None:
    place = Place(Contract("anna", on_break="refuse"))
    (tmp_path / "a.csv").write_text("id,shop,at,amount\n1,a,2013-07-15,1\n2,a,2013-07-15,many\n")
    with pytest.raises(Refused, match="row 2: field 'amount': many is no float"):
        place.feed.ingestion.ingest("sales", tmp_path / "a.csv")
    assert place.ids() == []


@pytest.mark.parametrize(("nulls", "kept"), [(5, 10), (6, 4)])
def test_a_share_of_nulls_is_judged_over_the_rows_that_come_together(nulls: int, kept: int) -> None:
    place = Place(Contract("anna", PROMISES))
    assert place.feed.pushes.push("sales", [sale(i, shop=None if i < nulls else "a") for i in range(10)]) == kept


def test_a_break_that_the_policy_ignores_is_let_through() -> None:
    lenient = ColumnSchema("amount", "float", minimum=0, policy={"FLOAT_TYPE_SMALL_FLOAT": "warn"})
    assert Place(Contract("anna", (lenient,))).feed.pushes.push("sales", [sale(1, amount=-1.0)]) == 1
    assert Place(Contract("anna", (ColumnSchema("amount", "float", minimum=0),))).feed.pushes.push("sales", [sale(1, amount=-1.0)]) == 0


def test_rows_older_than_promised_make_the_source_stale(tmp_path: Path) -> None:
    place = Place(Contract("anna", freshness="1h"))
    known = source_status.get(place.metadata, "sales")
    assert "no rows yet" in source_status.status(place.metadata, place.tables, known, NOON).stale
    (tmp_path / "a.csv").write_text("id,at\n1,2013-07-15T11:00:00Z\n")
    assert place.feed.ingestion.ingest("sales", tmp_path / "a.csv").stale == ""
    place.clock.advance(NOON + 1)
    (tmp_path / "b.csv").write_text("id,at\n2,2013-07-15T10:00:00Z\n")
    stale = place.feed.ingestion.ingest("sales", tmp_path / "b.csv").stale
    assert stale == "contract of anna: the newest row of source 'sales' is of 2013-07-15T11:00:00Z, more than 1h ago"
    status = source_status.status(place.metadata, place.tables, known, NOON + 1)
    assert (status.stale, status.owner, status.rows, status.newest_us) == (stale, "anna", 2, NOON - 3_600_000_000)


def test_a_changed_contract_needs_a_higher_version_and_none_is_dropped_silently() -> None:
    place = Place(Contract("anna", PROMISES))
    assert place.feed.register([source(Contract("anna", PROMISES))]) == []
    with pytest.raises(Refused, match="still version 1; give it version=2"):
        place.feed.register([source(Contract("anna"))])
    with pytest.raises(Refused, match=r"contract of anna \(version 1\), and this definition has none"):
        place.feed.register([source(None)])
    assert place.feed.pushes.push("sales", [sale(1, amount=-1.0)]) == 0
    place.feed.register([source(Contract("bob", version=2))])
    assert place.feed.pushes.push("sales", [sale(1, amount=-1.0)]) == 1


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (ColumnSchema("colour", "string"), "speaks of 'colour', which is none of its fields"),
        (ColumnSchema("amount", "int"), "'amount' as int, the source as float"),
    ],
)
def test_a_contract_that_cannot_be_held_against_its_source_is_refused(column: ColumnSchema, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Place(Contract("anna", (column,)))


def test_large_frames_are_checked_by_columns() -> None:
    frame = pl.DataFrame({"id": pl.int_range(500_000, eager=True), "shop": "a", "at": NOON, "amount": 1.0})
    frame = frame.with_columns(pl.when(pl.col("id") == 333_333).then(-1.0).otherwise(pl.col("amount")).alias("amount"))
    reasons = contracts.reasons(source(Contract("anna", PROMISES)), frame)
    assert reasons.is_not_null().arg_true().to_list() == [333_333]
