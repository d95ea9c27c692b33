"""Corrections that move a row to another entity or another time, late and repeated rows: online is offline is a brute force.

The oracle is a list of what was received: (from when it is online, created, row). It knows nothing of stores: what stands for an
entity at a moment is the newest row (by event time, then creation, then id) among the versions that count then.
"""

import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.storage.delta_tables import DeltaTables
from rota.manage.features.join.compaction import Sizes, cluster
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.join.row_history import layout_of
from rota.manage.features.materialization import materialization_log
from rota.manage.features.materialization.online_update import RECENT_US, DeduplicationIndex, PushedRow
from rota.manage.features.materialization.served_index import StaleUpdate, later
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.features.online.row_codec import RowView, id_digest
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.testing.clock import FakeClock

MINUTE = 60_000_000
START = 1_373_860_800_000_000
FIELDS = {"id": "int", "shop": "string", "till": "int", "at": "timestamp", "amount": "float", "note": "string"}
SALES = Source("sales", FIELDS, "at", id_field="id")  # type: ignore[arg-type]
SHOP, TILL = Entity("shop", ["shop"]), Entity("till", ["shop", "till"])
SERVICE = FeatureService(
    "s",
    [
        FeatureView("newest", [SHOP], SALES, {"amount": Feature("amount")}),
        FeatureView("words", [SHOP], SALES, {"note": Feature("note"), "late": Feature("at"), "id": Feature("id")}, ttl="40m"),
        FeatureView("by_till", [TILL], SALES, {"id": Feature("id")}),
        FeatureView("windows", [SHOP], SALES, {"n": Feature("1", "count", "30m"), "sum": Feature("amount", "sum", "30m")}, hop="5m"),
    ],
)
SCALAR = FeatureService("scalar", SERVICE.views[:3])
PREPARED = MemoryMetadata()
Feed(PREPARED, MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(START)).register([SERVICE])
SHOPS, TILLS = ("a", "b", "c", None), (1, 2, None)
ASKED = [{"shop": shop, "till": till} for shop in ("a", "b", "c") for till in (1, 2)]
Row = dict[str, Any]


class Oracle:
    """What was received, and what stands at a moment by the rule itself."""

    def __init__(self) -> None:
        self.received: list[tuple[int, int, Row]] = []  # online from, created, row
        self.waiting: list[tuple[int, Row]] = []
        self.begun = False
        """Whether the views are online. The first push or materialization brings them there, with what was ingested before."""

    def pushed(self, now_us: int, rows: list[Row]) -> None:
        if not self.begun:
            self.materialized(now_us)
        ahead = sorted({row["at"] for row in rows if row["at"] > now_us}, reverse=True)
        for row in {row["id"]: row for row in rows}.values():
            last_us = max((created for _, created, known in self.received if known["id"] == row["id"]), default=0)
            self.received.append((now_us, max(now_us, last_us), {**row, "at": now_us - ahead.index(row["at"]) if row["at"] > now_us else row["at"]}))

    def ingested(self, now_us: int, rows: list[Row]) -> None:
        self.waiting += [(now_us, row) for row in {row["id"]: row for row in rows}.values()]

    def materialized(self, now_us: int) -> None:
        self.begun = True
        due = [(created, row) for created, row in self.waiting if row["at"] <= now_us]
        self.waiting = [each for each in self.waiting if each[1]["at"] > now_us]
        self.received += [(now_us, created, row) for created, row in due]

    def counting(self, at: int, mode: Literal["served", "event"]) -> list[tuple[int, Row]]:
        """The versions that count: of what was online by then, or (event) of all that is known today."""
        known = [(created, row) for online, created, row in self.received if mode == "event" or online <= at]
        known += self.waiting if mode == "event" else []
        last: dict[int, tuple[int, Row]] = {}
        for created, row in known:
            if row["id"] not in last or created >= last[row["id"]][0]:
                last[row["id"]] = (created, row)
        return [(created, row) for created, row in last.values() if row["at"] <= at]

    def features(self, asked: Row, at: int, mode: Literal["served", "event"]) -> Row:
        counting = self.counting(at, mode)

        def newest(**where: Any) -> Row | None:
            there = [(row["at"], created, id_digest(row["id"]), row) for created, row in counting if all(row[k] == v for k, v in where.items())]
            return max(there, key=lambda each: each[:3])[3] if there else None

        row = newest(shop=asked["shop"])
        fresh = row if row is not None and at - row["at"] <= 40 * MINUTE else None
        by_till = newest(**asked)
        return {
            "newest__amount": row and row["amount"],
            "words__note": fresh and fresh["note"],
            "words__late": fresh and fresh["at"],
            "words__id": fresh and fresh["id"],
            "by_till__id": by_till and by_till["id"],
        }


