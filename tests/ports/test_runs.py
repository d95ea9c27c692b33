"""Every queue keeps the law of the port, and the SQL one polls without disturbing writers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.runs import MemoryRuns
from rota.backends.sql.engine import writing
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.ports.metadata import Batch, Metadata
from rota.ports.runs import Runs
from rota.testing import FakeSeconds
from rota.testing.runs import RunsContract, claim, queued, step


class TestMemoryRuns(RunsContract):
    @pytest.fixture
    def metadata(self) -> Metadata:
        return MemoryMetadata()

    @pytest.fixture
    def runs(self, metadata: MemoryMetadata, lease_clock: FakeSeconds, watch: FakeSeconds) -> Runs:
        return MemoryRuns(metadata, monotonic=lease_clock, watch=watch)


class TestSqlRuns(RunsContract):
    @pytest.fixture
    def metadata(self, sqlite_store: Path) -> Iterator[Metadata]:
        metadata = SqlMetadata(sqlite_store)
        yield metadata
        metadata.close()

    @pytest.fixture
    def runs(self, metadata: SqlMetadata, lease_clock: FakeSeconds, watch: FakeSeconds) -> Runs:
        return SqlRuns(metadata.engine, lease_clock=lease_clock, watch=watch)


class TestPostgresRuns(RunsContract):
    @pytest.fixture
    def metadata(self, postgres_store: str) -> Iterator[Metadata]:
        metadata = SqlMetadata(postgres_store)
        yield metadata
        metadata.close()

    @pytest.fixture
    def runs(self, metadata: SqlMetadata, lease_clock: FakeSeconds, watch: FakeSeconds) -> Runs:
        return SqlRuns(metadata.engine, lease_clock=lease_clock, watch=watch)


@pytest.fixture
def metadata(sqlite_store: Path) -> Iterator[SqlMetadata]:
    metadata = SqlMetadata(sqlite_store)
    yield metadata
    metadata.close()


def test_idle_polling_never_takes_the_write_lock(metadata: SqlMetadata) -> None:
    runs = SqlRuns(metadata.engine)
    runs.submit(queued("parked"))
    runs.park(claim(runs), wake_us=100)
    runs.submit(queued("busy"))
    claim(runs)
    statements: list[str] = []
    event.listen(metadata.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    assert runs.claim("w2", 99, lease_s=600) is None
    assert "BEGIN IMMEDIATE" not in statements
    assert [text for text in statements if text == "BEGIN"] == ["BEGIN"]
    with writing(metadata.engine):  # somebody else writes for long: polling answers all the same
        assert runs.claim("w2", 99, lease_s=600) is None


def test_a_probe_that_saw_a_run_which_another_worker_took_gives_none(metadata: SqlMetadata) -> None:
    runs, other = SqlRuns(metadata.engine), SqlRuns(metadata.engine)
    runs.submit(queued())
    taken = []

    def steal(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement == "BEGIN IMMEDIATE" and not taken:
            taken.append("started")
            taken.append(claim(other, "w2"))

    event.listen(metadata.engine, "before_cursor_execute", steal)
    assert runs.claim("w1", 0, lease_s=600) is None
    assert taken[1].worker == "w2"


def test_two_handles_share_one_queue(sqlite_store: Path, metadata: SqlMetadata) -> None:
    again = SqlMetadata(sqlite_store)
    here, there = SqlRuns(metadata.engine), SqlRuns(again.engine)
    here.submit(queued())
    lease = claim(there, "w2")
    assert here.claim("w1", 0, lease_s=600) is None
    there.record(lease, step(lease), Batch())
    assert here.journal("r1") == there.journal("r1") != []
    again.close()
