"""Opening the SQL metadata store, its transactions, and its errors in Rota's words.

SQLite is used as it is safe and fast on one machine: a write-ahead log so that readers never wait, every commit synced,
and BEGIN IMMEDIATE for writers, because a transaction that reads first and writes later cannot wait for its turn.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, insert, inspect, make_url, select

from rota.backends.sql_schema import SCHEMA_VERSION, schema, version
from rota.errors import Conflict, Corrupt, InvalidInput, Refused, RotaError, Unavailable

BUSY_S = 30.0
"""How long a writer waits for its turn before `Unavailable`; a write holds the lock for some milliseconds."""


def open_engine(url: str | Path) -> Engine:
    """The engine of a metadata store, its schema created if need be; a path is a SQLite file in an existing directory.

    Raises `Corrupt` for a file that is no database, `Refused` for another program's database or for one that a newer Rota
    wrote, `Unavailable` for a path that cannot be opened.
    """
    target = URL.create("sqlite", database=str(url)) if isinstance(url, Path) else _parsed(url)
    if target.get_backend_name() != "sqlite":
        raise InvalidInput(f"metadata_url {target.render_as_string()} is not supported; give a SQLite file (sqlite:////path/metadata.db)")
    if target.database in (None, "", ":memory:"):
        raise InvalidInput("a SQLite store in memory is not shared between connections; give a file, or use MemoryMetadata in tests")
    # A pool as wide as a busy server's threads: a thread without a connection would wait for nothing but the pool.
    engine = create_engine(target, pool_size=8, max_overflow=56, pool_timeout=BUSY_S, connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "checkout", _stay_in_process)
    event.listen(engine, "begin", _begin)
    try:
        _use_write_ahead_log(engine)
        _ensure_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one snapshot and never waits for a writer."""
    with _translated(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start, committed at the end of the block and undone by any error."""
    with _translated(engine), engine.connect() as connection:
        connection.execution_options(rota_writes=True)
        with connection.begin():
            yield connection


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except exc.ArgumentError as error:
        raise InvalidInput(f"metadata_url {url!r} is not a database URL; write for example sqlite:////srv/rota/metadata.db", url=url) from error


def _prepare(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's BEGIN is ours, see _begin
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes the log keeps after a burst
    record.info["process"] = os.getpid()


def _stay_in_process(connection: sqlite3.Connection, record: Any, proxy: Any) -> None:
    """SQLite connections must not cross a fork; SQLAlchemy opens a new one after this error."""
    if record.info["process"] != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise exc.DisconnectionError(f"connection {connection!r} belongs to another process")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("rota_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_write_ahead_log(engine: Engine) -> None:
    """Switch the file to WAL, which lasts; the switch fails at once instead of waiting when several processes open a new file together."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            with _translated(engine), engine.connect() as connection:
                driver: Any = connection.connection.dbapi_connection
                mode = driver.execute("PRAGMA journal_mode").fetchone()[0]
                if mode != "wal":
                    _refuse_foreign(connection)
                    connection.rollback()
                    driver.execute("PRAGMA journal_mode = WAL")
        except Unavailable as error:
            if error.facts["code"] != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _ensure_schema(engine: Engine) -> None:
    with reading(engine) as connection:
        if _is_current(connection):
            return
    with writing(engine) as connection:
        if not _is_current(connection):
            schema.create_all(connection)
            if connection.scalar(select(version.c.version)) is None:
                connection.execute(insert(version).values(version=SCHEMA_VERSION))


def _is_current(connection: Connection) -> bool:
    _refuse_foreign(connection)
    present = set(inspect(connection).get_table_names())
    stored = connection.scalar(select(version.c.version)) if version.name in present else None
    if stored is not None and stored > SCHEMA_VERSION:
        raise Refused(
            f"{connection.engine.url.database} has schema version {stored}, this Rota knows {SCHEMA_VERSION}; upgrade rota to open it",
            stored=stored,
            known=SCHEMA_VERSION,
        )
    return stored is not None and schema.tables.keys() <= present


def _refuse_foreign(connection: Connection) -> None:
    present = set(inspect(connection).get_table_names())
    if present and version.name not in present:
        raise Refused(
            f"{connection.engine.url.database} is another program's database (tables {sorted(present)[:5]}); give Rota a file of its own",
            tables=sorted(present),
        )


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as error:
        raise Unavailable(f"all connections to {engine.url.database} are in use: {error}; use fewer threads or try again", code="POOL") from error
    except (exc.DBAPIError, sqlite3.Error) as error:  # the driver's own come from PRAGMAs outside SQLAlchemy's transactions
        ours = _in_our_words(error.orig if isinstance(error, exc.DBAPIError) else error, str(engine.url.database))
        if ours is None:
            raise
        raise ours from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidInput(f"a value does not fit into the metadata store: {error}") from error


_MEANINGS: tuple[tuple[str, type[RotaError], str], ...] = (
    ("SQLITE_BUSY", Unavailable, "is held by another writer for too long; look for a stopped process that has it open, then try again"),
    ("SQLITE_LOCKED", Unavailable, "is held by another connection of this process; try again"),
    ("SQLITE_FULL", Unavailable, "does not fit on its disk; nothing was written, free some space and try again"),
    ("SQLITE_CANTOPEN", Unavailable, "cannot be opened; check that its directory exists and belongs to this user"),
    ("SQLITE_READONLY", Unavailable, "cannot be written; check the permissions of the file and its directory"),
    ("SQLITE_PERM", Unavailable, "cannot be used; check the permissions of the file and its directory"),
    ("SQLITE_IOERR", Unavailable, "lies on a disk that failed; check the disk, then try again"),
    ("SQLITE_NOTADB", Corrupt, "is not a SQLite database; restore it from a backup or give Rota another path"),
    ("SQLITE_CORRUPT", Corrupt, "is damaged; restore it from a backup"),
    ("SQLITE_ERROR", Corrupt, "does not have the tables that Rota made; restore it from a backup"),
    ("SQLITE_CONSTRAINT", Conflict, "refused a change that breaks its rules"),
)


def _in_our_words(error: BaseException | None, file: str) -> RotaError | None:
    """The driver's error as ours; None for one that no table row explains, which is a mistake of ours and stays visible."""
    code = getattr(error, "sqlite_errorname", "")
    for prefix, kind, meaning in _MEANINGS:
        if code.startswith(prefix):
            return kind(f"{file} {meaning} ({error})", file=file, code=code)
    return None
