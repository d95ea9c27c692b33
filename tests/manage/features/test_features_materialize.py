"""Materialize, all of it or what is missing: the same bytes as pushes, in bounded memory, and how fresh a view is."""

import math
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput, NotFound, Refused, RotaError, Unavailable
from rota.manage.features.materialization import backfill as history
from rota.manage.features.materialization import source_plans
from rota.manage.features.materialization.push_stream import PUSH, PushStream, Stores
from rota.manage.features.online.reader import OnlineFeatures, stored_view
from rota.manage.features.online.row_codec import RowView
from rota.manage.features.online.row_codec_batch import RowBatches
from rota.manage.features.rows.coercion import check_events, frame
from rota.manage.features.rows.source_table import CREATED
from rota.manage.features.writer import Feed
from rota.records.data import Contract, Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.schema import ColumnSchema
from rota.records.signal import Event
from rota.testing.clock import FakeClock

HOUR = 3_600_000_000
START = 1_373_860_800_000_000
ALL = {"k": "string", "n": "int", "at": "timestamp", "x": "float", "b": "bool", "word": "string", "moment": "timestamp"}
key = Entity("thing", ["k", "n"])
VIEW = FeatureView(
    "all",
    [key],
    Source("things", ALL, "at"),
    {
        **{name: Feature(name) for name in ALL},
        "sum": Feature("x + n"),
        "ln": Feature("ln(x)"),
        "upper": Feature("upper(word)"),
        "one": Feature("1"),
        "late": Feature("moment > at"),
    },
)
BATCHES, ROWS = RowBatches(RowView(VIEW)), RowView(VIEW)
things = st.fixed_dictionaries(
    {
        "k": st.none() | st.text(max_size=4),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "at": st.integers(0, START),
        "x": st.none() | st.floats(),
        "b": st.none() | st.booleans(),
        "word": st.none() | st.text(max_size=500),
        "moment": st.none() | st.integers(-START, START),
    }
)


@given(st.lists(things, min_size=1, max_size=8))
def test_columns_are_encoded_to_the_bytes_of_rows(drawn: list[dict[str, Any]]) -> None:
    rows = check_events(VIEW.source, drawn)
    found = frame([{**row, CREATED: START + i} for i, row in enumerate(rows)], {**ALL, CREATED: "int"})  # type: ignore[arg-type]
    assert BATCHES.stored(found) == [ROWS.encode(row, START + i) for i, row in enumerate(rows)]
    keyed = [(ROWS.key(row), ROWS.encode(row, START + i)) for i, row in enumerate(rows) if ROWS.key(row) is not None]
    assert BATCHES.pairs(found) == sorted(keyed, key=lambda pair: pair[0])  # type: ignore[arg-type,return-value]


class Place:
    """A platform in memory with sales of shops: a scalar view, and a windowed one over another source."""

    def __init__(self, *, ttl: str | None = "2h", identified: bool = True) -> None:
        shop = Entity("shop", ["shop"])
        sales = Source("sales", {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}, "at", id_field="id" if identified else None)
        self.newest = FeatureView("newest", [shop], sales, {"amount": Feature("amount")}, ttl=ttl)
        self.windows = FeatureView("windows", [shop], sales, {"n": Feature("1", "count", "3h"), "last": Feature("amount", "last", "3h")})
        self.service = FeatureService("s", [self.newest, self.windows])
        self.metadata, self.tables, self.online = MemoryMetadata(), MemoryTables(), MemoryOnline()
        self.journal, self.clock = MemoryJournal(), FakeClock(START)
        self.feed = Feed(self.metadata, self.tables, self.online, self.journal, self.clock)
        self.feed.register([self.service])

    def stores(self, rows: list[tuple[int, str | None, int, float]], created_us: int = START) -> None:
        """Rows that came into the table and nowhere else, as an ingestion brings them."""
        columns = pl.DataFrame(rows, schema={"id": pl.Int64, "shop": pl.String, "at": pl.Int64, "amount": pl.Float64}, orient="row")
        self.tables.append("sources/sales", columns.with_columns(pl.lit(created_us, dtype=pl.Int64).alias(CREATED)))

    def serves(self, name: str = "a") -> tuple[Any, ...]:
        return tuple(OnlineFeatures(self.online, self.service).vectors([{"shop": name}], self.clock.now_us())[0].values())

    def arrived(self) -> list[Event]:
        return [event for event in self.metadata.events(0) if event.kind == "data.arrived"]


