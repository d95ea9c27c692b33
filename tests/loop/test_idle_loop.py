"""A loop at rest reads no records: it looks at the store's mark and at the clock, and reacts as soon as either says so."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.loop import schedules
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch
from rota.records.release import Endpoint
from rota.records.run import RunQuery
from rota.records.signal import Event, Monitor
from rota.records.time import SECOND_US

NOON_US = 1_373_889_600_000_000


class Counted:
    """Metadata that counts which verbs it is asked."""

    def __init__(self, metadata: SqlMetadata) -> None:
        self.metadata, self.asked = metadata, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.asked[name] += 1
        return getattr(self.metadata, name)


class Clock:
    at_us = NOON_US

    def now_us(self) -> int:
        return self.at_us


class Home:
    def __init__(self, file: Path) -> None:
        self.metadata, self.clock = Counted(SqlMetadata(file)), Clock()
        self.runs = SqlRuns(self.metadata.metadata.engine)
        stores = MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal()
        repositories = Repositories(self.metadata, self.runs, *stores, self.clock, MemoryTracking(MemoryMetadata()))  # type: ignore[arg-type]
        self.loop = Loop(LoopContext(repositories, "production"))

    def store(self, *records: Monitor, events: tuple[Event, ...] = ()) -> None:
        """As another process would."""
        batch = Batch()
        for record in records:
            batch.put(record)
        for event in events:
            batch.event(event)
        self.metadata.metadata.commit(batch)

    def settle(self) -> None:
        while self.loop.advance():
            pass
        self.metadata.asked.clear()

    def fired(self) -> int:
        return sum(event.kind == "schedule.fired" for event in self.metadata.metadata.events(0))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr(schedules, "LOOK_S", 0.0)
    home = Home(tmp_path / "metadata.db")
    home.store(Monitor(Endpoint("delay", "flights"), schedule="0 * * * *"))
    home.settle()
    yield home
    home.metadata.metadata.close()


def test_a_loop_at_rest_reads_nothing_but_the_mark(home: Home) -> None:
    for _ in range(100):
        home.clock.at_us += SECOND_US
        assert not home.loop.advance()
    assert set(home.metadata.asked) == {"mark"}


def test_a_schedule_that_comes_due_fires_at_the_next_look(home: Home) -> None:
    before = home.fired()
    home.clock.at_us = NOON_US + 3_599 * SECOND_US
    assert not home.loop.advance()
    home.clock.at_us = NOON_US + 3_600 * SECOND_US
    assert home.loop.advance()
    assert home.fired() == before + 1


def test_what_another_process_commits_is_met_at_the_next_look(home: Home) -> None:
    fired = Event("schedule.fired", "monitor/delay", NOON_US, {"tick_us": NOON_US, "cron": "0 * * * *"})
    runs = len(home.runs.find(RunQuery("monitor")))
    home.store(events=(fired,))
    assert home.loop.advance()
    assert len(home.runs.find(RunQuery("monitor"))) == runs + 1
    home.settle()
    home.store(Monitor(Endpoint("gate", "flights"), schedule="* * * * *"))
    before = home.fired()
    assert home.loop.advance(), "a schedule that is new and due"
    assert home.fired() == before + 1


def test_a_clock_that_was_set_back_is_looked_at(home: Home) -> None:
    home.clock.at_us -= 86_400 * SECOND_US
    home.loop.advance()
    assert "find" in home.metadata.asked
    assert [entry.action for entry in home.metadata.metadata.audit()] == ["schedule.rebase"]
