"""How rows come in: pushed, repeated, corrected, killed half-way, flushed, ingested and materialized; each counts once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
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
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import InvalidInput, NotFound, Refused, Unavailable
from rota.manage.features.expressions import equivalence_check
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.online.reader import OnlineFeatures, stored_view
from rota.manage.features.online.row_codec import RowView
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.writer import Feed
from rota.ports.inputs import Inputs
from rota.ports.metadata import Batch
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.intake import StreamClaim
from rota.records.record import encode
from rota.records.signal import Cursor
from rota.testing.clock import FakeClock

MINUTE = 60_000_000
START = 1_373_860_800_000_000
FIELDS = {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}
shop = Entity("shop", ["shop"])


def service(*, identified: bool = True) -> FeatureService:
    sales = Source("sales", FIELDS, "at", id_field="id" if identified else None)
    windows = {"n": Feature("amount", "count", "1h"), "sum": Feature("amount", "sum", "1h")}
    return FeatureService("s", [FeatureView("newest", [shop], sales, {"amount": Feature("amount")}), FeatureView("windows", [shop], sales, windows)])


class Place:
    """The stores of one platform, and a feed on them; `again` is what a new process would open."""

    def __init__(self, make: Callable[[], tuple[Any, Any, Any]], features: FeatureService) -> None:
        self.metadata, self.clock = MemoryMetadata(), FakeClock(START)
        self.tables, self.online, self.journal = make()
        self.service = features
        self.feed = self.another()
        self.feed.register([features])

    def another(self) -> Feed:
        return Feed(self.metadata, self.tables, self.online, self.journal, self.clock, inputs=Inputs(FileInput(), SqlInput()))

    def serves(self, name: str = "a") -> tuple[Any, Any, Any]:
        """(newest amount, count, sum) of a shop, online now."""
        return tuple(OnlineFeatures(self.online, self.service).vectors([{"shop": name}], self.clock.now_us())[0].values())  # type: ignore[return-value]

    def trains(self, name: str = "a") -> tuple[Any, Any, Any]:
        """The same, offline."""
        spine = pl.DataFrame({"shop": [name], "t": [self.clock.now_us()]})
        return historical(self.tables, self.service, spine, timestamp="t").drop("shop", "t").row(0)  # type: ignore[return-value]


@pytest.fixture(params=["memory", "embedded"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], tuple[Any, Any, Any]]]:
    opened: list[Any] = []

    def open_stores() -> tuple[Any, Any, Any]:
        if request.param == "memory":
            stores: tuple[Any, Any, Any] = (MemoryTables(), MemoryOnline(), MemoryJournal())
        else:
            stores = (DeltaTables(tmp_path / "tables"), LmdbOnline(tmp_path / "online", size_mb=64), SegmentJournal(tmp_path / "journal"))
        opened.extend(stores[1:])
        return stores

    yield open_stores
    for store in opened:
        store.close()


@pytest.fixture
def place(make: Callable[[], tuple[Any, Any, Any]]) -> Place:
    return Place(make, service())


def sale(number: int, amount: float = 1.0, *, at: int = START, name: str | None = "a") -> dict[str, Any]:
    return {"id": number, "shop": name, "at": at, "amount": amount}


def test_a_push_is_served_at_once_and_trains_the_same_after_a_flush(place: Place) -> None:
    assert place.feed.pushes.push("sales", [sale(1, 2.0), sale(2, 3.0), sale(3, 9.0, name=None)]) == 3
    assert place.serves()[1:] == (2, 5.0)
    assert place.feed.pushes.flush("sales") == 3
    assert place.feed.pushes.flush("sales") == 0
    assert place.trains() == place.serves()
    assert place.tables.scan("sources/sales").collect().height == 3


def test_a_push_is_taken_whole_or_not_at_all(place: Place) -> None:
    with pytest.raises(InvalidInput, match="row 1, field 'amount'"):
        place.feed.pushes.push("sales", [sale(1), {**sale(2), "amount": "much"}])
    with pytest.raises(InvalidInput, match="lies after the platform's time 2013-07-15T04:00:00Z"):
        place.feed.pushes.push("sales", [sale(1), sale(2, at=START + 2 * MINUTE)])
    with pytest.raises(NotFound, match=r"no source 'sails'; the sources are \['sales'\]"):
        place.feed.pushes.push("sails", [sale(1)])
    assert place.feed.pushes.push("sales", []) == 0
    assert place.serves() == (None, None, None)
    assert place.feed.pushes.flush("sales") == 0


@pytest.mark.parametrize("identified", [True, False])
def test_a_row_that_a_view_cannot_compute_does_not_stop_its_source(identified: bool, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    place = Place(lambda: (MemoryTables(), MemoryOnline(), MemoryJournal()), service(identified=identified))

    def breaking(of: Any) -> Any:
        def compute(self: Any, row: Any, *rest: Any) -> Any:
            if row["amount"] == 13.0:
                raise ZeroDivisionError("what no compiler foresaw")
            return of(self, row, *rest)

        return compute

    monkeypatch.setattr(RowView, "encode", breaking(RowView.encode))
    monkeypatch.setattr(WindowView, "tile_update", breaking(WindowView.tile_update))
    assert place.feed.pushes.push("sales", [sale(1, 2.0), sale(2, 13.0, at=START + 0), sale(3, 4.0, name="b")]) == 3
    assert (place.serves("a"), place.serves("b")) == ((2.0, 1, 2.0), (4.0, 1, 4.0))
    assert "a row was left out of a view" in caplog.text
    place.clock.advance(START + MINUTE)
    assert place.another().pushes.push("sales", [sale(4, 5.0, at=START + 1), sale(2, 6.0, at=START + 2)]) == 2
    assert place.serves("a") == (6.0, 3, 13.0)
    assert place.feed.pushes.flush("sales") == 5


def test_a_stored_view_without_an_entity_does_not_stop_its_source(place: Place) -> None:
    batch = Batch()
    batch.put(FeatureView("all", [], place.service.stored_views[0].source, {"amount": Feature("amount")}))
    place.metadata.commit(batch)
    feed = place.another()
    assert feed.pushes.push("sales", [sale(1, 2.0)]) == 1
    assert (feed.pushes.recover(), feed.pushes.flush("sales")) == (0, 1)
    assert place.serves() == (2.0, 1, 2.0)


def test_a_repeated_push_changes_nothing(place: Place) -> None:
    place.feed.pushes.push("sales", [sale(1, 2.0)])
    place.clock.advance(START + MINUTE)
    place.feed.pushes.push("sales", [sale(1, 2.0), sale(1, 2.0), sale(2, 5.0)])
    place.another().pushes.push("sales", [sale(1, 2.0)])
    assert place.serves()[1:] == (2, 7.0)
    place.feed.pushes.flush("sales")
    assert place.trains()[1:] == (2, 7.0)


def test_a_correction_replaces_the_row_even_in_another_shop_or_at_another_time(place: Place) -> None:
    place.feed.pushes.push("sales", [sale(1, 2.0), sale(2, 3.0)])
    place.clock.advance(START + 30 * MINUTE)
    place.feed.pushes.push("sales", [sale(1, 10.0, at=START + 20 * MINUTE), sale(2, 4.0, name="b")])
    assert place.serves("a") == (10.0, 1, 10.0)
    assert place.serves("b") == (4.0, 1, 4.0)
    place.feed.pushes.flush("sales")
    assert (place.trains("a"), place.trains("b")) == (place.serves("a"), place.serves("b"))


def test_of_corrections_received_in_one_microsecond_the_last_counts(place: Place) -> None:
    place.feed.pushes.push("sales", [sale(1, 2.0)])
    place.feed.pushes.push("sales", [sale(1, 5.0)])  # the clock stands still
    assert place.serves() == (5.0, 1, 5.0)
    place.feed.pushes.push("sales", [sale(1, 6.0), sale(1, 7.0)])
    assert place.serves() == (7.0, 1, 7.0)
    place.feed.pushes.flush("sales")
    assert place.trains() == (7.0, 1, 7.0)


def test_rows_leave_the_window_and_late_rows_still_enter_it(place: Place) -> None:
    place.feed.pushes.push("sales", [sale(1, 2.0)])
    place.clock.advance(START + 50 * MINUTE)
    place.feed.pushes.push("sales", [sale(2, 3.0, at=START + 50 * MINUTE), sale(3, 4.0, at=START + MINUTE)])
    assert place.serves() == (3.0, 3, 9.0)
    place.clock.advance(START + 75 * MINUTE)  # the window now reaches back to floor(15 min, 15 min) after the start
    assert place.serves() == (3.0, 1, 3.0)
    place.clock.advance(START + 300 * MINUTE)
    assert place.serves() == (3.0, 0, None)
    place.feed.pushes.flush("sales")
    assert place.trains() == place.serves()


@pytest.mark.parametrize("identified", [True, False])
def test_what_was_journalled_but_not_applied_is_recovered_exactly_once(make: Callable[[], tuple[Any, Any, Any]], identified: bool) -> None:
    place = Place(make, service(identified=identified))
    place.feed.pushes.push("sales", [sale(1, 2.0)])
    working = place.online.update

    def failing(*_: Any, **__: Any) -> bool:
        raise Unavailable("the store is away")

    place.online.update = failing
    with pytest.raises(Unavailable):
        place.feed.pushes.push("sales", [sale(2, 3.0)])
    place.online.update = working
    assert place.serves()[1:] == (1, 2.0)
    assert place.another().pushes.recover() == 1
    assert place.another().pushes.recover() == place.feed.pushes.recover() == 0
    assert place.serves()[1:] == (2, 5.0)
    place.feed.pushes.push("sales", [sale(3, 4.0)])
    assert place.serves()[1:] == (3, 9.0)


def test_the_next_push_also_applies_what_a_failed_one_left(place: Place) -> None:
    working = place.online.update
    place.feed.pushes.push("sales", [sale(1, 2.0)])
    place.online.update = lambda *_, **__: (_ for _ in ()).throw(Unavailable("away"))
    with pytest.raises(Unavailable):
        place.feed.pushes.push("sales", [sale(2, 3.0)])
    place.online.update = working
    place.feed.pushes.push("sales", [sale(3, 4.0)])
    assert place.serves()[1:] == (3, 9.0)


def test_an_unfinished_flush_is_finished_by_the_next_one(make: Callable[[], tuple[Any, Any, Any]]) -> None:
    """The rows appended must be those that the first flush had claimed, though more came in since; nothing twice."""
    place = Place(make, service(identified=False))
    place.feed.pushes.push("sales", [sale(1), sale(2)])
    working = place.tables.append

    def append_and_die(*arguments: Any, **options: Any) -> int:
        working(*arguments, **options)
        raise Unavailable("the answer was lost")

    def die(*_: Any, **__: Any) -> int:
        raise Unavailable("not even begun")

    for failing in (die, append_and_die):
        place.tables.append = failing
        with pytest.raises(Unavailable):
            place.feed.pushes.flush("sales")
        place.tables.append = working
        place.feed.pushes.push("sales", [sale(3)])
    assert (len(place.metadata.find(StreamClaim)), place.metadata.find(Cursor)) == (1, [])
    place.another().pushes.flush("sales")
    assert place.tables.scan("sources/sales").collect()["id"].sort().to_list() == [1, 2, 3, 3]


def test_two_flushes_at_once_store_every_row_once(make: Callable[[], tuple[Any, Any, Any]]) -> None:
    """The slow one has claimed two rows, the fast one sees three: both store the two, then the fast one may go on."""
    place = Place(make, service(identified=False))
    other, working = place.another(), place.tables.append
    place.feed.pushes.push("sales", [sale(1), sale(2)])

    def slow(*arguments: Any, **options: Any) -> Any:
        def fast(*more: Any, **others: Any) -> Any:
            place.tables.append = working
            working(*arguments, **options)
            return working(*more, **others)

        place.tables.append = fast
        other.pushes.push("sales", [sale(3)])
        other.pushes.flush("sales")
        return working(*arguments, **options)

    place.tables.append = slow
    place.feed.pushes.flush("sales")
    place.feed.pushes.flush("sales")
    assert place.tables.scan("sources/sales").collect()["id"].sort().to_list() == [1, 2, 3]


def test_a_flush_that_was_overtaken_stores_nothing_under_anothers_claim(
    make: Callable[[], tuple[Any, Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(make, service(identified=False))
    other, working = place.another(), place.tables.append
    place.feed.pushes.push("sales", [sale(1)])

    def overtaken(_: str) -> int:
        monkeypatch.undo()
        other.pushes.flush("sales")
        place.feed.pushes.push("sales", [sale(2), sale(3)])

        def die(*_: Any, **__: Any) -> int:
            raise Unavailable("not even begun")

        place.tables.append = die
        with pytest.raises(Unavailable):
            other.pushes.flush("sales")
        place.tables.append = working
        return 0

    monkeypatch.setattr(place.feed.pushes, "catch_up", overtaken)
    place.feed.pushes.flush("sales")
    place.feed.pushes.flush("sales")
    assert place.tables.scan("sources/sales").collect()["id"].sort().to_list() == [1, 2, 3]


def test_what_the_store_keeps_of_an_entity_does_not_grow_for_ever(place: Place) -> None:
    sizes = []
    for hour in range(12):
        place.clock.advance(START + 60 * hour * MINUTE)
        place.feed.pushes.push("sales", [sale(100 * hour + i, at=place.clock.now_us() - 7 * i * MINUTE) for i in range(9)])
        view = stored_view(place.service.stored_views[1])
        sizes.append(len(place.online.read([view.key({"shop": "a"})])[0]))
    assert max(sizes[2:]) == min(sizes[2:]) < 300


def test_flushed_segments_of_ended_processes_are_dropped(place: Place) -> None:
    place.feed.pushes.push("sales", [sale(1)])
    place.journal.close()  # what a process does at its end
    place.another().pushes.push("sales", [sale(2)])
    place.journal.close()
    assert place.another().pushes.flush("sales") == 2
    assert list(place.journal.read("push/sales")) == []
    assert place.another().pushes.recover() == 0
    assert place.serves()[1:] == (2, 2.0)


def test_materialize_agrees_with_pushes_before_and_after_it(place: Place, tmp_path: Path) -> None:
    history = tmp_path / "sales.csv"
    history.write_text(
        "id,shop,at,amount\n1,a,2013-07-15T03:50:00Z,5\n2,a,2013-07-15T03:00:00Z,7\n3,a,2013-07-15T01:00:00Z,100\n4,b,2013-07-15T09:00:00Z,1\n"
    )
    place.feed.pushes.push("sales", [sale(1, 5.0, at=START - 10 * MINUTE), sale(9, 1.0)])
    assert place.feed.ingestion.ingest("sales", history).rows_out == 4
    assert place.serves()[1:] == (2, 6.0)
    place.feed.materializer.materialize("windows")
    assert place.serves() == (1.0, 3, 13.0)  # sale 1 came both ways and counts once; the sale of 01:00 is too old
    assert place.serves("b") == (None, None, None)  # not before 09:00
    place.feed.pushes.push("sales", [sale(2, 7.0, at=START - 60 * MINUTE), sale(10, 2.0)])
    assert place.serves()[1:] == (4, 15.0)
    place.feed.materializer.materialize("newest")
    place.feed.materializer.materialize("windows")
    assert place.serves()[1:] == (4, 15.0)
    place.feed.pushes.flush("sales")
    assert place.trains()[1:] == place.serves()[1:]
    with pytest.raises(NotFound, match="no feature view 'nothing'"):
        place.feed.materializer.materialize("nothing")


def test_materialize_beside_pushes_from_another_feed_counts_every_row_once(make: Callable[[], tuple[Any, Any, Any]]) -> None:
    place = Place(make, service(identified=False))
    other = place.another()
    pushed: list[int] = []
    done = threading.Event()

    def push() -> None:
        for number in range(40):
            other.pushes.push("sales", [sale(number)])
            pushed.append(number)
        done.set()

    thread = threading.Thread(target=push)
    thread.start()
    while not done.is_set():
        try:
            place.feed.materializer.materialize("windows")
        except Unavailable:
            continue
    thread.join()
    place.feed.materializer.materialize("windows")
    assert len(pushed) == 40
    assert place.serves()[1:] == (40, 40.0)
    place.feed.pushes.flush("sales")
    assert place.tables.scan("sources/sales").collect().height == 40


def test_pushes_of_many_threads_all_count(place: Place) -> None:
    def push(start: int) -> None:
        for number in range(start, start + 10):
            place.feed.pushes.push("sales", [sale(number)])

    threads = [threading.Thread(target=push, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.serves()[1:] == (40, 40.0)


def test_ingest_takes_each_file_and_row_once_and_tells_what_it_rejected(place: Place, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "id,shop,at,amount,extra\n1,a,2013-07-15T03:50:00Z,5,x\nfive,a,2013-07-15T03:50:00Z,5,x\n2,a,yesterday,5,x\n,a,2013-07-15,1,x\n3,b,2013-07-15,,x\n4,a,2013-07-15,NA,x\n5,,2013-07-15,5,x\n"
    )
    first = place.feed.ingestion.ingest("sales", tmp_path / "a.csv")
    assert (first.rows_in, first.rows_out, first.known, first.rejected) == (7, 2, 0, 5)
    assert [(each.row, each.reason) for each in first.rejections] == [
        (2, "field 'id': five is no int"),
        (3, "field 'at': yesterday is no timestamp"),
        (4, "field 'id' is null or absent"),
        (6, "field 'amount': NA is no float; if it stands for a missing value, give the source null_values=['NA']"),
        (7, "the key 'shop' is null"),
    ]
    again = place.feed.ingestion.ingest("sales", tmp_path / "*.csv")
    assert (again.rows_in, again.rows_out, again.known) == (7, 0, 2)
    pl.DataFrame({"id": [1, 7], "shop": ["a", "a"], "at": [START - 10 * MINUTE, START], "amount": [5.0, float("nan")]}).write_parquet(
        tmp_path / "b.parquet"
    )
    (tmp_path / "c.jsonl").write_text('{"id": 1, "shop": "a", "at": "2013-07-15T03:50:00Z", "amount": 6}\n')
    place.clock.advance(START + 1)
    assert place.feed.ingestion.ingest("sales", tmp_path / "b.parquet").rows_out == 1
    assert place.feed.ingestion.ingest("sales", tmp_path / "c.jsonl").rows_out == 1  # a correction
    assert place.tables.scan("sources/sales").collect().height == 4
    place.feed.materializer.materialize("newest")
    assert place.serves() == place.trains() == (None, 1, 6.0)


def test_ingest_says_what_it_cannot_read(place: Place, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file matches"):
        place.feed.ingestion.ingest("sales", tmp_path / "nothing.csv")
    with pytest.raises(InvalidInput, match="has no path"):
        place.feed.ingestion.ingest("sales")
    (tmp_path / "x.xlsx").write_text("?")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for name in ("x.xlsx", "torn.parquet"):
        with pytest.raises(InvalidInput, match=name):
            place.feed.ingestion.ingest("sales", tmp_path / name)


def test_registration_checks_everything_before_it_stores_anything(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sales = place.service.stored_views[0].source
    assert place.feed.register([place.service]) == []
    refused = {
        "share takes bool": FeatureView("x", [shop], sales, {"f": Feature("amount", "share", "1h")}),
        "mean takes": FeatureView("x", [shop], sales, {"f": Feature("shop", "mean", "1h")}),
        "no column 'amout'": FeatureView("x", [shop], sales, {"f": Feature("amout")}),
        "choose a longer hop": FeatureView("x", [shop], sales, {"f": Feature("amount", "sum", "365d")}, hop="1m"),
        "floats; an entity": FeatureView("x", [Entity("e", ["amount"])], sales, {"f": Feature("amount")}),
        "other types": Source("sales", {**FIELDS, "amount": "int"}, "at", id_field="id"),
        "kept for Rota": Source("new", {"at": "timestamp", "created_us": "int"}, "at"),
        "no column 'b'": OnDemandFeatureView("r", {"a": "float"}, {"f": Feature("b")}),
        "a float cannot identify": Source("new", {"at": "timestamp", "n": "float"}, "at", id_field="n"),
    }
    good = Source("good", FIELDS, "at")
    for reason, definition in refused.items():
        with pytest.raises(InvalidInput, match=reason):
            place.feed.register([good, definition])
    monkeypatch.setattr(equivalence_check, "same", lambda *_, **__: False)
    with pytest.raises(Refused, match=r"feature x\.f: .* differently online and offline"):
        place.feed.register([good, FeatureView("x", [shop], sales, {"f": Feature("amount + 1")})])
    assert place.metadata.get(Source, "good") is None
    assert place.metadata.get(FeatureView, "x") is None


def test_a_changed_view_and_the_service_that_keeps_the_old_one_are_both_fed(place: Place) -> None:
    old = place.service.stored_views[0]
    changed = FeatureView(old.name, old.entities, old.source, {"amount": Feature("amount * 2")})
    place.feed.register([changed])
    place.feed.pushes.push("sales", [sale(1, 2.0)])
    assert place.serves()[0] == 2.0
    now = OnlineFeatures(place.online, FeatureService("new", [changed])).vectors([{"shop": "a"}], START)
    assert now == [{"newest__amount": 4.0}]
    assert place.feed.materializer.forget(old) == 1
    assert place.serves()[0] is None


PUSHING = """
import sys
from pathlib import Path
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.manage.features.writer import Feed
from rota.records.data import FeatureService
from rota.records.record import decode
from rota.testing.clock import FakeClock
home = Path(sys.argv[1])
online = LmdbOnline(home / "online", size_mb=64)
feed = Feed(MemoryMetadata(), DeltaTables(home / "tables"), online, SegmentJournal(home / "journal"), FakeClock(int(sys.argv[3])))
feed.register([decode(sys.argv[2], FeatureService)])
for number in range(100_000):
    feed.pushes.push("sales", [{"id": number, "shop": "a", "at": int(sys.argv[3]), "amount": 1.0}])
    print(number, flush=True)