class World:
    """A platform with an oracle beside it, and a log of what was served when."""

    def __init__(self, tables: Any, online: Any) -> None:
        self.metadata = MemoryMetadata()
        self.metadata.__dict__.update({name: deepcopy(value) for name, value in PREPARED.__dict__.items() if "lock" not in name})
        self.clock, self.tables, self.online, self.journal = FakeClock(START), tables, online, MemoryJournal()
        self.oracle = Oracle()
        self.feeds = [self.opened(), self.opened()]
        self.log: list[tuple[Row, int, Row]] = []

    def opened(self) -> Feed:
        return Feed(self.metadata, self.tables, self.online, self.journal, self.clock)

    @property
    def feed(self) -> Feed:
        return self.feeds[0]

    def serves(self, asked: Row) -> Row:
        return OnlineFeatures(self.online, SCALAR).vectors([asked], self.clock.now_us())[0]

    def trains(self, asked: list[Row], at: list[int], mode: Any) -> list[Row]:
        spine = pl.DataFrame(asked, schema={"shop": pl.String, "till": pl.Int64}).with_columns(pl.Series("t", at, dtype=pl.Int64))
        times = materialization_log.times(self.metadata, SCALAR)
        return historical(self.tables, SCALAR, spine, timestamp="t", as_of=mode, materialized=times).drop("shop", "till", "t").to_dicts()

    def wait(self, us: int) -> None:
        self.clock.advance(self.clock.now_us() + us)

    def push(self, rows: list[Row], feed: int = 0) -> None:
        self.feeds[feed].pushes.push("sales", rows)
        self.oracle.pushed(self.clock.now_us(), rows)

    def ingest(self, rows: list[Row]) -> None:
        self.feed.ingestion.ingest_table(
            "sales",
            pl.DataFrame(rows, schema={"id": pl.Int64, "shop": pl.String, "till": pl.Int64, "at": pl.Int64, "amount": pl.Float64, "note": pl.String}),
        )
        known = {
            created_row["id"]: created_row
            for _, created_row in sorted([(c, r) for _, c, r in self.oracle.received] + self.oracle.waiting, key=lambda each: each[0])
        }
        found = [row for row in rows if row["shop"] is not None]  # without the key of every view a row is rejected
        self.oracle.ingested(self.clock.now_us(), [row for row in found if known.get(row["id"]) != row])

    def materialize(self, *, incremental: bool) -> None:
        act = self.feed.materializer.materialize_incremental if incremental else self.feed.materializer.materialize
        act("newest")
        self.oracle.materialized(self.clock.now_us())

    def check(self) -> None:
        """What is served now is what stands by the rule."""
        now_us = self.clock.now_us()
        for asked in ASKED:
            served = self.serves(asked)
            assert served == self.oracle.features(asked, now_us, "served"), (asked, now_us - START)
            self.log.append((asked, now_us, served))

    def check_history(self) -> None:
        """What is recomputed is what was served; and by event time it is what stands by the rule today, raw or compacted."""
        self.feed.pushes.flush("sales")
        asked, at, served = ([each[i] for each in self.log] for i in range(3))
        for question, moment, was, again in zip(asked, at, served, self.trains(asked, at, "served"), strict=True):
            assert again == was, (question, moment - START)
        for _ in range(2):
            for question, moment, answer in zip(asked, at, self.trains(asked, at, "event"), strict=True):
                assert answer == self.oracle.features(question, moment, "event"), (question, moment - START)
            keys = sorted({layout_of(view).keys for view in SCALAR.stored_views})
            cluster(self.tables, SALES, keys, sizes=Sizes(smallest=1, bucket=3, memory=6))


def sale(number: int, shop: str | None = "a", at: int = START, *, till: int | None = 1, amount: float = 1.0, note: str | None = None) -> Row:
    return {"id": number, "shop": shop, "till": till, "at": at, "amount": amount, "note": note}


