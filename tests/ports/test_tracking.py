"""Every tracking store keeps the law of the port, in the database of its metadata."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.tracking import MemoryTracking
from rota.backends.sql import search as sql_search
from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.tracking import SqlTracking
from rota.ports.tracking import Tracking
from rota.testing.tracking import Stores, TrackingContract


class TestMemoryTracking(TrackingContract):
    @pytest.fixture
    def stores(self) -> Stores:
        metadata = MemoryMetadata()
        return MemoryTracking(metadata), metadata


class SqlTrackingContract(TrackingContract):
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def stores(self, url: str) -> Iterator[Stores]:
        metadata = SqlMetadata(url)
        yield SqlTracking(metadata.engine), metadata
        metadata.close()

    @pytest.fixture
    def reopened(self, stores: Stores, url: str) -> Iterator[Callable[[], Tracking]]:
        engine = open_engine(url)
        yield lambda: SqlTracking(engine)
        engine.dispose()


class TestSqliteTracking(SqlTrackingContract):
    @pytest.fixture
    def url(self, sqlite_store: Path) -> str:
        return f"sqlite:///{sqlite_store}"


class TestPostgresTracking(SqlTrackingContract):
    @pytest.fixture
    def url(self, postgres_store: str) -> str:
        return postgres_store


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_search_without_rare_values_finds_the_same(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A little store searched as a large one is, where every condition holds for many rows."""
    monkeypatch.setattr(sql_search, "RARE", -1)
    opened = open_engine(tmp_path / "metadata.db" if engine == "sqlite" else request.getfixturevalue("postgres_store"))
    TrackingContract().test_any_search_finds_what_going_through_all_runs_finds(SqlTracking(opened))
    opened.dispose()
