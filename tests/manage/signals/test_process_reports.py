"""What processes report becomes the platform's alerts: each until somebody looked and found it well, whoever raised it."""

import os
from dataclasses import dataclass, field

import msgspec
import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.manage.signals import platform_alerts, silences
from rota.manage.signals.alerts import every_open_alert
from rota.manage.signals.hosts import Host
from rota.manage.signals.process_reports import Lasting, Reporter, resident_bytes
from rota.manage.signals.silences import Silences
from rota.ports.metadata import Batch
from rota.records.condition import Condition, ProcessReport
from rota.records.signal import Alert
from rota.records.time import DAY_US
from rota.testing.clock import FakeClock

NOON_US = 1_373_889_600_000_000
HERE = Host("web-1", "/srv/one")
UNSERVED = Condition("endpoint:delay", "failed", "endpoint 'delay' is not served")


@dataclass
class World:
    """A store, a worker that settles, and the time that it measures."""

    metadata: MemoryMetadata = field(default_factory=MemoryMetadata)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON_US))
    passed_s: float = 0.0

    def __post_init__(self) -> None:
        self.worker = self.reporter("worker-0", "worker", silences=Silences(timer=lambda: self.passed_s))
        self.found: list[Condition] = []

    def reporter(self, process: str, kind: str, *conditions: Condition, host: Host = HERE, silences: Silences | None = None) -> Reporter:
        return Reporter(self.metadata, self.clock, host, process, kind, NOON_US, lambda: conditions, dict, silences or Silences())

    def report(self, process: str, *conditions: Condition, kind: str = "prediction process", host: Host = HERE) -> None:
        self.clock.advance(self.clock.now_us() + 1)
        self.reporter(process, kind, *conditions, host=host).report()

    def alerts(self, *, seconds: float = 10) -> dict[str, str]:
        """What is alerted of after the worker looked, so much later."""
        self.passed_s += seconds
        self.worker.settle(self.found, whole=(), now_us=self.clock.now_us())
        return {alert.subject: alert.severity for alert in every_open_alert(self.metadata)}


@pytest.fixture
def world() -> World:
    return World()


def reason(world: World, subject: str) -> str:
    (alert,) = world.metadata.find(Alert)
    assert (alert.subject, alert.status) == (subject, "resolved")
    return str(next(entry.body["reason"] for entry in reversed(world.metadata.audit()) if entry.action == "alert.resolve"))


def test_what_a_prediction_process_reports_is_alerted_by_a_worker_until_it_reports_that_it_is_well(world: World) -> None:
    world.report("serve-0", UNSERVED)
    world.alerts()
    world.report("serve-0", UNSERVED)
    assert world.alerts() == {"endpoint:delay": "critical"}
    world.report("serve-0", Condition("endpoint:delay", "well"))
    assert world.alerts() == {}


def test_one_process_that_is_well_does_not_make_the_other_well(world: World) -> None:
    for _ in range(2):
        world.report("serve-0", UNSERVED)
        world.report("serve-1")
        world.alerts()
    assert world.alerts() == {"endpoint:delay": "critical"}


def test_what_a_silent_process_told_of_stays_and_so_does_what_was_raised_until_it_is_forgotten(world: World) -> None:
    for _ in range(2):
        world.report("serve-0", UNSERVED)
        world.alerts()
    for _ in range(5):
        assert world.alerts(seconds=10) == {"endpoint:delay": "critical"}
    assert world.alerts(seconds=20) == {"endpoint:delay": "critical", "process:serve-0": "critical"}
    assert silences.forget(world.metadata, world.clock.now_us() + DAY_US - 1_000_000) == []
    assert silences.forget(world.metadata, world.clock.now_us() + DAY_US + 1_000_000) == ["serve-0"]
    assert world.alerts() == {}


def test_a_silent_process_is_told_of_and_its_next_report_ends_it(world: World) -> None:
    world.report("server", kind="control plane")
    world.alerts()
    for _ in range(6):
        assert world.alerts() == {}
    assert world.alerts() == {"process:server": "critical"}
    assert "pid" in every_open_alert(world.metadata)[0].message
    world.report("server", kind="control plane")
    assert world.alerts() == {}
    assert reason(world, "process:server") == "the condition is well again"


def test_who_begins_to_look_or_stood_still_itself_blames_nobody_for_reports_of_yesterday(world: World) -> None:
    world.report("server", kind="control plane")
    world.clock.advance(NOON_US + DAY_US)
    assert world.alerts() == {}
    assert world.alerts(seconds=3_600) == {}, "the worker was stopped for an hour"
    assert world.alerts() == {}


