"""What cannot be read is set apart, named and told of, and holds up nobody else; a clock that was set back stops no schedule."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.backends.sql.engine import writing
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.errors import Conflict, Corrupt, Refused
from rota.loop import table, training_rules
from rota.loop.context import LoopContext, Reaction
from rota.loop.event_loop import Loop
from rota.manage.repositories import Repositories
from rota.manage.retention import collect
from rota.manage.retention.expiry import Rules
from rota.manage.signals import alerts, platform_alerts
from rota.manage.signals.hosts import Host
from rota.manage.signals.platform_alerts import ConditionSource
from rota.ports.metadata import Batch
from rota.records.condition import Condition
from rota.records.release import Endpoint
from rota.records.run import Run, RunQuery
from rota.records.signal import Alert, Event, Monitor, ScheduleState
from rota.records.time import DAY_US, SECOND_US

NOW_US = 1_373_860_800_000_000  # a midnight


class SettableClock:
    """A platform clock that may be set back, as the machine's may."""

    def __init__(self, at_us: int) -> None:
        self.at_us = at_us

    def now_us(self) -> int:
        return self.at_us

    def advance(self, to_us: int) -> None:
        self.at_us = to_us


class Home:
    """A store in a file whose rows a test can spoil, and a loop on it."""

    def __init__(self, file: Path) -> None:
        self.metadata, self.clock = SqlMetadata(file), SettableClock(NOW_US)
        self.runs = SqlRuns(self.metadata.engine)
        stores = MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal()
        self.repositories = Repositories(self.metadata, self.runs, *stores, self.clock, MemoryTracking(MemoryMetadata()))
        self.loop = Loop(LoopContext(self.repositories, "production"))

    def spoil(self, table_: str, where: str, column: str = "body") -> None:
        with writing(self.metadata.engine) as connection:
            assert connection.execute(text(f"UPDATE {table_} SET {column} = substr({column}, 1, 9) WHERE {where}")).rowcount == 1

    def monitor(self, name: str) -> None:
        batch = Batch()
        batch.put(Monitor(Endpoint(name, name), schedule="* * * * *"))
        self.metadata.commit(batch)

    def ticks(self, name: str) -> int:
        return sum(event.subject == f"monitor/{name}" for event in self.metadata.events(0) if event.kind == "schedule.fired")

    def audits(self, action: str) -> list[str]:
        return [entry.subject for entry in self.metadata.audit() if entry.action == action]

    def alerts(self) -> dict[str, str]:
        """What is alerted of after a worker looked."""
        found = platform_alerts.collected({"loop": ConditionSource(self.loop.conditions, ("record", "schedule"))})
        is_over = Host("h", "/home").covers(found.whole)
        platform_alerts.settle(self.metadata, found.conditions, actor="w0", now_us=self.clock.now_us(), is_over=is_over)
        return {alert.subject: alert.message for alert in self.metadata.find(Alert) if alert.status != "resolved"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "metadata.db")
    yield home
    home.metadata.close()


def test_an_event_that_cannot_be_read_holds_up_none_behind_it(home: Home) -> None:
    for number in range(3):
        batch = Batch()
        batch.event(Event("schedule.fired", f"monitor/e{number}", NOW_US, {"tick_us": NOW_US, "cron": "* * * * *"}))
        home.metadata.commit(batch)
    home.spoil("events", "position = 2")
    while home.loop.react():
        pass
    assert sorted(run.subject for run in home.runs.find(RunQuery("monitor"))) == ["e0", "e2"]
    assert home.audits("loop.skip") == ["event:2"]
    (alert,) = home.metadata.find(Alert)
    assert alert.subject == "event:2", "in the commit that skips it: whoever is killed now has told of it"
    assert "event 2 cannot be read" in home.alerts()["event:2"]


@pytest.fixture
def skipped(home: Home) -> Home:
    """A home whose loop went on behind event 2 of 3."""
    for number in range(3):
        batch = Batch()
        batch.event(Event("data.arrived", "s", NOW_US, {"rows": 10**number}))
        home.metadata.commit(batch)
    home.spoil("events", "position = 2")
    while home.loop.react():
        pass
    return home


def test_the_alert_of_a_skipped_event_ends_when_a_person_acknowledges_it_and_does_not_come_again(skipped: Home) -> None:
    (alert,) = skipped.metadata.find(Alert)
    skipped.loop.schedules.fire()
    assert list(skipped.alerts()) == ["event:2"], "that nobody names it does not end it"
    seen = platform_alerts.acknowledge(skipped.metadata, alert.id, actor="anna", now_us=NOW_US + 5)
    assert (seen.status, seen.resolved_us) == ("resolved", NOW_US + 5)
    assert skipped.alerts() == {}
    (entry,) = [each for each in skipped.metadata.audit() if each.action == "alert.resolve"]
    assert (entry.actor, entry.body["reason"]) == ("anna", "it was acknowledged")


def test_one_that_was_acknowledged_by_an_older_rota_ends_when_it_is_acknowledged_again(skipped: Home) -> None:
    (alert,) = skipped.metadata.find(Alert)
    alerts.acknowledge(skipped.metadata, alert.id, actor="anna", now_us=NOW_US)
    assert platform_alerts.acknowledge(skipped.metadata, alert.id, actor="anna", now_us=NOW_US).status == "resolved"
    with pytest.raises(Refused, match="is resolved"):
        platform_alerts.acknowledge(skipped.metadata, alert.id, actor="anna", now_us=NOW_US)


