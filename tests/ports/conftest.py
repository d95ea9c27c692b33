"""Fresh stores for each test that asks: on the real PostgreSQL of the tests, and on SQLite as the copy of an empty one."""

import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rota.backends.sql.engine import open_engine


@pytest.fixture(autouse=True)
def _stores_closed(stores_closed: None) -> None:
    """Tests of these folders open stores without a platform that closes them."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here, which needs root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def sqlite_store(empty_store: Path, tmp_path: Path) -> Path:
    """The file of an empty store."""
    return Path(shutil.copyfile(empty_store, tmp_path / "metadata.db"))


@pytest.fixture(scope="session")
def _postgres_made(postgres_url: str) -> str:
    """The name of a database with an empty store, from which others are copied."""
    name = f"made_{uuid.uuid4().hex}"
    _administer(postgres_url, f"CREATE DATABASE {name}")
    open_engine(_beside(postgres_url, name)).dispose()
    return name


@pytest.fixture
def postgres_empty(postgres_url: str) -> Callable[[], str]:
    """Makes a database without any tables and gives its URL."""

    def make() -> str:
        name = f"empty_{uuid.uuid4().hex}"
        _administer(postgres_url, f"CREATE DATABASE {name}")
        return _beside(postgres_url, name)

    return make


@pytest.fixture
def postgres_store(postgres_url: str, _postgres_made: str) -> Iterator[str]:
    """The URL of a database that holds an empty store and belongs to this test alone."""
    name = f"store_{uuid.uuid4().hex}"
    _administer(postgres_url, f"CREATE DATABASE {name} TEMPLATE {_postgres_made} STRATEGY file_copy")
    yield _beside(postgres_url, name)
    _administer(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def _beside(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def _administer(url: str, statement: str) -> None:
    import psycopg  # noqa: PLC0415 - an optional engine

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
