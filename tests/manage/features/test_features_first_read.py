"""The first read is right: whatever came in by whichever way, a value is that of the history, or it is marked."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.durable.worker import Worker
from rota.errors import Unavailable
from rota.manage.features.join import point_in_time
from rota.manage.features.materialization import push as pushing
from rota.manage.features.materialization.online_update import PushedRow
from rota.manage.features.materialization.push_stream import PUSH, encoded
from rota.manage.features.materialization.upkeep import MATERIALIZE, MaterializeWorkflow, Upkeep
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.features.online.response import OnlineResponse
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.testing.clock import FakeClock

HOUR = 3_600_000_000
START = 1_373_860_800_000_000
SHOPS = ("a", "b", "c")
shop = Entity("shop", ["shop"])


class Shops:
    """Sales of shops in memory: a scalar and a windowed view, neither registered yet."""

    def __init__(self, *, identified: bool = True) -> None:
        fields = {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}
        self.sales = Source("sales", fields, "at", id_field="id" if identified else None)  # type: ignore[arg-type]
        self.newest = FeatureView("newest", [shop], self.sales, {"amount": Feature("amount")})
        self.windows = FeatureView("windows", [shop], self.sales, {"n": Feature("1", "count", "9h"), "sum": Feature("amount", "sum", "9h")})
        self.service = FeatureService("s", [self.newest, self.windows])
        self.metadata, self.tables, self.online = MemoryMetadata(), MemoryTables(), MemoryOnline()
        self.journal, self.clock = MemoryJournal(), FakeClock(START)
        self.feed = self.opened()
        self.feed.register([self.sales])

    def opened(self) -> Feed:
        """Another process on the same stores."""
        return Feed(self.metadata, self.tables, self.online, self.journal, self.clock)

    def read(self) -> OnlineResponse:
        """What is read of every shop right now."""
        reader = OnlineFeatures(self.online, self.service, self.feed.histories(self.service).look)
        return reader.read([{"shop": each} for each in SHOPS], self.clock.now_us())

    def history(self) -> dict[str, list[Any]]:
        """The same, joined offline from everything that was acknowledged."""
        self.feed.pushes.flush("sales")
        spine = pl.DataFrame({"shop": SHOPS, "at_us": [self.clock.now_us()] * len(SHOPS)})
        joined = point_in_time.historical(self.tables, self.service, spine, timestamp="at_us")
        return {name: joined[name].to_list() for name in self.service.feature_names}

    def row(self, number: int, name: str, hours_ago: int) -> dict[str, Any]:
        return {"id": number, "shop": name, "at": self.clock.now_us() - hours_ago * HOUR, "amount": float(number)}

    def unmarked_differences(self) -> list[tuple[str, str, Any, Any]]:
        """Values that differ from the history although nothing marks them."""
        answer, expected = self.read(), self.history()
        values, statuses = answer.to_dict(), answer.statuses()
        unwarned = not answer.warnings
        return [
            (name, entity, values[name][i], expected[name][i])
            for name in expected
            for i, entity in enumerate(SHOPS)
            if values[name][i] != expected[name][i] and statuses[name][i] != "HISTORY_NOT_ONLINE" and unwarned
        ]


def test_what_is_ingested_is_online_when_the_ingestion_ends() -> None:
    shops = Shops()
    shops.feed.register([shops.service])
    assert shops.feed.ingest("sales", [shops.row(n, SHOPS[n % 2], n % 7) for n in range(11)]).online_problem == ""
    assert shops.read().to_dict() | {"shop": None} == shops.history() | {"shop": None}
    assert shops.read().to_dict()["windows__n"] == [6, 5, None]
    shops.feed.pushes.push("sales", [shops.row(99, "a", 0)])
    assert shops.read().to_dict()["windows__n"] == [7, 5, None]
    shops.feed.ingest("sales", [shops.row(200, "a", 1), shops.row(201, "c", 1)])
    assert shops.read().to_dict() | {"shop": None} == shops.history() | {"shop": None}
    assert shops.read().warnings == ()


def test_a_view_over_a_source_with_history_is_online_when_it_is_registered() -> None:
    shops = Shops()
    shops.feed.ingest("sales", [shops.row(n, "a", n) for n in range(5)])
    shops.feed.pushes.push("sales", [shops.row(9, "b", 0)])
    shops.feed.register([shops.service])
    assert shops.read().to_dict() == {
        "shop": list(SHOPS),
        "newest__amount": [0.0, 9.0, None],
        "windows__n": [5, 1, None],
        "windows__sum": [10, 9, None],
    }
    assert shops.read().statuses()["windows__n"] == ["PRESENT", "PRESENT", "NOT_FOUND"]


def test_a_push_onto_a_history_that_is_not_online_never_looks_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too long a history to be folded in by the push: the value is absent and marked, and right once the history is there."""
    shops = Shops()
    shops.feed.register([shops.service])
    shops.feed.ingestion.ingest_table("sales", [shops.row(n, "a", n) for n in range(8)])  # killed behind this
    monkeypatch.setattr(pushing, "FOLDED_AT_ONCE", 0)
    assert shops.feed.pushes.push("sales", [shops.row(99, "a", 0)]) == 1
    answer = shops.read()
    assert set(answer.statuses()["windows__n"] + answer.statuses()["newest__amount"]) == {"HISTORY_NOT_ONLINE"}
    assert "'windows' is not online (8 rows of source 'sales' wait): rota features materialize windows" in answer.warnings[1]
    states = {each.view: (each.state, each.not_online, each.fresh) for each in map(shops.feed.materializer.status, ("newest", "windows"))}
    assert states == {"newest": ("not online", 8, False), "windows": ("not online", 8, False)}
    assert shops.opened().materializer.bring_online("sales") > 0
    assert shops.read().to_dict()["windows__n"] == [9, None, None]
    assert shops.read().warnings == ()


