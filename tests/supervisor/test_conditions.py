"""What is not well is an alert of the platform until it is mended: each part with a fault of its own, through what workers really do."""

import logging
import os
import threading
from collections.abc import Iterator

import msgspec
import polars as pl
import pytest

from rota import wiring
from rota.durable import worker as durable_worker
from rota.durable.worker import RenewedLease
from rota.errors import Unavailable
from rota.manage.signals import free_space, platform_readiness, prediction_log
from rota.manage.signals.alerts import every_open_alert
from rota.ports.metadata import Batch
from rota.records.condition import Condition, ProcessReport
from rota.records.release import Endpoint, OutOfService, Release, Route, Serving
from rota.records.run import Lease, Run
from rota.records.signal import Prediction
from rota.settings import Settings
from rota.supervisor.troubles import Troubles
from rota.supervisor.worker_threads import _WorkerProcess
from rota.wiring import Platform


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    with wiring.opened(Settings(home=tmp_path / "home", housekeeping_s=3_600.0)) as opened:
        yield opened


@pytest.fixture
def worker(platform) -> _WorkerProcess:
    return _WorkerProcess(platform, "worker-0", threading.Event())


def alerts(worker: _WorkerProcess) -> dict[str, str]:
    """What is alerted of after a worker looked at everything."""
    worker.platform.housekeeping._vacuumed_us = 0
    worker.platform.housekeeping.run()
    worker._report()
    return {alert.subject: alert.severity for alert in every_open_alert(worker.platform.repositories.metadata)}


def aged(platform: Platform, process: str, *, seconds: float) -> None:
    """As if the process had reported so much earlier."""
    report = platform.repositories.metadata.get(ProcessReport, process)
    assert report is not None
    batch = Batch()
    batch.put(msgspec.structs.replace(report, at_us=report.at_us - round(seconds * 1e6)))
    platform.repositories.metadata.commit(batch)


def test_a_sound_home_has_no_alert(worker):
    assert alerts(worker) == {}
    assert {"conditions:supervisor", "conditions:models", "conditions:loop", "conditions:pipelines"} <= {each.name for each in worker.conditions()}


def test_what_the_supervisor_wrote_is_alerted_until_it_is_over_or_another_supervisor_is_up(platform, worker):
    troubles = Troubles()
    troubles.seen("child:server", "server was killed by SIGKILL again and again", status="failed")
    troubles.seen("child:serve-0", "serve-0 was killed")
    troubles.write(platform.settings.home)
    assert alerts(worker) == {"child:server": "critical", "child:serve-0": "warning"}
    troubles.over("child:server")
    troubles.write(platform.settings.home)
    assert alerts(worker) == {"child:serve-0": "warning"}
    (platform.settings.home / "run" / "supervisor.json").write_bytes(b"{")
    assert alerts(worker) == {"child:serve-0": "warning", "conditions:supervisor": "warning"}, "who cannot look does not say that it is over"
    Troubles().write(platform.settings.home)
    assert alerts(worker) == {}


def test_a_version_that_ended_processes_is_alerted_until_no_release_names_it(platform, worker):
    r, now_us = platform.repositories, platform.access.wall.now_us()
    batch = Batch()
    batch.put(Endpoint("delay", "delay"))
    batch.put(Release("delay", 1, (Route("delay", 2, "b" * 64, "stable", 100),), "", now_us - 2))
    batch.put(OutOfService("b" * 64, "delay", 2, "delay", "serve-0", "Segmentation fault", now_us - 1))
    r.metadata.commit(batch)
    assert alerts(worker) == {"model:delay@2": "critical"}
    batch = Batch()
    batch.put(Release("delay", 2, (Route("delay", 1, "a" * 64, "stable", 100),), "", now_us))
    r.metadata.commit(batch)
    assert alerts(worker) == {}


def test_a_release_that_a_process_refuses_is_alerted_until_it_is_served_or_replaced(platform, worker):
    r = platform.repositories

    def answered(*answers: Serving, revision: int = 1) -> dict[str, str]:
        batch = Batch()
        batch.put(Endpoint("delay", "delay"))
        batch.put(Release("delay", revision, (Route("delay", revision, "b" * 64, "stable", 100),), "", 1))
        for each in answers:
            batch.put(each)
        r.metadata.commit(batch)
        return alerts(worker)

    assert answered(Serving("delay", "serve-0", 1, 1)) == {}
    assert answered(Serving("delay", "serve-7", 0, 1, "revision 1: damaged")) == {}, "a process that is no more"
    assert answered(Serving("delay", "serve-0", 0, 1, "revision 1 waits: orders has no history online")) == {}, "which the online store tells"
    assert answered(Serving("delay", "serve-0", 0, 1, "revision 1: blob is damaged")) == {"release:delay": "critical"}
    (alert,) = every_open_alert(r.metadata)
    assert "serve-0 serve nothing instead (revision 1: blob is damaged)" in alert.message
    assert answered(Serving("delay", "serve-0", 1, 1)) == {}
    assert answered(Serving("delay", "serve-0", 1, 1, "revision 2: blob is damaged"), revision=2) == {"release:delay": "warning"}
    assert answered(revision=3) == {}, "another one was delivered"