@pytest.fixture(params=["memory", "embedded"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield World(MemoryTables(), MemoryOnline())
        return
    online = LmdbOnline(tmp_path / "online", size_mb=64)
    yield World(DeltaTables(tmp_path / "tables"), online)
    online.close()


def through_all(world: World) -> None:
    """Right after the push, after a flush, after each way to materialize, and in the history."""
    steps: list[Callable[[], Any]] = [
        lambda: None,
        lambda: world.feed.pushes.flush("sales"),
        lambda: world.materialize(incremental=True),
        lambda: world.materialize(incremental=False),
    ]
    for step in steps:
        step()
        world.check()
        world.wait(1)
    world.check_history()


MOVES: dict[str, list[list[Row]]] = {
    "to another shop": [[sale(1, "a")], [sale(1, "b")]],
    "away from an older sale": [[sale(2, "a", START - MINUTE, amount=2.0), sale(1, "a")], [sale(1, "b")]],
    "back in time behind another": [[sale(2, "a", START - MINUTE, amount=2.0), sale(1, "a")], [sale(1, "a", START - 2 * MINUTE)]],
    "back in time and still the newest": [[sale(2, "a", START - 2 * MINUTE), sale(1, "a")], [sale(1, "a", START - MINUTE)]],
    "later in time": [[sale(1, "a", START - MINUTE), sale(2, "a", START - 1)], [sale(1, "a", START)]],
    "ahead of the clock": [[sale(1, "a", START - MINUTE)], [sale(1, "b", START + MINUTE // 2)]],
    "to nobody": [[sale(2, "a", START - MINUTE), sale(1, "a")], [sale(1, None)]],
    "from nobody": [[sale(1, None)], [sale(1, "a")]],
    "twice": [[sale(1, "a")], [sale(1, "b")], [sale(1, "c", amount=3.0)]],
    "there and back": [[sale(1, "a")], [sale(1, "b")], [sale(1, "a", amount=3.0)]],
    "twice in one push": [[sale(1, "a")], [sale(1, "b"), sale(1, "c")]],
    "where another comes": [[sale(1, "a")], [sale(1, "b"), sale(2, "a", amount=5.0)]],
    "two that change places": [[sale(1, "a"), sale(2, "b", amount=2.0)], [sale(1, "b"), sale(2, "a", amount=2.0)]],
    "two that go away": [[sale(3, "a", START - MINUTE), sale(1, "a"), sale(2, "a", START - 1)], [sale(1, "b"), sale(2, "c")]],
    "to another till of the shop": [[sale(1, "a", till=1)], [sale(1, "a", till=2)]],
    "to nulls": [[sale(1, "a", note="x")], [{**sale(1, "a"), "amount": None, "note": None}]],
    "the successor goes too": [[sale(2, "a", START - MINUTE), sale(1, "a")], [sale(1, "b")], [sale(2, "c")]],
}


@pytest.mark.parametrize("moves", MOVES.values(), ids=MOVES.keys())
def test_a_correction_moves_a_row_and_leaves_no_ghost(world: World, moves: list[list[Row]]) -> None:
    for number, rows in enumerate(moves):
        world.push(rows, feed=number % 2)
        world.check()
        world.wait(1)
    through_all(world)


def test_a_row_that_is_flushed_and_gone_from_the_index_for_long_is_still_found(world: World) -> None:
    world.push([sale(2, "a", START - MINUTE, amount=2.0), sale(1, "a")])
    world.feed.pushes.flush("sales")
    world.wait(24 * 60 * MINUTE)
    world.push([sale(number, "c", START, till=2) for number in range(3, 40)])
    world.wait(1)
    world.feeds[1].pushes.push("sales", [sale(1, "b")])
    world.oracle.pushed(world.clock.now_us(), [sale(1, "b")])
    world.check()
    through_all(world)


def test_ingested_rows_are_corrected_by_pushes_and_pushed_rows_by_files(world: World) -> None:
    world.ingest([sale(1, "a"), sale(2, "a", START - MINUTE, amount=2.0), sale(5, "c")])
    world.check()
    world.wait(1)
    world.materialize(incremental=True)
    world.check()
    world.wait(1)
    world.push([sale(1, "b")])
    world.check()
    world.wait(1)
    world.ingest([sale(2, "b", amount=7.0), sale(5, "a")])
    world.check()  # not online yet
    world.wait(1)
    through_all(world)


def test_one_tick_of_the_clock_is_enough_for_two_versions(world: World) -> None:
    for shop in ("a", "b", "c", "b"):
        world.feeds[len(shop) % 2].pushes.push("sales", [sale(1, shop)])
    assert [world.serves({"shop": shop, "till": 1})["by_till__id"] for shop in "abc"] == [None, 1, None]
    world.feed.pushes.flush("sales")
    assert [each["by_till__id"] for each in world.trains([{"shop": shop, "till": 1} for shop in "abc"], [START] * 3, "event")] == [None, 1, None]


def test_rows_ahead_of_the_clock_are_dated_now_in_their_order(world: World) -> None:
    world.feed.pushes.push(
        "sales", [sale(1, "a", START + 20_000_000), sale(2, "a", START + 30_000_000), sale(3, "a", START + 10_000_000), sale(4, "a", START - 9)]
    )
    question = {"shop": "a", "till": 1}
    assert world.serves(question)["by_till__id"] == 2
    world.feed.pushes.flush("sales")
    for mode in ("event", "served"):
        (answer,) = world.trains([question], [START], mode)
        assert (answer["by_till__id"], answer["words__late"]) == (2, START)
    stored = world.tables.scan("sources/sales").collect().sort("at")
    assert dict(stored.select("id", "at").iter_rows()) == {1: START - 1, 2: START, 3: START - 2, 4: START - 9}


def drawn(draw: random.Random, now_us: int) -> list[Row]:
    moments = [now_us, now_us, now_us + 20_000_000, now_us - MINUTE, now_us - 7 * MINUTE, START, now_us - 50 * MINUTE]
    return [
        sale(
            draw.randrange(8), draw.choice(SHOPS), draw.choice(moments), till=draw.choice(TILLS),
            amount=draw.choice([1.0, 2.0, 0.0]), note=draw.choice([None, "", "é" * 9]),
        )
        for _ in range(draw.choice([1, 1, 2, 5, 20]))
    ]  # fmt: skip


def lived(world: World, draw: random.Random, steps: int) -> None:
    """A random life: pushes by two processes, files, flushes, materializations, a process that dies before its rows are online."""
    for _ in range(steps):
        act = draw.choice(["push", "push", "push", "ingest", "flush", "materialize", "incremental", "wait", "killed"])
        if act == "killed" and world.oracle.waiting and not world.oracle.begun:
            act = "push"  # who dies in the first push brings nothing online of what was ingested before
        match act:
            case "push":
                world.push(drawn(draw, world.clock.now_us()), feed=draw.randrange(2))
            case "ingest":
                world.ingest(drawn(draw, world.clock.now_us() - 30_000_000))
            case "flush":
                world.feeds[draw.randrange(2)].pushes.flush("sales")
            case "wait":
                world.wait(draw.choice([1, MINUTE, 15 * MINUTE]))
            case "killed":
                rows, feed = drawn(draw, world.clock.now_us()), world.opened()
                apply, feed.pushes.catch_up = feed.pushes.catch_up, lambda _: 0  # type: ignore[method-assign]
                feed.pushes.push("sales", rows)
                feed.pushes.catch_up = apply  # type: ignore[method-assign]
                world.opened().pushes.recover()
                world.oracle.pushed(world.clock.now_us(), rows)
            case _:
                world.materialize(incremental=act == "incremental")
        world.check()
        world.wait(1)
    world.check_history()


@pytest.mark.parametrize("seed", range(6))
def test_random_lives_are_served_and_recomputed_by_the_rule(seed: int) -> None:
    lived(World(MemoryTables(), MemoryOnline()), random.Random(seed), 12)


@pytest.mark.slow
def test_many_random_lives_are_served_and_recomputed_by_the_rule(fuzz: Callable[[Callable[[int], object]], None], tmp_path: Path) -> None:
    def play(seed: int) -> None:
        draw = random.Random(seed)
        online = LmdbOnline(tmp_path / f"online{seed}", size_mb=16) if seed % 4 == 0 else MemoryOnline()
        tables = DeltaTables(tmp_path / f"tables{seed}") if seed % 4 == 0 else MemoryTables()
        try:
            lived(World(tables, online), draw, draw.choice([5, 15, 40]))
        finally:
            online.close()

    fuzz(play)


def test_an_id_that_a_bucket_gets_without_being_opened_is_there_and_a_full_one_forgets() -> None:
    index = DeduplicationIndex(SALES, [])
    rows = [PushedRow(START + number * RECENT_US, {"id": number, "at": START + number}) for number in range(6)]
    data: bytes | None = None
    for number, each in enumerate(rows):
        place = id_digest(number)
        data = index.with_new(data, place, index.entry(each))
        assert index.created([(b"bucket", place)], {b"bucket": data}) == [each.created_us]
    known = [index.created([(b"bucket", id_digest(number))], {b"bucket": data})[0] for number in range(6)]
    assert known == [None, None, None, *(each.created_us for each in rows[3:])]  # the fifth found three that were too old


def test_of_two_rows_of_an_entity_the_later_one_stays_and_a_tie_is_looked_at_again() -> None:
    view = RowView(SERVICE.views[0])
    first, late, same = (view.encode(sale(number, "a", at), START) for number, at in ((1, START), (2, START - 1), (3, START)))
    assert (later(None, late), later(b"", late), later(late, first), later(first, late)) == (late, late, first, first)
    assert later(first, view.encode(sale(4, "a", START), START + 1)) == view.encode(sale(4, "a", START), START + 1)
    with pytest.raises(StaleUpdate):
        later(first, same)