def test_a_view_over_an_empty_source_is_materialized_to_nothing() -> None:
    place = Place()
    assert place.feed.materializer.materialize("newest") == place.feed.materializer.materialize_incremental("windows") == 0
    status = place.feed.materializer.status("newest")
    assert (status.rows, status.waiting, status.newest_event_us, status.age_s, status.fresh) == (0, 0, None, None, False)
    assert status.materialized_us == START


def test_incremental_brings_what_files_brought_and_writes_nothing_else() -> None:
    place = Place()
    place.feed.pushes.push("sales", [{"id": 1, "shop": "a", "at": START, "amount": 1.0}])
    place.stores([(2, "a", START - HOUR, 2.0), (3, "b", START - HOUR, 3.0), (4, None, START, 9.0)])
    assert place.feed.materializer.materialize_incremental("newest") > 0
    assert (place.serves("a"), place.serves("b")) == ((1.0, 2, 1.0), (3.0, 1, 3.0))
    assert place.feed.materializer.materialize_incremental("newest") == 0
    place.stores([(5, "b", START, 4.0)])
    written: list[bytes] = []
    working = place.online.update

    def watched(rows: Any, *arguments: Any, **options: Any) -> bool:
        pairs = list(rows)
        written.extend(key for key, _ in pairs if key.startswith(b"v"))
        return working(pairs, *arguments, **options)

    place.online.update = watched  # type: ignore[method-assign]
    assert place.feed.materializer.materialize_incremental("newest") == 4  # the row, the tiles, and where sale 5 is found by its id, twice
    assert written == [stored_view(view).key({"shop": "b"}) for view in (place.newest, place.windows)]
    assert place.serves("b") == (4.0, 2, 4.0)


def test_a_large_source_is_read_in_parts_with_corrections_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    place.stores([(i, f"s{i % 50}", START - 50 * HOUR + i, float(i)) for i in range(1_000)])
    place.stores([(999, "s0", START - 90 * HOUR, -1.0)], created_us=START + 1)  # the newest sale of s49 was in truth an old one of s0
    whole = dict(pair for _, pairs in history.newest(place.tables, RowView(place.newest), version=None, now_us=START) for pair in pairs)
    shares, found = [], {}
    for share, pairs in history.newest(place.tables, RowView(place.newest), version=None, now_us=START, at_once=100):
        shares.append(share)
        found |= dict(pairs)
    assert len(shares) == 11
    assert shares[-1] == 1.0
    assert found == whole
    assert len(found) == 50
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 10)
    progress: list[tuple[float, int]] = []
    place.feed.materializer.materialize("newest", progress=lambda share, keys: progress.append((share, keys)))
    assert progress[-1][0] == 1.0
    assert sorted(progress) == progress or progress[-1][1] >= 50
    ages = RowView(place.newest).decode(place.online.read([RowView(place.newest).key({"shop": "s49"})])[0], START - 49 * HOUR)
    assert ages == (949.0,)