def test_blobs_that_cannot_be_written_are_alerted_until_they_can(platform, worker, monkeypatch):
    monkeypatch.setattr(platform_readiness, "BLOBS_AGAIN_S", 0.0)
    place = platform.settings.home / "blobs"
    place.rename(place.with_name("blobs.moved"))
    assert alerts(worker) == {"blobs": "critical"}
    place.with_name("blobs.moved").rename(place)
    assert alerts(worker) == {}


def test_a_damaged_journal_and_a_damaged_table_are_alerted_until_they_are_mended(platform, worker):
    journal, home = platform.repositories.journal, platform.settings.home
    prediction_log.append(journal, "delay", [Prediction("p1", "delay", 1, "delay", 1, "stable", 1, "u", {}, {}, 0.5, 1)])
    journal.close()
    (path,) = (home / "log" / "predictions" / "delay").iterdir()
    content = bytearray(path.read_bytes())
    content[-2] ^= 0xFF
    path.write_bytes(content)
    platform.repositories.tables.append("sources/sales", pl.DataFrame({"id": [1, 2]}))
    (part,) = (home / "tables" / "sources" / "sales").glob("*.parquet")
    whole = part.read_bytes()
    os.truncate(part, len(whole) // 2)
    found = alerts(worker)
    assert found.keys() == {"journal damage:predictions/delay", "table:sources/sales"}, found
    for apart in (home / "log" / "damaged").rglob("*.damaged"):
        apart.unlink()
    part.write_bytes(whole)
    assert alerts(worker) == {}


def test_an_alert_becomes_critical_when_the_disk_does(platform, worker, monkeypatch):
    monkeypatch.setattr(free_space, "LOW_BYTES", 10**18)
    assert alerts(worker) == {"disk": "critical"}
    free = free_space.shutil.disk_usage(platform.settings.home).free
    monkeypatch.setattr(free_space, "LOW_BYTES", int(free * 1.5))
    assert alerts(worker) == {"disk": "warning"}
    monkeypatch.setattr(free_space, "LOW_BYTES", 10**18)
    assert alerts(worker) == {"disk": "critical"}
    raised = [event for event in platform.repositories.metadata.events(0) if event.kind == "alert.raised"]
    assert len(raised) == 2, "it is told again when it is worse, not when it is better"
    monkeypatch.undo()
    assert alerts(worker) == {}


def test_two_workers_do_not_take_each_others_alerts_away(platform, worker):
    other = _WorkerProcess(platform, "worker-1", threading.Event())
    object.__setattr__(other._reporter, "conditions", lambda: [Condition("thread:loop", "failed", "the loop ended")])
    other._report()
    assert alerts(worker) == {"thread:loop": "critical"}
    aged(platform, "worker-1", seconds=31)
    assert alerts(worker) == {"thread:loop": "critical"}, "that it is silent does not mend it"
    other._reporter.leave()
    assert alerts(worker) == {}, "worker-1 has ended in order"


def test_a_report_that_goes_through_after_an_outage_raises_no_alert_about_itself(worker, monkeypatch):
    (report,) = [thread for thread in worker.threads if thread.name == "report"]

    def away() -> bool:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(report, "work", away)
    monkeypatch.setattr(report, "rest", worker.stop.set)
    monkeypatch.setattr(worker.stop, "wait", lambda _: worker.stop.set())
    report.run()
    assert report.condition().status == "degraded"
    assert alerts(worker) == {}


def test_an_exchanged_online_store_is_looked_at_before_housekeeping_is_due(platform, worker):
    upkeep = platform.housekeeping.upkeep
    worker._keep_tidy()
    assert not upkeep.store_changed()
    for file in (platform.settings.home / "online").rglob("*.mdb"):
        file.unlink()
    assert upkeep.store_changed()
    worker._keep_tidy()
    assert not upkeep.store_changed()


class AwayNowAndThen:
    """Runs that answer reading always, and renewing as it is told."""

    def __init__(self, answers: list[bool], done: threading.Event) -> None:
        self.answers, self.done = answers, done

    def renew(self, lease: Lease, *, lease_s: float) -> None:
        if not self.answers:
            self.done.set()
            return
        if not self.answers.pop(0):
            raise Unavailable("the disk is full")

    def get(self, run_id: str) -> Run:
        return LEASE.run


LEASE = Lease(msgspec.structs.replace(Run("r0", "train", "m", {}, 0, "test"), status="running", fence=3), "worker-0", 3)


def test_a_lease_that_is_not_renewed_is_one_line_an_outage(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "rota.durable")
    monkeypatch.setattr(durable_worker, "LOOK_S", 0.001)
    done = threading.Event()
    runs = AwayNowAndThen([False] * 5 + [True] + [False] * 3 + [True], done)
    with RenewedLease(runs, LEASE, lease_s=0.02, stopping=threading.Event()).kept():
        assert done.wait(60)
    assert [record.action for record in caplog.records] == ["renew_failed", "renewed_again"] * 2
    assert [record.tries for record in caplog.records if record.action == "renewed_again"] == [5, 3]
