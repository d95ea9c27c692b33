"""Every metadata store keeps the law of the port, and the SQL one keeps its file in order."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.sql.engine import open_engine, writing
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.schema import SCHEMA_VERSION
from rota.errors import Conflict, Corrupt, InvalidInput, Refused, Unavailable
from rota.ports.metadata import Batch, Metadata
from rota.records.kinds import KINDS
from rota.records.model import Alias
from rota.testing.metadata import MetadataContract, alias, store


class TestMemoryMetadata(MetadataContract):
    @pytest.fixture
    def metadata(self) -> Metadata:
        return MemoryMetadata()


class TestSqlMetadata(MetadataContract):
    @pytest.fixture
    def metadata(self, sqlite_store: Path) -> Iterator[Metadata]:
        metadata = SqlMetadata(sqlite_store)
        yield metadata
        metadata.close()

    @pytest.fixture
    def reopened(self, sqlite_store: Path) -> Callable[[], Metadata]:
        return lambda: SqlMetadata(f"sqlite:///{sqlite_store}")


class TestPostgresMetadata(MetadataContract):
    @pytest.fixture
    def metadata(self, postgres_store: str) -> Iterator[Metadata]:
        metadata = SqlMetadata(postgres_store)
        yield metadata
        metadata.close()

    @pytest.fixture
    def reopened(self, postgres_store: str) -> Callable[[], Metadata]:
        return lambda: SqlMetadata(postgres_store)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metadata.db"


def sql(file: Path, *statements: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file, timeout=60, isolation_level=None)
    try:
        return [connection.execute(statement).fetchall() for statement in statements][-1]
    finally:
        connection.close()


def test_the_file_is_a_write_ahead_log_that_syncs_every_commit(file: Path) -> None:
    metadata = SqlMetadata(file)
    assert sql(file, "PRAGMA journal_mode") == [("wal",)]
    with metadata.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_every_kind_has_a_table_and_opening_again_changes_nothing(file: Path) -> None:
    store(SqlMetadata(file), alias())
    before = sql(file, "SELECT name, sql FROM sqlite_master ORDER BY name")
    assert SqlMetadata(file).find(Alias) == [alias()]
    assert sql(file, "SELECT name, sql FROM sqlite_master ORDER BY name") == before
    assert {kind.name for kind in KINDS} <= {name for name, _ in before}


def test_a_store_that_lost_a_table_is_corrupt(file: Path) -> None:
    store(SqlMetadata(file), alias())
    sql(file, "DROP TABLE cursor")
    with pytest.raises(Corrupt, match=r"lacks the tables \['cursor'\]"):
        SqlMetadata(file)


def test_a_record_of_an_older_version_with_fewer_fields_can_be_replaced(file: Path) -> None:
    metadata = SqlMetadata(file)
    store(metadata, alias())
    sql(file, """UPDATE alias SET body = '{"model":"flights","alias":"champion","number":1,"since_us":0}'""")
    read = metadata.get(Alias, "flights", "champion")
    assert read == alias()
    batch = Batch()
    batch.put(alias(number=2), replacing=read)
    metadata.commit(batch)
    assert metadata.get(Alias, "flights", "champion") == alias(number=2)


def test_a_damaged_record_is_reported_as_corrupt(file: Path) -> None:
    metadata = SqlMetadata(file)
    store(metadata, alias())
    sql(file, """UPDATE alias SET body = '{"model":"flights"'""")
    with pytest.raises(Corrupt, match="Alias"):
        metadata.get(Alias, "flights", "champion")


def test_a_file_that_is_no_database_is_corrupt_and_stays_as_it_is(file: Path) -> None:
    file.write_bytes(b"this is somebody's diary\n" * 1_000)
    with pytest.raises(Corrupt, match=r"metadata\.db is not a SQLite database"):
        open_engine(file)
    assert file.read_bytes() == b"this is somebody's diary\n" * 1_000


def test_another_programs_database_is_refused_and_stays_as_it_is(file: Path) -> None:
    sql(file, "CREATE TABLE cookies (id)")
    before = file.read_bytes()
    with pytest.raises(Refused, match="cookies"):
        open_engine(file)
    assert file.read_bytes() == before


def test_a_newer_schema_asks_for_an_upgrade(file: Path) -> None:
    open_engine(file)
    sql(file, f"UPDATE rota_schema SET version = {SCHEMA_VERSION + 1}")
    with pytest.raises(Refused, match="upgrade rota"):
        open_engine(file)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "postgresql+pg8000://host/db", "metadata.db", ""])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_engine(url)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="directory exists"):
        open_engine(tmp_path / "nowhere" / "metadata.db")


def test_a_path_with_odd_letters_is_a_file_of_that_name(tmp_path: Path) -> None:
    file = tmp_path / "a ?b=%20#ü.db"
    store(SqlMetadata(file), alias())
    assert file.exists()


def test_reading_does_not_wait_for_a_writer_and_sees_nothing_of_it(file: Path) -> None:
    metadata = SqlMetadata(file)
    store(metadata, alias())
    with writing(metadata.engine) as connection:
        connection.exec_driver_sql("DELETE FROM alias")
        assert metadata.find(Alias) == [alias()]
        assert metadata.events(0) == []
    assert metadata.find(Alias) == []


def test_a_writer_that_never_gets_its_turn_is_told_so(file: Path) -> None:
    metadata = SqlMetadata(file)
    impatient = SqlMetadata(file)
    with impatient.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")
    with writing(metadata.engine), pytest.raises(Unavailable, match="held by another writer"):
        store(impatient, alias())
    store(impatient, alias())


def test_opening_a_restored_file_waits_for_another_writer(file: Path) -> None:
    """Switching back to the write-ahead log fails at once on a file that is being written, so `open_engine` tries again."""
    made = SqlMetadata(file)
    store(made, alias())
    made.close()
    assert sql(file, "PRAGMA journal_mode = DELETE") == [("delete",)]
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(SqlMetadata, file)
        with pytest.raises(TimeoutError):
            opened.result(timeout=0.2)
        other.execute("ROLLBACK")
        assert opened.result(timeout=60).find(Alias) == [alias()]
    other.close()
    assert sql(file, "PRAGMA journal_mode") == [("wal",)]


def test_a_full_disk_is_told_and_what_was_committed_stays(file: Path) -> None:
    metadata = SqlMetadata(file)
    store(metadata, alias())
    with metadata.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {connection.exec_driver_sql('PRAGMA page_count').scalar()}")
    with pytest.raises(Unavailable, match="free some space"):
        store(metadata, *(alias(f"a{number}", model="m" * 10_000) for number in range(100)))
    assert metadata.find(Alias) == [alias()]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET hash = 'x'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE position = 1",
        "INSERT OR REPLACE INTO audit VALUES (1, '', 'x', '{}')",
    ],
)
def test_the_database_itself_refuses_to_change_the_audit_log(file: Path, statement: str) -> None:
    metadata = SqlMetadata(file)
    batch = Batch()
    batch.audit("ada", "promote", "flights", 1)
    metadata.commit(batch)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(file, statement)
    with pytest.raises(Conflict, match="append-only"), writing(metadata.engine) as connection:
        connection.exec_driver_sql(statement)
    assert len(metadata.audit()) == 1


def test_a_store_can_be_used_after_it_was_closed(file: Path) -> None:
    metadata = SqlMetadata(file)
    store(metadata, alias())
    metadata.close()
    assert metadata.find(Alias) == [alias()]


def test_finding_by_an_index_field_reads_no_other_rows(file: Path) -> None:
    metadata = SqlMetadata(file)
    store(metadata, *(alias(f"a{number}", since_us=number) for number in range(50)))
    plan = sql(file, "EXPLAIN QUERY PLAN SELECT body FROM alias WHERE since_us = 7")
    assert "alias_since_us" in str(plan)
    assert metadata.find(Alias, {"since_us": 7}) == [alias("a7", since_us=7)]


def moved(file: Path, away: str, to: str) -> None:
    for end in ("", "-wal", "-shm"):
        each = file.with_name(f"{away}{end}")
        if each.exists():
            each.rename(file.with_name(f"{to}{end}"))


def test_nothing_is_committed_into_a_file_that_was_removed_or_exchanged_while_it_is_open(file: Path) -> None:
    metadata, other = SqlMetadata(file), SqlMetadata(file.with_name("other.db"))
    store(metadata, alias("before"))
    store(other, alias("of the other"))
    other.close()
    moved(file, file.name, "aside.db")
    with pytest.raises(Unavailable, match="nobody removed it"):
        store(metadata, alias("after"))
    with pytest.raises(Unavailable, match="nobody removed it"):
        metadata.find(Alias)
    assert not file.exists(), "an empty store in its place would look like a platform that knows nothing"
    moved(file, "other.db", file.name)
    store(metadata, alias("after"))
    assert [each.alias for each in SqlMetadata(file).find(Alias)] == ["after", "of the other"]
    moved(file, file.name, "other.db")
    moved(file, "aside.db", file.name)
    store(metadata, alias("at last"))
    assert [each.alias for each in SqlMetadata(file).find(Alias)] == ["at last", "before"]


def test_the_mark_is_another_one_when_the_file_was_exchanged(file: Path, tmp_path: Path) -> None:
    metadata = SqlMetadata(file)
    store(metadata, alias())
    before = metadata.mark()
    other = tmp_path / "other.db"
    SqlMetadata(other).close()
    metadata.close()
    other.replace(file)
    assert metadata.mark() != before
    metadata.close()
