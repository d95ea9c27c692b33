"""The report of a server process: on a thread of its own, said once when the store is away, and gone with the process."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import Unavailable
from rota.manage.signals.alerts import every_open_alert
from rota.manage.signals.hosts import Host
from rota.manage.signals.process_reports import Reporter
from rota.records.condition import Condition, ProcessReport
from rota.supervisor import supervised_threads
from rota.supervisor.reporting import ReportingThread
from rota.testing.clock import FakeClock


class AwayForAWhile:
    """A store that refuses everything while it is away, and holds callers as long as it is told to."""

    def __init__(self) -> None:
        self.there, self.tries = MemoryMetadata(), 0
        self.is_away, self.go_on = True, threading.Event()
        self.go_on.set()

    def __getattr__(self, name: str) -> Any:
        self.tries += 1
        self.go_on.wait(60)
        if self.is_away:
            raise Unavailable("the metadata store does not answer")
        return getattr(self.there, name)


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> AwayForAWhile:
    monkeypatch.setattr(supervised_threads, "BACKOFF_S", (0.001,))
    return AwayForAWhile()


def reporter(store: AwayForAWhile, *conditions: Condition) -> Reporter:
    host = Host("web-1", "/srv/rota")
    return Reporter(store, FakeClock(7), host, "serve-0", "prediction process", 7, lambda: conditions, lambda: {"ready": 1.0})  # type: ignore[arg-type]


def test_an_outage_is_one_line_and_what_is_reported_afterwards_goes_with_the_process(store: AwayForAWhile, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rota.supervisor")
    with ReportingThread(reporter(store), every_s=0.001):
        until(lambda: store.tries > 20, "it tries again")
        store.is_away = False
        until(lambda: store.there.find(ProcessReport), "the report is stored")
        (report,) = store.there.find(ProcessReport)
    assert (report.process, report.host, report.home, report.figures["ready"]) == ("serve-0", "web-1", "/srv/rota", 1)
    assert [record.action for record in caplog.records] == ["unavailable", "thread_well"]
    until(lambda: not store.there.find(ProcessReport), "it took its report with it")


def test_a_store_that_holds_the_reporter_holds_neither_the_start_nor_the_end_of_the_process(
    store: AwayForAWhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rota.supervisor.reporting.LEAVE_WITHIN_S", 0.01)
    store.go_on.clear()
    with ReportingThread(reporter(store)):
        until(lambda: store.tries, "it is held")
    assert not store.go_on.is_set(), "the block began and ended while it was held"
    store.go_on.set()


def test_a_control_plane_settles_what_it_finds_and_a_prediction_process_does_not(store: AwayForAWhile) -> None:
    store.is_away, silent = False, Condition("worker", "failed", "no worker is heard of")
    with ReportingThread(reporter(store, silent), every_s=0.001):
        until(lambda: store.there.find(ProcessReport), "it reports")
    assert every_open_alert(store.there) == []
    with ReportingThread(reporter(store, silent), settles=True, every_s=0.001):
        until(lambda: every_open_alert(store.there), "it raises the alert")