def test_a_short_history_is_folded_in_by_the_push_that_meets_it() -> None:
    shops = Shops()
    shops.feed.register([shops.service])
    shops.feed.ingestion.ingest_table("sales", [shops.row(n, "a", n) for n in range(8)])  # killed behind this
    shops.opened().pushes.push("sales", [shops.row(99, "a", 0)])
    assert shops.read().to_dict()["windows__n"] == [9, None, None]


@pytest.mark.parametrize("flushed", [False, True])
def test_an_online_store_that_was_lost_is_noticed_and_filled_again(*, flushed: bool) -> None:
    shops = Shops()
    shops.feed.register([shops.service])
    shops.feed.ingest("sales", [shops.row(n, "a", n % 8) for n in range(20)])
    shops.feed.pushes.push("sales", [shops.row(99, "b", 0)])
    if flushed:
        shops.feed.pushes.flush("sales")
    shops.online.delete(b"")
    assert set(shops.read().statuses()["windows__n"]) == {"HISTORY_NOT_ONLINE"}
    shops.feed.pushes.push("sales", [shops.row(100, "a", 0)])
    assert shops.read().to_dict()["windows__n"] == [21, 1, None]
    assert shops.unmarked_differences() == []


def test_rows_that_were_dated_ahead_are_behind_when_they_come_due() -> None:
    shops = Shops()
    shops.feed.register([shops.service])
    shops.feed.ingest("sales", [shops.row(1, "a", 1), shops.row(2, "a", -5), shops.row(3, "b", -9)])
    assert shops.read().warnings == ()
    assert shops.read().to_dict()["windows__n"] == [1, None, None]
    shops.clock.advance(START + 6 * HOUR)
    assert "view 'newest' is behind its history" in shops.read().warnings[0]
    assert (shops.feed.materializer.status("windows").state, shops.feed.materializer.status("windows").not_online) == ("behind", 1)
    assert shops.feed.materializer.bring_online("sales") > 0
    assert shops.read().to_dict()["windows__n"] == [2, None, None]
    assert shops.unmarked_differences() == []