def test_one_version_of_a_view_is_materialized_alone() -> None:
    place = Place()
    place.stores([(1, "a", START, 2.0)])
    doubled = FeatureView("newest", place.newest.entities, place.newest.source, {"amount": Feature("amount * 2")}, ttl="2h")
    place.feed.register([doubled])
    assert place.serves() == (2.0, 1, 2.0)  # registering brings online whatever lacks
    place.online.delete(b"")
    assert place.feed.materializer.materialize("newest@v2") == 2  # the row, and where sale 1 is found by its id
    assert place.serves() == (None, None, None)
    assert OnlineFeatures(place.online, FeatureService("new", [doubled])).vectors([{"shop": "a"}], START) == [{"newest__amount": 4.0}]
    place.feed.materializer.materialize("newest@v1")
    assert place.serves() == (2.0, None, None)
    for unknown in ("newest@v3", "nothing", "../x", "newest@v"):
        with pytest.raises((NotFound, InvalidInput)):
            place.feed.materializer.materialize(unknown)
    place.feed.register([OnDemandFeatureView("asked", {"x": "float"}, {"y": Feature("x + 1")})])
    with pytest.raises(InvalidInput, match="nothing of it is stored"):
        place.feed.materializer.materialize("asked")


def test_a_view_that_is_registered_while_pushes_go_on_misses_none_of_their_rows() -> None:
    """The pusher read the catalog before the view was registered, and writes after the view was materialized."""
    place = Place(identified=False)
    pusher = Feed(place.metadata, place.tables, place.online, place.journal, place.clock)
    pusher.pushes.push("sales", [{"shop": "a", "at": START, "amount": 1.0}])
    new = FeatureView("added", place.newest.entities, place.newest.source, {"twice": Feature("amount * 2")})
    sums = FeatureView("sums", place.newest.entities, place.newest.source, {"sum": Feature("amount", "sum", "1h")})
    working = place.journal.append

    def append(*arguments: Any, **options: Any) -> Any:
        place.journal.append = working  # type: ignore[method-assign]
        place.feed.register([new, sums])
        place.feed.materializer.materialize("added")
        return working(*arguments, **options)

    place.journal.append = append  # type: ignore[method-assign]
    pusher.pushes.push("sales", [{"shop": "a", "at": START, "amount": 5.0}])
    served = OnlineFeatures(place.online, FeatureService("t", [new, sums])).vectors([{"shop": "a"}], START)
    assert served == [{"added__twice": 10.0, "sums__sum": 6.0}]


def test_a_push_reads_no_metadata_while_no_definition_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    place.feed.pushes.push("sales", [{"id": 1, "shop": "a", "at": START, "amount": 1.0}])

    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("a push has read metadata")

    now_s = time.monotonic()
    monkeypatch.setattr(source_plans.time, "monotonic", lambda: now_s)
    for verb in ("get", "find", "commit"):
        monkeypatch.setattr(place.metadata, verb, asked)
    place.clock.advance(START + 1)
    place.feed.pushes.push("sales", [{"id": 2, "shop": "a", "at": START + 1, "amount": 2.0}])
    assert place.serves() == (2.0, 2, 2.0)


def test_what_another_process_registers_holds_for_the_next_push() -> None:
    """Fields and contracts before the rows are journalled, views before they are brought online."""
    place = Place(identified=False)
    pusher = Feed(place.metadata, place.tables, place.online, place.journal, place.clock)
    pusher.pushes.push("sales", [{"shop": "a", "at": START, "amount": 1.0}])
    sales = place.newest.source
    twice = FeatureView("twice", place.newest.entities, sales, {"twice": Feature("amount * 2")})
    place.feed.register([twice])
    pusher.pushes.push("sales", [{"shop": "b", "at": START, "amount": 5.0}])
    assert OnlineFeatures(place.online, FeatureService("t", [twice])).vectors([{"shop": "b"}], START) == [{"twice__twice": 10.0}]
    contract = Contract("shop", (ColumnSchema("amount", "float", maximum=9.0),), on_break="refuse")
    promised = Source("sales", {**sales.fields, "tax": "float"}, "at", contract=contract)
    place.feed.register([promised])
    pusher.pushes.push("sales", [{"shop": "c", "at": START, "amount": 6.0, "tax": 1.0}])
    with pytest.raises(Refused, match="is above 9"):
        pusher.pushes.push("sales", [{"shop": "c", "at": START, "amount": 10.0}])


