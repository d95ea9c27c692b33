"""The online store compared with its source: emptied, set back, exchanged, ahead, or short of rows, it is noticed, told of and filled again."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rota.backends.memory.online import MemoryOnline
from rota.manage.features.materialization import online_extent
from rota.manage.features.materialization.push_stream import PushStream
from rota.manage.features.online.reader import OnlineFeatures
from rota.ports.online import StoreReport
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.intake import OnlineExtent
from rota.records.signal import Alert
from rota.settings import Settings
from rota.wiring import Platform, open_platform

MINUTE = 60_000_000
SALES = Source("sales", {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}, "at", id_field="id")
PLAIN = Source("visits", {"shop": "string", "at": "timestamp", "people": "int"}, "at")
SHOP = Entity("shop", ["shop"])
SERVICE = FeatureService(
    "s",
    [
        FeatureView("newest", [SHOP], SALES, {"amount": Feature("amount")}),
        FeatureView("windows", [SHOP], SALES, {"n": Feature("1", "count", "1h"), "sum": Feature("amount", "sum", "1h")}),
        FeatureView("visits", [SHOP], PLAIN, {"people": Feature("people")}),
    ],
)
SHOPS = ("a", "b", "c")


class Shops:
    """A home with sales and visits of shops; `opened` is the process that now works on it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.opened = open_platform(settings)
        self.opened.feed.register([SERVICE])
        self.number = 0

    @property
    def platform(self) -> Platform:
        return self.opened

    def restart(self) -> None:
        """The process ends, and with it its hold on the journal; the next one starts as workers do."""
        self.opened.close()
        self.opened = open_platform(self.settings)

    def sell(self, *shops: str) -> list[dict[str, Any]]:
        now_us = self.opened.repositories.clock.now_us()
        self.number += len(shops)
        return [
            {"id": self.number + i, "shop": name, "at": now_us - MINUTE + self.number + i, "amount": float(self.number)}
            for i, name in enumerate(shops)
        ]

    def push(self, *shops: str) -> None:
        rows = self.sell(*shops)
        self.opened.feed.pushes.push("sales", rows)
        self.opened.feed.pushes.push("visits", [{"shop": row["shop"], "at": row["at"], "people": row["id"]} for row in rows])

    def flush(self) -> None:
        self.opened.feed.pushes.flush_all()

    def look(self) -> list[str]:
        """What a worker does at its start and now and then; the sources that it sees to."""
        return sorted(self.opened.housekeeping.upkeep.submit())

    def work(self) -> None:
        self.look()
        self.look()
        while self.opened.processes.worker("w", workflows=("materialize",)).work_once():
            pass
        self.look()

    def statuses(self) -> set[str]:
        found = self.read().statuses()
        return {status for name, each in found.items() if "__" in name for status in each}

    def read(self) -> Any:
        feed, online = self.opened.feed, self.opened.repositories.online
        reader = OnlineFeatures(online, SERVICE, feed.histories(SERVICE).look)
        return reader.read([{"shop": each} for each in SHOPS], self.opened.repositories.clock.now_us())

    def values(self) -> dict[str, list[Any]]:
        return {name: column for name, column in self.read().to_dict().items() if "__" in name}

    def alerts(self) -> set[str]:
        return {alert.subject for alert in self.opened.repositories.metadata.find(Alert) if alert.status != "resolved"}

    def is_whole(self, expected: dict[str, list[Any]]) -> None:
        assert self.values() == expected
        assert self.read().warnings == ()
        assert self.alerts() == set()


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[Shops]:
    made = Shops(Settings(home=tmp_path / "home"))
    yield made
    made.opened.close()


def online(shops: Shops) -> Path:
    return shops.settings.home / "online"


def test_a_store_that_was_removed_is_filled_again_by_the_next_worker(shops: Shops) -> None:
    shops.push("a", "b")
    shops.flush()
    shops.push("a")
    shops.look()
    expected = shops.values()
    shops.restart()
    shops.opened.close()
    shutil.rmtree(online(shops))
    shops.opened = open_platform(shops.settings)
    assert shops.statuses() == {"HISTORY_NOT_ONLINE"}
    states = {each.view: (each.state, each.fresh) for each in shops.opened.features.status()}
    assert states == dict.fromkeys(("newest", "windows", "visits"), ("not online", False))
    assert shops.look() == ["sales", "visits"]
    assert shops.alerts() == {"online store:sales", "online store:visits"}
    shops.work()
    shops.is_whole(expected)