def test_a_worker_brings_online_what_a_killed_process_left() -> None:
    shops, runs = Shops(), MemoryRuns(MemoryMetadata())
    shops.feed.register([shops.service])
    shops.feed.ingestion.ingest_table("sales", [shops.row(n, "a", n) for n in range(8)])
    upkeep = Upkeep(shops.feed.materializer, runs, shops.clock, shops.metadata, shops.online)
    assert upkeep.submit() == ["sales"]
    assert upkeep.submit() == []  # it has an open run
    worker = Worker("w", runs, shops.clock, {MATERIALIZE: MaterializeWorkflow(shops.feed.materializer)})
    assert worker.work_once()
    (run,) = runs.find()
    assert (run.status, run.subject, run.result["source"]) == ("succeeded", "sales", "sales")
    assert shops.read().to_dict()["windows__n"] == [8, None, None]
    assert upkeep.submit() == []


def test_who_is_just_ingesting_is_left_alone_the_first_time() -> None:
    shops, runs = Shops(), MemoryRuns(MemoryMetadata())
    shops.feed.register([shops.service])
    shops.feed.ingest("sales", [shops.row(1, "a", 1)])
    shops.feed.ingestion.ingest_table("sales", [shops.row(2, "a", 2)])
    upkeep = Upkeep(shops.feed.materializer, runs, shops.clock, shops.metadata, shops.online)
    assert (upkeep.submit(), upkeep.submit()) == ([], ["sales"])


def test_what_is_behind_is_told_and_its_values_are_those_without_the_newest_rows() -> None:
    shops = Shops()
    shops.feed.register([shops.service])
    shops.feed.ingest("sales", [shops.row(1, "a", 1)])
    shops.feed.ingestion.ingest_table("sales", [shops.row(2, "a", 2), shops.row(3, "b", 2)])
    answer = shops.read()
    assert (answer.to_dict()["windows__n"], answer.statuses()["windows__n"]) == ([1, None, None], ["PRESENT", "NOT_FOUND", "NOT_FOUND"])
    assert "view 'windows' is behind its history (2 rows of source 'sales' wait)" in answer.warnings[1]


def test_a_view_that_was_given_up_is_whole_when_it_is_registered_again() -> None:
    """Between, pushes left it alone; a mark that stayed would say that it has them."""
    shops = Shops()
    shops.feed.register([shops.service])
    shops.feed.pushes.push("sales", [shops.row(1, "a", 1)])
    shops.feed.materializer.forget(shops.windows)
    assert shops.windows.name in {each.view.name for each in shops.feed.materializer._plans.refresh("sales").views}
    shops.feed.pushes.push("sales", [shops.row(2, "a", 0)])
    assert shops.read().to_dict()["windows__n"] == [2, None, None]


def test_of_two_corrections_in_one_microsecond_the_one_journalled_last_counts_in_windows_too() -> None:
    """Two processes that correct a row at the same moment give it the same time of creation."""
    shops = Shops()
    shops.feed.register([shops.service])
    shops.feed.pushes.push("sales", [shops.row(1, "a", 1)])
    now_us = shops.clock.now_us() + 5
    versions = [PushedRow(now_us, {**shops.row(1, "a", 1), "amount": amount}) for amount in (20.0, 30.0)]
    shops.journal.append(PUSH + "sales", list(map(encoded, versions)))
    shops.feed.pushes.catch_up("sales")
    assert shops.read().to_dict()["windows__sum"] == [30.0, None, None]
    assert shops.unmarked_differences() == []


class Killed(BaseException):
    """The process is gone."""


Sold = list[tuple[str, int]]