def test_another_one_that_just_began_to_look_does_not_end_what_it_does_not_know(world: World) -> None:
    world.report("server", kind="control plane")
    for _ in range(8):
        world.alerts()
    late = world.reporter("worker-1", "worker")
    late.settle([], whole=(), now_us=world.clock.now_us())
    assert [alert.subject for alert in every_open_alert(world.metadata)] == ["process:server"]


def test_a_process_that_ends_in_order_takes_its_report_and_its_alerts_with_it(world: World) -> None:
    for _ in range(2):
        world.report("serve-0", UNSERVED)
        world.alerts()
    leaving = world.reporter("serve-0", "prediction process", UNSERVED)
    leaving.leave()
    assert world.metadata.find(ProcessReport) == []
    assert world.alerts() == {}


def test_the_report_of_a_successor_is_not_removed_by_who_leaves(world: World) -> None:
    world.report("serve-0")
    (report,) = world.metadata.find(ProcessReport)
    batch = Batch()
    batch.put(msgspec.structs.replace(report, pid=os.getpid() + 1))
    world.metadata.commit(batch)
    world.reporter("serve-0", "prediction process").leave()
    assert len(world.metadata.find(ProcessReport)) == 1


def test_two_homes_that_call_their_host_alike_are_told_of(world: World) -> None:
    shared, other = Host("web", "/srv/one", has_others=True), Host("web", "/srv/two", has_others=True)
    world.report(shared.process("worker-0"), kind="worker", host=shared)
    second = world.reporter(other.process("worker-0"), "worker", host=other).report()
    (found,) = [each for each in second if each.status != "well"]
    assert (found.name, found.status) == ("host name@web", "failed")
    assert "/srv/one and /srv/two" in found.message


def test_on_a_store_that_hosts_share_what_is_of_one_host_names_it() -> None:
    host = Host("web-1", "/srv/one", has_others=True)
    conditions = [Condition(name, "well") for name in ("disk", "thread:loop", "journal:push/orders", "table:sources/orders", "model:m@3")]
    named = ["disk@web-1", "thread:loop@web-1", "journal:push/orders@web-1", "table:sources/orders", "model:m@3"]
    assert [each.name for each in host.told(conditions)] == named
    assert [each.name for each in host.told(host.told(conditions))] == named, "once"
    covered = host.covers({"disk", "model"}, kept={"model:kept@1"})
    assert [name for name in ("disk@web-1", "disk@web-2", "disk", "model:m@3", "model:kept@1", "thread:loop@web-1") if covered(name)] == [
        "disk@web-1",
        "disk",
        "model:m@3",
    ]
    assert [each.name for each in HERE.told(conditions)] == [each.name for each in conditions], "a home with a store of its own"


def test_the_alerts_of_a_host_that_is_gone_for_good_end_with_its_last_report(world: World) -> None:
    here, gone = Host("web-1", "/srv/one", has_others=True), Host("web-2", "/srv/one", has_others=True)
    world.worker = world.reporter("worker-0@web-1", "worker", host=here, silences=Silences(timer=lambda: world.passed_s))
    world.report("worker-0@web-2", Condition("disk@web-2", "failed", "full"), kind="worker", host=gone)
    platform_alerts.settle(world.metadata, [Condition("disk@web-2", "failed", "full")], actor="housekeeping", now_us=NOON_US)
    assert world.alerts() == {"disk@web-2": "critical"}
    silences.forget(world.metadata, world.clock.now_us() + 2 * DAY_US)
    assert world.alerts() == {}
    assert reason(world, "disk@web-2") == "no process of this host was heard of for a day"


def test_what_is_not_well_at_one_look_only_is_passed_over() -> None:
    lasting, well = Lasting(), Condition("worker", "well")
    ill = Condition("worker", "failed", "no worker is heard of")
    assert [list(lasting.of([each])) for each in (ill, well, ill, ill, well)] == [[], [well], [], [ill], [well]]


def test_a_source_that_cannot_tell_is_told_of_and_ends_no_alert() -> None:
    def broken() -> list[Condition]:
        raise OSError("unreadable")

    sources = {
        "a": platform_alerts.ConditionSource(lambda: [Condition("child:a", "degraded", "it died")], ("child",)),
        "b": platform_alerts.ConditionSource(broken, ("model",)),
        "c": platform_alerts.ConditionSource(lambda: None, ("record",)),
    }
    found = platform_alerts.collected(sources)
    assert found.whole == {"child"}, "neither of what could not be looked at, nor of what was not looked at yet"
    assert [each.name for each in found.conditions if each.status != "well"] == ["child:a", "conditions:b"]


def test_the_memory_of_a_process_is_counted_in_bytes() -> None:
    assert 1_000_000 < resident_bytes() < 100_000_000_000
