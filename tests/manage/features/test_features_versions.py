"""Versions of a row: by id and creation time, whatever the order of the file, the size of its chunks and the distance between them."""

from copy import deepcopy
from typing import Any
from unittest import mock

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.manage.features.join.point_in_time import FAR_US, historical
from rota.manage.features.rows import coercion, file_readers, source_table
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.testing.clock import FakeClock

MINUTE = 60_000_000
START = 1_373_860_800_000_000
FIELDS = {"id": "int", "shop": "string", "at": "timestamp", "amount": "float", "made": "timestamp"}
SALES = Source("sales", FIELDS, "at", id_field="id", created_field="made")  # type: ignore[arg-type]
SERVICE = FeatureService("s", [FeatureView("newest", [Entity("shop", ["shop"])], SALES, {"amount": Feature("amount")})])
PREPARED = MemoryMetadata()
Feed(PREPARED, MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(START)).register([SERVICE])


class Place:
    """A platform whose one source has the versions of its rows dated by a column; read in chunks of so many rows."""

    def __init__(self, chunk: int) -> None:
        metadata = MemoryMetadata()
        metadata.__dict__.update({name: deepcopy(value) for name, value in PREPARED.__dict__.items() if "lock" not in name})
        self.tables, self.clock, self.chunk = MemoryTables(), FakeClock(START + 1_000 * MINUTE), chunk
        self.feed = Feed(metadata, self.tables, MemoryOnline(), MemoryJournal(), self.clock)

    def ingest(self, rows: list[dict[str, Any]]) -> Any:
        with mock.patch.object(file_readers, "CHUNK_ROWS", self.chunk):
            return self.feed.ingestion.ingest_table("sales", pl.DataFrame(rows, schema=coercion.dtypes(SALES.fields)))

    def current(self) -> dict[int, float | None]:
        rows = source_table.current(source_table.stored(self.tables, SALES), SALES)
        return dict(zip(rows["id"], rows["amount"], strict=True))

    def knows(self, shop: str, at: int, *, as_of: Any = "event", until: int = FAR_US) -> Any:
        spine = pl.DataFrame({"shop": [shop], "t": [at]}, schema={"shop": pl.String, "t": pl.Int64})
        return historical(self.tables, SERVICE, spine, timestamp="t", known_until_us=until, as_of=as_of, materialized={})["newest__amount"].item()


def row(number: int, made: int, amount: float, *, shop: str = "a") -> dict[str, Any]:
    return {"id": number, "shop": shop, "at": START, "amount": amount, "made": START + made * MINUTE}


versions = st.lists(
    st.builds(row, st.integers(1, 3), st.integers(0, 4), st.sampled_from([1.0, 2.0, 3.0]), shop=st.sampled_from(["a", "b"])), max_size=7
)


def distinct(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({tuple(each.values()): each for each in reversed(rows)}.values())[::-1]  # an equal row is the row that came first


def test_the_version_created_last_wins_and_the_older_one_is_what_was_known_before_it() -> None:
    later_first = [row(1, 2, 25.0), row(1, 1, 20.0)]
    for rows in (later_first, later_first[::-1]):
        for chunk in (1, 100):
            place = Place(chunk)
            assert place.ingest(rows).rows_out == 2
            assert place.current() == {1: 25.0}
            between = START + 90 * 1_000_000
            assert place.knows("a", between, until=between) == 20.0
            assert place.knows("a", between, as_of="served") == 20.0
            assert place.knows("a", START + 5 * MINUTE) == 25.0


def test_a_hundred_thousand_rows_between_two_versions_change_nothing() -> None:
    place = Place(50_000)
    between = [row(number, 0, 1.0, shop="b") for number in range(2, 100_002)]
    place.ingest([row(1, 2, 25.0), *between, row(1, 1, 20.0)])
    assert place.current()[1] == 25.0
    assert place.knows("a", START + 90 * 1_000_000, until=START + 90 * 1_000_000) == 20.0


@given(rows=versions.map(distinct), chunk=st.sampled_from([1, 2, 100]), cuts=st.integers(0, 7), order=st.randoms(use_true_random=False))
def test_versions_are_those_of_the_rule_in_whatever_parts_they_come(rows: list[dict[str, Any]], chunk: int, cuts: int, order: Any) -> None:
    """The rule: of an id the version created last counts; of equally old ones the one received last."""
    order.shuffle(rows)
    place = Place(chunk)
    for part in (rows[:cuts], rows[cuts:]):
        place.ingest(part)
        place.clock.advance(place.clock.now_us() + MINUTE)
    assert place.current() == {each["id"]: each["amount"] for each in sorted(rows, key=lambda each: each["made"])}
    stored = source_table.stored(place.tables, SALES)
    assert stored.height == len(rows)
    assert not stored.select(pl.struct("id", "created_us").is_duplicated().any()).item()
    for moment in (0, 2, 4):
        until = START + moment * MINUTE + 30_000_000
        known = {each["id"]: each for each in sorted(rows, key=lambda each: each["made"]) if each["made"] <= until}
        for shop in ("a", "b"):
            there = [each["amount"] for each in known.values() if each["shop"] == shop]
            assert place.knows(shop, until, until=until) in (there or [None])
    again = place.ingest(rows[::-1])
    assert (again.rows_out, source_table.stored(place.tables, SALES).height) == (0, len(rows))


def test_a_changed_row_of_a_source_that_does_not_date_them_follows_what_is_stored_even_within_one_tick_of_the_clock() -> None:
    source = Source("plain", {"id": "int", "at": "timestamp", "amount": "float"}, "at", id_field="id")
    tables, clock = MemoryTables(), FakeClock(START)
    feed = Feed(MemoryMetadata(), tables, MemoryOnline(), MemoryJournal(), clock)
    feed.register([source])
    for other, amount in enumerate((1.0, 2.0, 1.0, 3.0), 10):  # another row each time: a content is taken once
        assert feed.ingestion.ingest_table("plain", [{"id": 1, "at": START, "amount": amount}, {"id": other, "at": START}]).rows_out == 2
    stored = source_table.stored(tables, source).sample(fraction=1.0, shuffle=True, seed=1)  # tables promise no order
    current = source_table.current(stored, source).filter(pl.col("id") == 1)
    assert current["amount"].to_list() == [3.0]
    assert stored.filter(pl.col("id") == 1).sort("created_us")["amount"].to_list() == [1.0, 2.0, 1.0, 3.0]
