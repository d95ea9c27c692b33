"""A backup that failed, or was killed, is told of until another is complete."""

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.manage.signals import last_backup
from rota.ports.metadata import Batch
from rota.records.backup import Backup
from rota.testing.clock import FakeClock

NOW_US = 1_373_889_600_000_000


@pytest.fixture
def metadata() -> MemoryMetadata:
    return MemoryMetadata()


def add(metadata: MemoryMetadata, id: str, minutes_ago: int, state: str, **fields: object) -> None:
    batch = Batch()
    batch.put(Backup(id, "/var/backups", NOW_US - minutes_ago * 60_000_000, "anna", state, **fields))  # type: ignore[arg-type]
    metadata.commit(batch)


def found(metadata: MemoryMetadata) -> dict[str, str]:
    return {each.status: each.message for each in last_backup.conditions(metadata, FakeClock(NOW_US))}


def test_without_a_backup_there_is_nothing_to_tell(metadata: MemoryMetadata) -> None:
    assert found(metadata) == {}


def test_one_that_failed_is_told_of_with_its_error_until_the_next_is_complete(metadata: MemoryMetadata) -> None:
    add(metadata, "b1", 90, "complete")
    assert found(metadata) == {"well": ""}
    add(metadata, "b2", 60, "failed", error="no space left on device")
    message = found(metadata)["degraded"]
    assert "to /var/backups failed: no space left on device; make another with `rota backup make /var/backups`" in message
    add(metadata, "b3", 0, "running", needed_until_us=NOW_US + 60_000_000)
    assert "degraded" in found(metadata), "one that is being made is none yet"
    add(metadata, "b3", 0, "complete")
    assert found(metadata) == {"well": ""}


def test_one_that_was_killed_is_told_of_when_its_claim_is_over(metadata: MemoryMetadata) -> None:
    add(metadata, "b1", 60, "running", needed_until_us=NOW_US - 1)
    assert "it was killed" in found(metadata)["degraded"]