def test_any_other_alert_that_is_acknowledged_goes_on_until_its_part_is_well(home: Home) -> None:
    (made,) = platform_alerts.settle(home.metadata, [Condition("disk", "failed", "full")], actor="w0", now_us=NOW_US)
    assert platform_alerts.acknowledge(home.metadata, made, actor="anna", now_us=NOW_US).status == "acknowledged"


def test_garbage_collection_goes_on_behind_a_damaged_event_and_ends_its_alert_with_it(skipped: Home) -> None:
    skipped.clock.at_us += 400 * DAY_US
    found = collect.collect(skipped.repositories, Rules(), wall_us=skipped.clock.at_us, actor="anna", handled=3)
    assert [each.name for each in found.removals if each.what == "event"] == ["2 up to position 3"]
    assert [event for event in skipped.metadata.events(0) if event.position <= 3] == []
    assert skipped.alerts() == {}


def test_a_damaged_event_among_old_ones_that_are_followed_by_none_stays_until_it_is(skipped: Home) -> None:
    skipped.spoil("events", "position = 3")
    skipped.clock.at_us += 400 * DAY_US
    collect.collect(skipped.repositories, Rules(), wall_us=skipped.clock.at_us, actor="anna", handled=3)
    assert list(skipped.alerts()) == ["event:2"]


def test_new_rows_are_counted_on_behind_a_damaged_event(skipped: Home) -> None:
    newest = skipped.metadata.events(2)[0]
    assert training_rules._arrived(skipped.metadata, "flights", newest, 0).rows == 101


def test_a_record_that_is_mended_or_removed_ends_its_alert_and_a_look_that_was_not_made_does_not(home: Home) -> None:
    home.monitor("bad")
    with writing(home.metadata.engine) as connection:
        (whole,) = connection.execute(text("SELECT body FROM monitor")).one()
    home.spoil("monitor", "endpoint_name = 'bad'")
    assert home.loop.schedules.fire() is False
    assert list(home.alerts()) == ["record:monitor:bad"]
    home.loop = Loop(LoopContext(home.repositories, "production"))
    assert list(home.alerts()) == ["record:monitor:bad"], "a worker that starts has not looked yet"
    with writing(home.metadata.engine) as connection:
        connection.execute(text("UPDATE monitor SET body = :whole"), {"whole": whole})
    home.loop.schedules.fire()
    assert home.alerts() == {}


def test_a_monitor_that_cannot_be_read_stops_no_other_schedule(home: Home) -> None:
    for name in ("bad", "good"):
        home.monitor(name)
    home.spoil("monitor", "endpoint_name = 'bad'")
    with pytest.raises(Corrupt, match="monitor bad"):
        home.metadata.find(Monitor)
    assert home.loop.schedules.fire()
    assert (home.ticks("good"), home.ticks("bad")) == (1, 0)
    assert list(home.alerts()) == ["record:monitor:bad"]


def test_a_run_that_cannot_be_read_ends_as_failed_and_the_next_is_claimed(home: Home) -> None:
    for name in ("bad", "good"):
        home.runs.submit(Run(name, "monitor", name, {"endpoint": name}, NOW_US))
    home.spoil("runs", "id = 'bad'", "arguments")
    assert {run.id for run in home.runs.find()} == {"bad", "good"}
    lease = home.runs.claim("w0", NOW_US, lease_s=5)
    assert lease is not None
    assert lease.run.id == "good"
    bad = home.runs.get("bad")
    assert bad is not None
    assert (bad.status, bad.ended_us) == ("failed", NOW_US)
    assert "damaged" in bad.error
    assert home.audits("run.set_apart") == ["bad"]


def test_an_ordinary_race_of_two_workers_is_a_line_and_no_traceback(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rota.loop")
    races = [Conflict("another worker was faster")] * 2

    def rule(context: LoopContext, event: Event) -> Reaction:
        if races:
            raise races.pop()
        return Reaction((Run("r1", "monitor", "e", {}, NOW_US),))

    monkeypatch.setattr(table, "RULES", {"alert.raised": (rule,)})
    batch = Batch()
    batch.event(Event("alert.raised", "a", NOW_US))
    home.metadata.commit(batch)
    assert home.loop.react()
    assert [run.id for run in home.runs.find()] == ["r1"]
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)] * 2
    assert home.audits("loop.error") == []


def test_schedules_go_on_after_one_look_a_year_ahead(home: Home) -> None:
    home.monitor("e")
    for minute in range(3):
        home.clock.at_us = NOW_US + minute * 60 * SECOND_US
        assert home.loop.schedules.fire()
    home.clock.at_us += 365 * DAY_US
    assert home.loop.schedules.fire()
    assert home.ticks("e") == 4
    home.clock.at_us -= 365 * DAY_US
    for _ in range(5):
        home.clock.at_us += 60 * SECOND_US
        home.loop.schedules.fire()
    assert home.ticks("e") == 8  # the first look is the one that sees the jump
    assert home.audits("schedule.rebase") == ["monitor/e"]
    state = home.metadata.get(ScheduleState, "monitor/e")
    assert state is not None
    assert state.last_us <= home.clock.at_us


def test_a_host_that_is_half_a_minute_behind_fires_nothing_twice(home: Home) -> None:
    home.monitor("e")
    assert home.loop.schedules.fire()
    home.clock.at_us -= 30 * SECOND_US
    assert not home.loop.schedules.fire()
    home.clock.at_us += 30 * SECOND_US
    assert not home.loop.schedules.fire()
    assert (home.ticks("e"), home.audits("schedule.rebase")) == (1, [])
