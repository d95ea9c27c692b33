"""A platform in memory, for whatever works on all repositories."""

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.manage.repositories import Repositories
from rota.testing import FakeClock
from rota.testing.story import NOON_US


@pytest.fixture(autouse=True)
def _stores_closed(stores_closed: None) -> None:
    """Tests of these folders open stores without a platform that closes them."""


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
