"""Real processes on one store, a SQLite file or a PostgreSQL database: killed, frozen, and writing at once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.errors import LostLease
from rota.ports.metadata import Batch
from rota.records.model import Alias
from rota.testing.runs import claim, queued, step

pytestmark = pytest.mark.slow

IMPORTS = """
import os, sys, time
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.errors import LostLease
from rota.ports.metadata import Batch
from rota.records.model import Alias
from rota.records.run import Run, Step
from rota.records.signal import Event


def tell(text):
    os.write(1, f"{text}\\n".encode())

def batch_of(number):
    batch = Batch()
    batch.create(Alias("flights", f"{name}-{number}", number, 0))
    batch.event(Event("commit.pushed", f"{name}-{number}", number))
    batch.link(f"{name}-{number}", ["cause"], number)
    batch.audit(name, "promote", f"{name}-{number}", number)
    return batch

tell("ready")
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
metadata = SqlMetadata(url)
runs = SqlRuns(metadata.engine)
"""

COMMIT = """
for number in range(count):
    metadata.commit(batch_of(number))
    tell(number)
"""

WORK_STEPS = """
while lease := runs.claim(name, 0, lease_s=0.3):
    done = {step.name for step in runs.journal(lease.run.id)}
    for position in range(count):
        if f"s{position}" not in done:
            batch = Batch()
            batch.create(Alias(lease.run.id, f"s{position}", position, 0))
            runs.record(lease, Step(lease.run.id, f"s{position}", position, None, 0, 0, name, lease.fence), batch)
            tell(f"{lease.run.id} s{position}")
    runs.finish(lease, "succeeded", ended_us=1)
    tell(f"{lease.run.id} finished")
"""

CLAIM_ALL = """
tell("open")
sys.stdin.read(1)
while lease := runs.claim(name, 0, lease_s=60):
    tell(lease.run.id)
    runs.finish(lease, "succeeded", ended_us=1)
"""

LOSE_LEASE = """
lease = runs.claim(name, 0, lease_s=0.5)
tell("claimed")
sys.stdin.read(1)
def attempt(what, act):
    try:
        act()
    except LostLease:
        tell(f"{what} lost")
    else:
        tell(f"{what} WRITTEN")
attempt("record", lambda: runs.record(lease, Step("r1", "late", 0, None, 0, 0, name, lease.fence), batch_of(1)))
attempt("renew", lambda: runs.renew(lease, lease_s=60))
attempt("park", lambda: runs.park(lease, wake_us=0))
attempt("finish", lambda: runs.finish(lease, "failed", ended_us=1, batch=batch_of(2)))
"""

Start = Callable[..., "subprocess.Popen[str]"]
Opened = Callable[[], SqlMetadata]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that is not there yet."""
    return f"sqlite:///{tmp_path}/metadata.db" if request.param == "sqlite" else request.getfixturevalue("postgres_empty")()


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    children: list[subprocess.Popen[str]] = []

    def begin(script: str, name: str, count: int = 1) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", IMPORTS + script, url, name, str(count)]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert said(children[-1]) == "ready"
        return children[-1]

    yield begin
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture
def opened(url: str) -> Iterator[Opened]:
    """Opens the store; closed at the end of the test."""
    handles: list[SqlMetadata] = []

    def open_store() -> SqlMetadata:
        handles.append(SqlMetadata(url))
        return handles[-1]

    yield open_store
    for handle in handles:
        handle.close()


def said(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def lines_until_killed(child: "subprocess.Popen[str]", after: int) -> list[str]:
    """Kill -9 the child once it has said `after` lines, at no particular moment of its work; all complete lines it said."""
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(after)]
    time.sleep(random.uniform(0, 0.01))
    child.kill()
    lines += child.stdout.readlines()
    return [line.strip() for line in lines if line.endswith("\n")]


@pytest.mark.parametrize("after", [1, pytest.param(7, marks=pytest.mark.slow), 40])
def test_every_commit_acknowledged_before_a_kill_is_there(opened: Opened, start: Start, after: int) -> None:
    acknowledged = [int(line) for line in lines_until_killed(start(COMMIT, "w", 100_000), after)]
    metadata = opened()
    stored = sorted(alias.number for alias in metadata.find(Alias))
    assert len(acknowledged) >= after
    assert stored[: len(acknowledged)] == acknowledged
    assert len(stored) - len(acknowledged) in (0, 1)  # one more may have been committed and not yet acknowledged
    assert [event.subject for event in metadata.events(0, limit=200_000)] == [f"w-{number}" for number in stored]
    assert sorted(edge.at_us for edge in metadata.edges(["cause"], "effects")) == stored
    assert [entry.at_us for entry in metadata.audit(limit=200_000)] == stored