def test_a_store_that_was_removed_while_it_is_open_is_noticed_at_the_next_look(shops: Shops) -> None:
    shops.push("a", "b")
    shops.flush()
    shops.look()
    expected = shops.values()
    histories = shops.opened.feed.histories(SERVICE)
    assert histories.look() == {}
    assert not shops.opened.housekeeping.upkeep.store_changed()
    shutil.rmtree(online(shops))
    assert shops.opened.housekeeping.upkeep.store_changed()
    assert {each.state for each in histories.look().values()} == {"not online"}
    shops.work()
    assert histories.look() == {}
    shops.is_whole(expected)


@pytest.mark.parametrize("flushed", [False, True], ids=["in the journal", "in the table only"])
def test_an_older_copy_of_the_store_is_noticed_although_it_is_not_empty(shops: Shops, flushed: bool) -> None:
    shops.push("a", "b")
    shops.flush()
    shops.look()
    shops.opened.close()
    shutil.copytree(online(shops), online(shops).with_name("copy"))
    shops.opened = open_platform(shops.settings)
    shops.push("a", "c")
    if flushed:  # and the segment is dropped, for the process that wrote it has ended
        shops.restart()
        shops.flush()
        assert shops.opened.repositories.journal.segments("push/sales") == {}
    expected = shops.values()
    shops.opened.close()
    shutil.rmtree(online(shops))
    online(shops).with_name("copy").rename(online(shops))
    shops.opened = open_platform(shops.settings)
    if flushed:
        assert shops.statuses() == {"HISTORY_NOT_ONLINE"}
        assert "set back" in " ".join(shops.read().warnings)
        assert {each.state for each in shops.opened.features.status()} == {"not online"}
    else:
        assert shops.read().warnings != ()
    shops.work()
    shops.is_whole(expected)


def test_an_older_copy_written_over_the_open_file_is_noticed(shops: Shops) -> None:
    shops.push("a")
    shops.flush()
    shops.look()
    copied = (online(shops) / "data.mdb").read_bytes()
    shops.push("a", "b")
    shops.flush()
    expected = shops.values()
    histories = shops.opened.feed.histories(SERVICE)
    assert histories.look() == {}
    with (online(shops) / "data.mdb").open("r+b") as file:
        file.write(copied)
    assert histories.look() != {}
    shops.work()
    shops.is_whole(expected)


def test_the_store_of_another_platform_is_noticed_and_nothing_of_it_stays(shops: Shops, tmp_path: Path) -> None:
    other = Shops(Settings(home=tmp_path / "other"))
    for each in (shops, other):
        each.push("a", "b")
        each.flush()
        each.look()
    other.push("c")
    other.flush()
    other.opened.close()
    expected = shops.values()
    shops.opened.close()
    shutil.rmtree(online(shops))
    shutil.copytree(online(other), online(shops))
    shops.opened = open_platform(shops.settings)
    assert "another platform's" in " ".join(shops.read().warnings)
    shops.work()
    shops.is_whole(expected)
    other.opened = open_platform(other.settings)
    other.opened.close()


def test_tables_that_were_set_back_are_told_of_and_the_online_rows_follow_them(shops: Shops) -> None:
    source = shops.settings.home / "tables/sources/sales"
    shops.opened.feed.ingest("sales", shops.sell("a", "b"))
    shops.look()
    expected = shops.values()
    shutil.copytree(source, source.with_name("copy"))
    shops.opened.feed.ingest("sales", shops.sell("c"))
    shops.restart()
    shutil.rmtree(source)
    source.with_name("copy").rename(source)
    assert "version" in " ".join(shops.read().warnings)
    shops.work()
    assert shops.values() == expected
    assert shops.alerts() == {"online store:sales"}
    (alert,) = (each for each in shops.opened.repositories.metadata.find(Alert) if each.status != "resolved")
    assert "rows of the history are lost" in alert.message
    assert shops.look() == []  # nothing that could be brought online again and again


def test_a_journal_that_was_removed_leaves_no_rows_that_only_the_online_store_has(shops: Shops) -> None:
    shops.push("a")
    shops.flush()
    expected = shops.values()
    shops.push("b")
    shops.restart()
    shutil.rmtree(shops.settings.home / "log/push")
    assert "neither the journal nor the table" in " ".join(shops.read().warnings)
    shops.work()
    shops.is_whole(expected)


