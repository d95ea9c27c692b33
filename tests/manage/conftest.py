"""A platform in memory, for whatever works on all repositories."""

import pytest

from rota.backends.memory_blobs import MemoryBlobs
from rota.backends.memory_journal import MemoryJournal
from rota.backends.memory_metadata import MemoryMetadata
from rota.backends.memory_online import MemoryOnline
from rota.backends.memory_runs import MemoryRuns
from rota.backends.memory_tables import MemoryTables
from rota.backends.memory_tracking import MemoryTracking
from rota.manage.repositories import Repositories
from rota.testing import FakeClock
from rota.testing.story import NOON_US


@pytest.fixture
def repositories() -> Repositories:
    metadata = MemoryMetadata()
    return Repositories(
        metadata,
        MemoryRuns(metadata),
        MemoryBlobs(),
        MemoryTables(),
        MemoryOnline(),
        MemoryJournal(),
        FakeClock(NOON_US),
        MemoryTracking(metadata),
    )
