"""Two hosts on one PostgreSQL: each tells of its own disk, threads and journals, and neither ends nor hides what the other tells."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import psycopg
import pytest

from rota import wiring
from rota.errors import InvalidInput
from rota.manage.signals import free_space, prediction_log
from rota.manage.signals.alerts import every_open_alert
from rota.ports.metadata import Batch
from rota.records.condition import ProcessReport
from rota.records.release import Endpoint, Release, Route, Serving
from rota.records.signal import Prediction
from rota.settings import Settings
from rota.supervisor.troubles import Troubles
from rota.supervisor.worker_threads import _WorkerProcess

Hosts = tuple[_WorkerProcess, _WorkerProcess]


@pytest.fixture
def database(postgres_url: str) -> str:
    """A database of this test's own."""
    name = f"hosts_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{postgres_url.rpartition('/')[0]}/{name}"


@pytest.fixture
def worker(database: str, tmp_path: Path) -> Iterator[Callable[..., _WorkerProcess]]:
    """Makes the worker of a home on the shared store."""
    opened: list[wiring.Platform] = []

    def make(home: str, host_name: str) -> _WorkerProcess:
        settings = Settings(home=tmp_path / home, metadata_url=database, host_name=host_name, housekeeping_s=3_600.0)
        opened.append(wiring.open_platform(settings))
        return _WorkerProcess(opened[-1], "worker-0", threading.Event())

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def hosts(worker: Callable[..., _WorkerProcess]) -> Hosts:
    return worker("one", "web-1"), worker("two", "web-2")


def look(worker: _WorkerProcess) -> dict[str, str]:
    """What is alerted of after this worker looked at everything."""
    worker.platform.housekeeping._vacuumed_us = 0
    worker.platform.housekeeping.run()
    worker._report()
    return {alert.subject: alert.severity for alert in every_open_alert(worker.platform.repositories.metadata)}


def damage_journal(worker: _WorkerProcess) -> Path:
    """A flipped byte in a segment of the home's journal; returns where the segment is set apart."""
    journal, home = worker.platform.repositories.journal, worker.platform.settings.home
    prediction_log.append(journal, "delay", [Prediction("p1", "delay", 1, "delay", 1, "stable", 1, "u", {}, {}, 0.5, 1)])
    journal.close()
    (path,) = (home / "log" / "predictions" / "delay").iterdir()
    content = bytearray(path.read_bytes())
    content[-2] ^= 0xFF
    path.write_bytes(content)
    return home / "log" / "damaged"


def test_processes_of_the_same_name_have_a_report_each(hosts: Hosts) -> None:
    for each in hosts:
        each._report()
    metadata = hosts[0].platform.repositories.metadata
    reports = {report.process: report for report in metadata.find(ProcessReport)}
    assert {name: report.host for name, report in reports.items()} == {"worker-0@web-1": "web-1", "worker-0@web-2": "web-2"}
    assert {report.home for report in reports.values()} == {each.platform.host.home for each in hosts}
    assert [each.worker.name for each in hosts] == ["worker-0@web-1", "worker-0@web-2"], "the holder of a lease is one process"


def test_neither_settles_nor_merges_what_the_other_tells_of_its_own_machine(hosts: Hosts) -> None:
    one, two = hosts
    troubles = Troubles()
    troubles.seen("child:serve-0", "serve-0 was killed again and again", status="failed")
    troubles.write(one.platform.settings.home)
    apart = damage_journal(one)
    of_one = {"child:serve-0@web-1": "critical", "journal damage:predictions/delay@web-1": "warning"}
    assert look(one) == of_one
    assert look(two) == of_one, "it is well on the other host, and still not on the first"
    damage_journal(two)
    both = of_one | {"journal damage:predictions/delay@web-2": "warning"}
    assert look(two) == both
    assert look(one) == both
    troubles.over("child:serve-0")
    troubles.write(one.platform.settings.home)
    for file in apart.rglob("*.damaged"):
        file.unlink()
    assert look(two) == both, "the first host has not looked yet"
    assert look(one) == {"journal damage:predictions/delay@web-2": "warning"}


def test_each_has_a_disk_of_its_own(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = hosts
    monkeypatch.setattr(free_space, "LOW_BYTES", 10**18)
    assert look(one) == {"disk@web-1": "critical"}
    monkeypatch.undo()
    assert look(two) == {"disk@web-1": "critical"}
    assert look(one) == {}


def test_what_both_share_is_well_when_both_find_it_so(hosts: Hosts) -> None:
    one, two = hosts
    for each in hosts:
        each.platform.repositories.tables.append("sources/sales", pl.DataFrame({"id": [1, 2]}))
    (part,) = (one.platform.settings.home / "tables" / "sources" / "sales").glob("*.parquet")
    whole = part.read_bytes()
    os.truncate(part, len(whole) // 2)
    assert look(one) == {"table:sources/sales": "critical"}
    assert look(two) == {"table:sources/sales": "critical"}, "the other host reads it, the first one does not"
    part.write_bytes(whole)
    assert look(one) == {}


def test_a_release_that_one_host_refuses_is_told_of_although_the_other_serves_it(hosts: Hosts) -> None:
    one, two = hosts
    metadata = one.platform.repositories.metadata
    batch = Batch()
    batch.put(Endpoint("delay", "flights"))
    batch.put(Release("delay", 1, (Route("flights", 1, "0" * 64, "stable", 100),), "", 0))
    batch.put(Serving("delay", "serve-0@web-1", 0, 1, "revision 1: its bundle is damaged"))
    batch.put(Serving("delay", "serve-0@web-2", 1, 1, ""))
    metadata.commit(batch)
    assert look(one) == {"release:delay": "critical"}
    assert look(two) == {"release:delay": "critical"}
    batch = Batch()
    batch.put(Serving("delay", "serve-0@web-1", 1, 2, ""))
    metadata.commit(batch)
    assert look(one) == {}


def test_two_homes_that_take_one_name_are_told_of(worker: Callable[..., _WorkerProcess]) -> None:
    one, two = worker("one", "web"), worker("two", "web")
    one._report()
    two._report()
    metadata = one.platform.repositories.metadata
    assert {alert.subject for alert in every_open_alert(metadata)} == {"host name@web"}


@pytest.mark.parametrize("name", ["web 1", "web@1", "web:1"])
def test_a_name_that_cannot_be_part_of_others_is_refused(tmp_path: Path, name: str) -> None:
    platform = wiring.Platform(Settings(home=tmp_path, host_name=name), None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="cannot name a host"):
        _ = platform.host
