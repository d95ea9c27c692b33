"""Supervised threads: whatever one raises, it goes on; its condition and one line of log for each change tell."""

import logging
import threading

import pytest

from rota.durable.pacing import Pace
from rota.errors import Corrupt, Unavailable
from rota.supervisor import supervised_threads
from rota.supervisor.supervised_threads import SupervisedThread


class PanicException(BaseException):
    """As PyO3 raises a Rust panic: past `except Exception`."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_threads, "BACKOFF_S", (0.0, 0.0))


def ran(*outcomes: BaseException | None) -> tuple[SupervisedThread, list[tuple[str, str]]]:
    """The thread after it met the outcomes one by one, and its condition before each and at the end."""
    stop, left, seen = threading.Event(), list(outcomes), []

    def work() -> bool:
        seen.append((thread.condition().status, thread.condition().message))
        if not left:
            stop.set()
            return False
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome
        return True

    thread = SupervisedThread("loop", work, lambda: None, stop)
    started = thread.start()
    started.join(60)
    assert not started.is_alive()
    return thread, seen


@pytest.mark.parametrize("error", [ValueError("x"), Corrupt("x"), PanicException("x"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_a_thread_goes_on_after_any_exception_and_its_condition_tells(error: BaseException) -> None:
    thread, seen = ran(None, error, error, None)
    assert [status for status, _ in seen] == ["well", "well", "failed", "failed", "well"]
    assert type(error).__name__ in seen[2][1]
    assert thread.condition().name == "thread:loop"
    assert thread.condition().status == "well"


def test_an_outage_is_one_line_when_it_begins_and_one_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="rota.supervisor")
    _, seen = ran(*[Unavailable("no answer")] * 1_000, None)
    assert {status for status, _ in seen[1:-1]} == {"degraded"}
    assert [(record.levelname, record.action) for record in caplog.records] == [("WARNING", "unavailable"), ("INFO", "thread_well")]
    assert "after 1000 failures" in caplog.records[-1].getMessage()
    assert caplog.records[0].exc_info is None


def test_a_failure_that_becomes_an_outage_is_told_of() -> None:
    _, seen = ran(ValueError("x"), Unavailable("no answer"))
    assert [status for status, _ in seen] == ["well", "failed", "degraded"]


def test_a_thread_that_does_not_come_back_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_threads, "STUCK_S", 0.0)
    _, seen = ran(None)
    assert "one piece of work" in seen[0][1]


def test_an_idle_thread_looks_ever_less_often_and_a_bell_makes_it_look_at_once() -> None:
    bell, waits = threading.Event(), []

    class Bell:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return bell.is_set()

        def clear(self) -> None:
            bell.clear()

    pace = Pace(0.1, Bell(), timer=lambda: sum(waits))  # type: ignore[arg-type]
    for _ in range(60):
        pace.wait()
    assert waits[0] == 0.1
    assert waits[-1] == 1.0
    bell.set()
    pace.wait()
    pace.wait()
    assert waits[-1] == 0.1
    assert sum(waits[:14]) < 15