"""


@pytest.mark.parametrize("identified", [True, False])
def test_a_killed_process_loses_nothing_it_acknowledged_and_counts_nothing_twice(tmp_path: Path, identified: bool) -> None:
    features = service(identified=identified)
    acknowledged = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", PUSHING, str(tmp_path), encode(features).decode(), str(START)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(25):
            assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += 25 + len([line for line in process.stdout.read().splitlines() if line])
        process.stdout.close()
        process.wait()

    def open_stores() -> tuple[Any, Any, Any]:
        return DeltaTables(tmp_path / "tables"), LmdbOnline(tmp_path / "online", size_mb=64), SegmentJournal(tmp_path / "journal")

    place = Place(open_stores, features)
    place.feed.pushes.recover()
    count = place.serves()[1]
    received = sum(len(chunk.payloads) for chunk in place.journal.read("push/sales"))
    assert received - acknowledged in (0, 1, 2)  # at most one unacknowledged push for each kill
    assert place.feed.pushes.flush("sales") == received
    if identified:
        assert count == place.tables.scan("sources/sales").collect()["id"].n_unique()
    else:
        assert count == received
    assert place.trains()[1:] == place.serves()[1:]
    place.online.close()


def test_of_pushed_rows_that_no_view_can_find_it_is_said():
    sales = Source("sales", {"shop": "string", "at": "timestamp", "amount": "float"}, "at")
    feed = Feed(MemoryMetadata(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(1_700_000_000_000_000))
    feed.register([FeatureView("newest", [Entity("shop", ["shop"])], sales, {"amount": Feature("amount")})])
    row = {"shop": "a", "at": 1_600_000_000_000_000, "amount": 1.0}
    assert feed.pushes.notices("sales", [row]) == []
    for lost in ({**row, "shop": None}, {"at": row["at"], "amount": 1.0}):
        (notice,) = feed.pushes.notices("sales", [row, lost])
        assert str(notice) == "1 of 2 rows have a null key, row 1 the first (shop): they are kept in the history, and no view can find them"
