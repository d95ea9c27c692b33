"""A worker at rest asks for no runs, and gives freed memory back; what becomes due it meets at the next look."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rota import wiring
from rota.records.run import Run
from rota.records.time import SECOND_US
from rota.settings import Settings
from rota.supervisor import freed_memory, reporting
from rota.supervisor.reporting import ReportingThread
from rota.supervisor.worker_threads import _WorkerProcess
from rota.wiring import Platform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with wiring.opened(Settings(home=tmp_path / "home", clock="replay")) as opened:
        yield opened


@pytest.fixture
def worker(platform: Platform) -> _WorkerProcess:
    return _WorkerProcess(platform, "worker-0", threading.Event())


@pytest.fixture
def claims(worker: _WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """How often the queue was asked."""
    asked = list[object]()
    claim = type(worker.worker).claim

    def counted(self, workflows=None):
        asked.append(workflows)
        return claim(self, workflows)

    monkeypatch.setattr(type(worker.worker), "claim", counted)
    return asked


def submit(platform: Platform, name: str) -> None:
    platform.repositories.runs.submit(Run(name, "monitor", name, {}, platform.repositories.clock.now_us(), "test"))


def test_without_an_open_run_the_queue_is_asked_once(worker: _WorkerProcess, claims: list[object]) -> None:
    assert [worker._claim() for _ in range(50)] == [False] * 50
    assert len(claims) == 1


def test_a_run_that_somebody_submits_is_taken_and_the_thread_that_takes_it_is_woken(
    platform: Platform, worker: _WorkerProcess, claims: list[object]
) -> None:
    worker._react()
    assert not worker._claim()
    worker._runs.clear()
    worker._react()
    assert not worker._runs.is_set()
    submit(platform, "r1")
    worker._react()
    assert worker._runs.is_set()
    assert worker._claim()
    assert not worker.lanes[1].is_idle
    assert not worker._claim()
    assert not worker._claim()
    assert len(claims) == 4, "while a run is being executed the queue is asked"


def test_a_parked_run_is_asked_for_when_its_time_has_come(platform: Platform, worker: _WorkerProcess, claims: list[object]) -> None:
    r = platform.repositories
    now_us = r.clock.now_us()
    submit(platform, "r1")
    lease = r.runs.claim("other", now_us, lease_s=60)
    r.runs.park(lease, wake_us=now_us + 60 * SECOND_US, now_us=now_us)
    assert [worker._claim() for _ in range(50)] == [False] * 50
    assert len(claims) == 1
    r.clock.advance(now_us + 60 * SECOND_US)
    worker._runs.clear()
    worker._react()
    assert worker._runs.is_set()
    assert worker._claim()


def test_a_run_of_another_worker_is_asked_for_until_it_is_over(platform: Platform, worker: _WorkerProcess, claims: list[object]) -> None:
    submit(platform, "r1")
    platform.repositories.runs.claim("other", platform.repositories.clock.now_us(), lease_s=60)
    assert [worker._claim() for _ in range(5)] == [False] * 5
    assert len(claims) == 5, "its lease may end at any time"


def test_what_was_freed_between_blocks_that_are_used_goes_back() -> None:
    program = """
import ctypes
from rota.manage.signals.process_reports import resident_bytes
from rota.supervisor import freed_memory
freed_memory.keep_few_arenas()
c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [c.malloc(100_000) for _ in range(1_000)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks[:-1]:
    c.free(block)
kept = resident_bytes()
freed_memory.give_back()
print(kept - resident_bytes())
"""
    freed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert float(freed) > 90_000_000


@pytest.mark.parametrize(("begin", "most"), [("freed_memory.keep_few_arenas()", 2), ("", 64)])
def test_threads_of_a_process_share_a_few_arenas(begin: str, most: int) -> None:
    program = f"""
import ctypes, threading
from rota.supervisor import freed_memory
{begin}
c, met = ctypes.CDLL(None), threading.Barrier(17)
def use():
    for _ in range(100):
        c.malloc(2_000)
    met.wait(60)
    met.wait(60)
for _ in range(16):
    threading.Thread(target=use, daemon=True).start()
met.wait(60)
starts = [int(line.split("-")[0], 16) for line in open("/proc/self/maps") if " rw-p 00000000 00:00 0" in line]
print(1 + sum(start % 2**26 == 0 for start in starts))
met.wait(60)
"""
    arenas = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert 1 <= arenas <= most
    assert begin or arenas > 2, "otherwise there are more"


def test_each_report_gives_freed_memory_back(worker: _WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[int]()
    monkeypatch.setattr(freed_memory, "give_back", lambda: given.append(1))
    worker._report()
    assert len(given) == 1
    ReportingThread(worker._reporter)._report()
    assert reporting.freed_memory is freed_memory
    assert len(given) == 2