class Fuzzed(Shops):
    """What can happen to a source, one method each."""

    def __init__(self, *, identified: bool) -> None:
        super().__init__(identified=identified)
        self.number = 0
        self.alive = self.online.update
        self.copies: list[dict[bytes, bytes]] = []
        self.feed.register([self.newest])

    def rows(self, of: Sold) -> list[dict[str, Any]]:
        self.number += len(of)
        return [self.row(self.number - i, name, hours) for i, (name, hours) in enumerate(of)]

    def register(self, view: str) -> None:
        self.feed.register([getattr(self, view)])

    def push(self, of: Sold) -> None:
        self.feed.pushes.push("sales", self.rows(of))

    def ingest(self, of: Sold) -> None:
        assert self.feed.ingest("sales", self.rows(of)).online_problem == ""

    def killed_ingest(self, kill: tuple[int, Sold]) -> None:
        self.dies(kill[0])
        self.feed.ingest("sales", self.rows(kill[1]))

    def killed_register(self, after: int) -> None:
        self.dies(after)
        self.feed.register([self.service])

    def lose(self, _: None) -> None:
        self.online.delete(b"")

    def copy(self, _: None) -> None:
        self.copies.append(self.online._rows)

    def set_back(self, which: int) -> None:
        """The store is there again as it once was: a snapshot of Redis, an older copy of the file."""
        if self.copies:
            self.online._rows = self.copies[which % len(self.copies)]

    def restart(self, _: None) -> None:
        """What the process has journalled can be dropped then."""
        self.journal.close()
        self.feed = self.opened()
        self.feed.pushes.flush("sales")

    def flush(self, _: None) -> None:
        self.feed.pushes.flush("sales")

    def materialize(self, incremental: bool) -> None:
        (self.feed.materializer.materialize_incremental if incremental else self.feed.materializer.materialize)("newest")

    def wait(self, hours: int) -> None:
        self.clock.advance(self.clock.now_us() + hours * HOUR)

    def away(self, of: Sold) -> None:
        """The online store does not answer while rows are ingested: they are stored, and it is said that they are not online."""

        def unavailable(*_: Any, **__: Any) -> bool:
            raise Unavailable("the online store is away")

        self.online.update = unavailable  # type: ignore[method-assign]
        problem = self.feed.ingest("sales", self.rows(of)).online_problem
        assert "the online store is away" in problem

    def dies(self, after: int) -> None:
        """The store lets `after` more updates through, then the process is killed in the middle of the next."""
        left = [after]

        def killing(*arguments: Any, **options: Any) -> bool:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return self.alive(*arguments, **options)

        self.online.update = killing  # type: ignore[method-assign]


sold = st.tuples(st.sampled_from(SHOPS), st.integers(0, 12))
ahead = st.tuples(st.sampled_from(SHOPS), st.integers(-6, 12))
some, nothing = st.lists(sold, min_size=1, max_size=4), st.none()
ACTS = st.one_of(
    st.tuples(st.just("register"), st.sampled_from(["newest", "windows", "service"])),
    st.tuples(st.just("push"), some),
    st.tuples(st.just("ingest"), st.lists(ahead, min_size=1, max_size=4)),
    st.tuples(st.just("killed_ingest"), st.tuples(st.integers(0, 5), some)),
    st.tuples(st.just("killed_register"), st.integers(0, 4)),
    st.tuples(st.sampled_from(["lose", "flush", "copy", "restart"]), nothing),
    st.tuples(st.just("set_back"), st.integers(0, 3)),
    st.tuples(st.just("materialize"), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 5)),
    st.tuples(st.just("away"), some),
)


@pytest.mark.slow
@given(st.lists(ACTS, min_size=1, max_size=8), st.booleans())
def test_no_value_looks_whole_and_is_not(drawn: list[tuple[str, Any]], identified: bool) -> None:
    """Whatever happens, a value of a registered view is that of the history or it is marked; once that is brought online all of them are."""
    shops = Fuzzed(identified=identified)
    for what, details in drawn:
        try:
            getattr(shops, what)(details)
        except Killed:
            shops.feed = shops.opened()
        shops.online.update = shops.alive  # type: ignore[method-assign]
        registered = {each.name for each in shops.metadata.find(FeatureView)}
        assert [each for each in shops.unmarked_differences() if each[0].partition("__")[0] in registered] == []
    shops.feed.register([shops.service])
    shops.feed.materializer.bring_online("sales")
    assert shops.read().to_dict() == {"shop": list(SHOPS)} | shops.history()
    assert shops.read().warnings == ()