def test_definitions_of_which_the_online_store_was_not_told_are_seen_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(identified=False)
    now_s = [time.monotonic()]
    monkeypatch.setattr(source_plans.time, "monotonic", lambda: now_s[0])
    pusher = Feed(place.metadata, place.tables, place.online, place.journal, place.clock)
    pusher.pushes.push("sales", [{"shop": "a", "at": START, "amount": 1.0}])
    twice = FeatureView("twice", place.newest.entities, place.newest.source, {"twice": Feature("amount * 2")})

    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("the online store is away")

    with monkeypatch.context() as patch:
        patch.setattr(place.online, "update", away)
        assert place.feed.register([twice]) == [twice]
    now_s[0] += 1.0
    pusher.pushes.push("sales", [{"shop": "b", "at": START, "amount": 5.0}])
    assert OnlineFeatures(place.online, FeatureService("t", [twice])).vectors([{"shop": "b"}], START) == [{"twice__twice": 10.0}]


def test_a_source_that_gets_a_field_keeps_the_rows_of_the_old_shape() -> None:
    place = Place()
    place.feed.pushes.push("sales", [{"id": 1, "shop": "a", "at": START, "amount": 1.0}])
    wider = Source("sales", {**place.newest.source.fields, "tax": "float"}, "at", id_field="id")
    taxed = FeatureView("taxed", place.newest.entities, wider, {"tax": Feature("tax")})
    place.feed.register([wider, taxed])
    place.clock.advance(START + 1)
    place.feed.pushes.push(
        "sales", [{"id": 2, "shop": "b", "at": START, "amount": 2.0, "tax": 0.5}, {"id": 1, "shop": "a", "at": START, "amount": 7.0}]
    )
    assert place.feed.pushes.flush("sales") == 2  # the first one was flushed to be brought online in the new view
    assert place.tables.scan("sources/sales").collect().sort("amount")["tax"].to_list() == [None, 0.5, None]
    place.feed.materializer.materialize("taxed")
    assert OnlineFeatures(place.online, FeatureService("t", [taxed])).vectors([{"shop": "b"}, {"shop": "a"}], START) == [
        {"taxed__tax": 0.5},
        {"taxed__tax": None},
    ]
    assert (place.serves("a"), place.serves("b")) == ((7.0, 1, 7.0), (2.0, 1, 2.0))


def test_status_says_how_old_a_view_is() -> None:
    place = Place(ttl="2h")
    place.stores([(1, "a", START - HOUR, 1.0)])
    place.feed.materializer.materialize("newest")
    place.clock.advance(START + HOUR)
    status = place.feed.materializer.status("newest")
    assert (status.rows, status.waiting, status.newest_event_us, status.newest_created_us) == (1, 0, START - HOUR, START)
    assert (status.age_s, status.ttl_s, status.fresh, status.materialized_us, status.materialized_keys) == (7_200.0, 7_200.0, True, START, 1)
    place.clock.advance(START + HOUR + 1)
    assert not place.feed.materializer.status("newest").fresh
    place.feed.pushes.push(
        "sales", [{"id": 2, "shop": "b", "at": START + HOUR, "amount": 1.0}, {"id": 3, "shop": None, "at": START + HOUR + 1, "amount": 1.0}]
    )
    status = place.feed.materializer.status("newest@v1")
    assert (status.rows, status.waiting, status.newest_event_us, status.fresh) == (1, 2, START + HOUR, True)
    assert (place.feed.materializer.status("windows").ttl_s, place.feed.materializer.status("windows").fresh) == (None, True)