def test_a_store_survives_kills_while_it_is_created(opened: Opened, start: Start) -> None:
    for moment in (0.0, 0.02, 0.04, 0.08):
        child = start("tell('open')", "w")
        time.sleep(moment)
        child.kill()
        child.wait()
    metadata = opened()
    metadata.commit(Batch(puts=[]))
    assert metadata.find(Alias) == []


def test_eight_processes_that_write_at_once_lose_nothing(opened: Opened, start: Start) -> None:
    children = [start(COMMIT, f"w{number}", 40) for number in range(8)]  # they also race to create the file
    assert [child.wait(300) for child in children] == [0] * 8
    metadata = opened()
    assert len(metadata.find(Alias)) == 320
    assert len(metadata.edges(["cause"], "effects")) == 320
    entries = metadata.audit()
    assert [entry.position for entry in entries] == list(range(1, 321))
    assert [entry.previous for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]
    by_writer = [event.subject.split("-") for event in metadata.events(0)]
    for number in range(8):
        assert [int(order) for writer, order in by_writer if writer == f"w{number}"] == list(range(40))


def test_two_processes_that_claim_three_hundred_runs_never_share_one(opened: Opened, start: Start) -> None:
    runs = SqlRuns(opened().engine)
    for number in range(300):
        runs.submit(queued(f"r{number}", created_us=number))
    children = [start(CLAIM_ALL, name) for name in ("w1", "w2")]
    for child in children:
        assert said(child) == "open"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("g")
        child.stdin.flush()
    claimed = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert all(len(mine) > 0 for mine in claimed)
    assert sorted(claimed[0] + claimed[1]) == sorted(f"r{number}" for number in range(300))
    assert {run.status for run in runs.find()} == {"succeeded"}
    assert len({run.fence for run in runs.find()}) == 300


@pytest.mark.slow
def test_a_run_killed_again_and_again_does_each_step_once(opened: Opened, start: Start) -> None:
    runs = SqlRuns(opened().engine)
    runs.submit(queued("r1"))
    done: list[str] = []
    for worker in range(3):
        done += lines_until_killed(start(WORK_STEPS, f"w{worker}", 400), 12)
        wait_for_lease_to_end(runs)
    child = start(WORK_STEPS, "last", 60)
    done += child.communicate(timeout=300)[0].splitlines()
    metadata = opened()
    journal = runs.journal("r1")
    assert len(set(done)) == len(done)  # no step was done twice
    assert {f"r1 {step.name}" for step in journal} >= set(done) - {"r1 finished"}
    assert sorted(alias.number for alias in metadata.find(Alias)) == [step.position for step in journal]  # steps and their batches are one
    run = runs.get("r1")
    assert (run.status, run.attempts, run.worker) == ("succeeded", 4, "last")


def wait_for_lease_to_end(runs: SqlRuns) -> None:
    """Until the run could be claimed, without claiming it: a real lease on a real clock."""
    time.sleep(0.35)
    assert runs.get("r1").status == "running"


def test_a_frozen_worker_whose_run_was_taken_over_writes_nothing(opened: Opened, start: Start) -> None:
    metadata = opened()
    runs = SqlRuns(metadata.engine)
    runs.submit(queued("r1"))
    frozen = start(LOSE_LEASE, "frozen")
    assert said(frozen) == "claimed"
    os.kill(frozen.pid, signal.SIGSTOP)
    time.sleep(0.55)
    lease = claim(runs, "taker", lease_s=60)
    assert (lease.run.worker, lease.run.attempts) == ("taker", 2)
    runs.record(lease, step(lease, "mine"), Batch())
    os.kill(frozen.pid, signal.SIGCONT)
    answers, _ = frozen.communicate("g", timeout=300)
    assert answers.split("\n")[:4] == ["record lost", "renew lost", "park lost", "finish lost"]
    assert [done.name for done in runs.journal("r1")] == ["mine"]
    assert metadata.find(Alias) == []
    runs.finish(lease, "succeeded", ended_us=5)
    with pytest.raises(LostLease):
        runs.renew(lease, lease_s=5)


def test_a_child_forked_from_a_process_with_open_connections_opens_its_own(start: Start) -> None:
    script = """
metadata.commit(batch_of(0))
with metadata.engine.connect() as connection:
    before = connection.connection.dbapi_connection
child = os.fork()
metadata.commit(batch_of(1 if child else 2))
if child == 0:
    with metadata.engine.connect() as connection:
        os._exit(connection.connection.dbapi_connection is before)
assert os.waitpid(child, 0)[1] == 0
metadata.commit(batch_of(3))
tell(len(metadata.find(Alias)))
"""
    assert start(script, "w").communicate(timeout=300)[0] == "4\n"
