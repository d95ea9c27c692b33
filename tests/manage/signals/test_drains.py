"""Drains: what is in its table already is not read again, and its files leave the disk as ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.repositories import Repositories
from rota.manage.signals import labels
from rota.manage.signals.drains import drain_all
from rota.records.signal import Label
from rota.testing.clock import FakeClock

TABLE = "labels/delay"


class ReadingJournal(SegmentJournal):
    """Counts how often a stream is read."""

    reads = 0

    def read(self, stream, after=None, *, max_bytes=16_000_000):
        self.reads += 1
        return super().read(stream, after, max_bytes=max_bytes)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SegmentJournal]:
    """The journal as the process has it that takes labels."""
    journal = SegmentJournal(tmp_path / "log")
    yield journal
    journal.close()


@pytest.fixture
def repositories(tmp_path: Path) -> Repositories:
    metadata = MemoryMetadata()
    journal = ReadingJournal(tmp_path / "log")
    stores = MemoryBlobs(), MemoryTables(), MemoryOnline(), journal
    return Repositories(metadata, MemoryRuns(metadata), *stores, FakeClock(), MemoryTracking(MemoryMetadata()))


def rows(repositories: Repositories) -> int:
    return repositories.tables.scan(TABLE).collect().height


def test_a_stream_is_read_when_something_is_new_in_it_and_not_otherwise(repositories: Repositories, writer: SegmentJournal) -> None:
    read = set[str]()
    labels.append(writer, "delay", [Label("p1", 1.0, 1)], 1)
    drain_all(repositories, read)
    drained = repositories.journal.reads
    for _ in range(10):
        drain_all(repositories, read)
    assert repositories.journal.reads == drained
    labels.append(writer, "delay", [Label("p2", 1.0, 2)], 2)
    drain_all(repositories, read)
    assert repositories.journal.reads > drained
    assert rows(repositories) == 2


def test_a_process_that_has_just_begun_reads_what_others_carried_for_it_may_be_damaged(repositories: Repositories, writer: SegmentJournal) -> None:
    labels.append(writer, "delay", [Label("p1", 1.0, 1)], 1)
    drain_all(repositories, set())
    before = repositories.journal.reads
    drain_all(repositories, set())
    assert repositories.journal.reads > before


def test_a_segment_that_nobody_writes_any_more_leaves_the_disk(repositories: Repositories, writer: SegmentJournal) -> None:
    read = set[str]()
    labels.append(writer, "delay", [Label("p1", 1.0, 1)], 1)
    drain_all(repositories, read)
    assert repositories.journal.segments(TABLE)
    writer.close()
    drain_all(repositories, read)
    assert not repositories.journal.segments(TABLE)
    assert rows(repositories) == 1