def test_rows_that_reach_the_table_are_told_of_once() -> None:
    place = Place()
    for number in range(3):
        place.feed.pushes.push("sales", [{"id": 2 * number + i, "shop": "a", "at": START, "amount": 1.0} for i in range(2)])
    working = place.tables.append

    def append_and_die(*arguments: Any, **options: Any) -> int:
        working(*arguments, **options)
        raise RotaError("killed")

    place.tables.append = append_and_die  # type: ignore[method-assign]
    with pytest.raises(RotaError, match="killed"):
        place.feed.pushes.flush_all()
    assert place.arrived() == []
    place.tables.append = working  # type: ignore[method-assign]
    assert place.feed.pushes.flush_all() == {}
    assert [(event.subject, event.body["rows"]) for event in place.arrived()] == [("sales", 6)]
    place.feed.pushes.push("sales", [{"id": 9, "shop": "a", "at": START, "amount": 1.0}])
    assert Feed(place.metadata, place.tables, place.online, place.journal, place.clock).pushes.flush_all() == {"sales": 1}
    assert place.feed.pushes.flush_all() == {}
    assert [event.body["rows"] for event in place.arrived()] == [6, 1]


def test_hostile_values_are_refused_by_a_push_or_served_as_they_are() -> None:
    place = Place()
    good = {"id": 1, "shop": "a", "at": START, "amount": 1.0}
    many = [{**good, "id": i} for i in range(2, 40)]
    refused = {
        "id": [2**63, -(2**63) - 1, 10**400, True, 1.5, "1"],
        "shop": ["\ud800", b"a", 1],
        "at": [10**30, "soon", None],
        "amount": ["1", 10**400, True],
    }
    for field, values in refused.items():
        for value in values:
            with pytest.raises(InvalidInput, match=rf"row 38, field '{field}'"):
                place.feed.pushes.push("sales", [*many, {**good, field: value}])
    with pytest.raises(InvalidInput, match="does not declare"):
        place.feed.pushes.push("sales", [*many, {**good, "\ud800": 1}])
    assert place.feed.pushes.flush("sales") == 0
    long = "é" * 500_000
    kept = [{**good, "shop": long}, {**good, "id": 2, "shop": "", "amount": math.inf}, {**good, "id": 3, "shop": "nan", "amount": math.nan}]
    place.feed.pushes.push("sales", kept)
    assert place.serves(long) == (1.0, 1, 1.0)
    assert place.serves("") == (math.inf, 1, None)
    assert place.serves("nan") == (None, 1, None)
    place.feed.materializer.materialize("newest")
    assert (place.serves(long), place.serves(""), place.serves("nan")) == ((1.0, 1, 1.0), (math.inf, 1, None), (None, 1, None))


def test_a_row_that_comes_again_is_the_last_one_of_equal_rows_everywhere(tmp_path: Path) -> None:
    place = Place()
    for number, amount in ((1, 1.0), (2, 2.0), (1, 1.0)):
        place.clock.advance(place.clock.now_us() + 1)
        place.feed.pushes.push("sales", [{"id": number, "shop": "a", "at": START, "amount": amount}])
    assert place.serves() == (1.0, 2, 1.0)
    place.feed.materializer.materialize("windows")
    assert place.serves() == (1.0, 2, 1.0)


def test_an_online_store_that_knows_more_than_metadata_is_named_before_anything_is_journalled() -> None:
    """Metadata was restored from before a registration, or the store is another platform's."""
    place = Place(identified=False)
    place.feed.pushes.push("sales", [{"shop": "a", "at": START, "amount": 1.0}])
    PushStream(Stores(place.metadata, place.tables, place.online, place.journal, place.clock), place.newest.source).require_catalog(10_000)
    before = [len(chunk.payloads) for chunk in place.journal.read(PUSH + "sales")]
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"knows change 10000 .*nothing was stored.*rota features materialize"):
            place.feed.pushes.push("sales", [{"shop": "a", "at": START + 1, "amount": 2.0}])
    assert [len(chunk.payloads) for chunk in place.journal.read(PUSH + "sales")] == before