def test_a_journal_that_was_cut_off_is_no_reason_to_stop(shops: Shops) -> None:
    shops.push("a")
    shops.push("b")
    shops.restart()
    for segment in (shops.settings.home / "log/push").rglob("*.seg"):
        os.truncate(segment, segment.stat().st_size // 2)
    shops.opened.feed.pushes.recover()
    shops.work()
    assert [value is None for value in shops.values()["newest__amount"]] == [False, True, True]
    assert shops.read().warnings == ()


def test_a_store_that_gave_up_rows_by_itself_is_filled_again_once(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    shops.push("a", "b")
    shops.flush()
    shops.look()
    expected = shops.values()
    store = shops.opened.repositories.online
    told = StoreReport(store.report().identity, losses="run:17", problem="the server forgets rows; set noeviction there")
    monkeypatch.setattr(type(store), "report", lambda _: told)
    assert shops.statuses() == {"HISTORY_NOT_ONLINE"}
    assert shops.look() == ["sales", "visits"]
    assert shops.alerts() == {"online store", "online store:sales", "online store:visits"}
    shops.work()
    assert shops.values() == expected
    assert shops.read().warnings == ()
    assert shops.alerts() == {"online store"}
    assert shops.look() == []


def test_a_kill_while_the_rows_are_forgotten_is_made_up_for(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    shops.push("a", "b")
    shops.flush()
    shops.look()
    expected = shops.values()
    materializer, store = shops.opened.feed.materializer, shops.opened.repositories.online
    plan = materializer._plans.refresh("sales")
    stream = PushStream(materializer._stores, plan.source)

    def killed() -> None:
        store.delete(plan.views[0].prefix)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        online_extent.begin_anew(stream, plan.catalog_version, killed)
    assert "HISTORY_NOT_ONLINE" in shops.statuses()
    shops.work()
    shops.is_whole(expected)


@pytest.mark.parametrize("after", ["begun", "counted"])
def test_a_kill_while_a_dropped_segment_is_counted_is_no_contradiction(shops: Shops, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    shops.push("a", "b")
    shops.flush()
    shops.look()
    expected = shops.values()
    shops.restart()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    at: tuple[Any, str] = (online_extent, "_reach") if after == "counted" else (type(shops.opened.repositories.online), "update")
    with monkeypatch.context() as patch:
        patch.setattr(*at, killed)
        with pytest.raises(KeyboardInterrupt):
            shops.flush()
    shops.restart()
    shops.is_whole(expected)
    shops.opened.feed.pushes.flush("sales")
    assert shops.look() == []
    state = PushStream(shops.opened.feed.materializer._stores, SALES).state()
    assert state.ends == {}
    extent = shops.opened.repositories.metadata.get(OnlineExtent, "sales")
    assert extent is not None
    assert extent.reached <= state.number <= extent.begun


def test_what_counts_at_the_same_moment_is_no_contradiction_for_who_looks(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the store and the look at metadata another process counts on: that must not empty the store."""
    shops.push("a")
    shops.flush()
    shops.look()
    stream = PushStream(shops.opened.feed.materializer._stores, SALES)
    metadata, get = shops.opened.repositories.metadata, shops.opened.repositories.metadata.get

    def meanwhile(kind: Any, *key: Any) -> Any:
        found = get(kind, *key)
        if kind is OnlineExtent:
            monkeypatch.setattr(metadata, "get", get)
            online_extent.count(stream)
            online_extent.count(stream)
        return found

    monkeypatch.setattr(metadata, "get", meanwhile)
    assert online_extent.compared(stream)[1] == ""


def test_a_store_in_memory_is_the_same_as_long_as_it_lives() -> None:
    assert MemoryOnline().report() != MemoryOnline().report()


def test_a_redis_that_was_started_again_empty_or_from_an_older_snapshot_is_filled_again(redis_server: Any, tmp_path: Path) -> None:
    redis_server.start()
    shops = Shops(Settings(home=tmp_path / "home", online_url=redis_server.url))
    client = pytest.importorskip("redis").Redis.from_url(redis_server.url)
    shops.push("a", "b")
    shops.flush()
    shops.look()
    client.save()
    shops.push("a", "c")
    shops.restart()
    shops.flush()
    expected = shops.values()
    histories = shops.opened.feed.histories(SERVICE)
    assert histories.look() == {}
    redis_server.kill()
    assert histories.look() == {}  # while it is away the last answer stays
    redis_server.start()
    assert shops.opened.housekeeping.upkeep.store_changed()
    assert {each.state for each in histories.look().values()} == {"not online"}
    assert "set back" in " ".join(each.problem for each in histories.look().values())
    shops.work()
    shops.is_whole(expected)
    assert histories.look() == {}
    redis_server.kill()
    (redis_server.folder / "dump.rdb").unlink()
    redis_server.start()
    assert {each.state for each in histories.look().values()} == {"not online"}
    shops.work()
    shops.is_whole(expected)
    shops.opened.close()
