"""SQLite as it is safe and fast on one machine: a write-ahead log so that readers never wait, and every commit synced.

Writers BEGIN IMMEDIATE, because a transaction that reads first and writes later cannot wait for its turn. A connection is used only while its
file is the one at the path: SQLite itself goes on to commit into a file that was removed or exchanged.
"""

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc

from rota.backends.sql.errors import translated
from rota.durable_files import sync_directory
from rota.errors import InvalidInput, Unavailable

BUSY_S = 30.0
"""How long a writer waits for its turn before `Unavailable`; a write holds the lock for some milliseconds."""


def make(url: URL) -> Engine:
    """An engine whose connections are ours in every respect; nothing is opened yet, and a file that is not there is not made."""
    if url.database in (None, "", ":memory:"):
        raise InvalidInput("a SQLite store in memory is not shared between connections; give a file, or use MemoryMetadata in tests")
    # A pool as wide as a busy server's threads: a thread without a connection would wait for nothing but the pool.
    file = _File(Path(str(url.database)).absolute())
    engine = create_engine(url, creator=file.connect, pool_size=8, max_overflow=56, pool_timeout=BUSY_S, hide_parameters=True)
    event.listen(engine, "connect", file.prepare)
    event.listen(engine, "checkout", file.check)
    event.listen(engine, "begin", _begin)
    return engine


def make_file(engine: Engine) -> None:
    """Make the empty file of a new store, in a directory that there is."""
    with suppress(OSError), Path(str(engine.url.database)).open("ab"):  # what is wrong with it is told when it is opened
        return


def use_write_ahead_log(connection: Connection) -> None:
    """Switch the file to its write-ahead log, which lasts; waits for a writer of a file that has none yet."""
    # The switch fails at once instead of waiting, also when several processes open a new file together.
    driver: Any = connection.connection.dbapi_connection
    connection.rollback()
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            with translated(connection.engine):
                driver.execute("PRAGMA journal_mode = WAL")
        except Unavailable as error:
            if error.facts["code"] != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def has_write_ahead_log(connection: Connection) -> bool:
    driver: Any = connection.connection.dbapi_connection
    return bool(driver.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def copy(file: Path, target: Path) -> None:
    """A copy of a store as it was last committed, complete or not there at all; an earlier copy is replaced."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    with closing(sqlite3.connect(file, timeout=BUSY_S)) as source, closing(sqlite3.connect(unfinished)) as backup:
        source.backup(backup)
    shutil.copymode(file, unfinished)
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(target)
    sync_directory(target.parent)


@dataclass(frozen=True, slots=True)
class _File:
    """The file of a store, and what makes a connection to it one of ours."""

    path: Path

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(self.path))}?mode=rw", uri=True, timeout=BUSY_S, check_same_thread=False)

    def prepare(self, connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN is ours, see _begin
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes the log keeps after a burst
        record.info["process"], record.info["file"] = os.getpid(), self.identity()

    def check(self, connection: sqlite3.Connection, record: Any, proxy: Any) -> None:
        """A connection must not cross a fork, and not outlive its file; SQLAlchemy opens a new one after this error."""
        if record.info["process"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None
            raise exc.DisconnectionError(f"connection {connection!r} belongs to another process")
        if record.info["file"] != self.identity():
            raise exc.DisconnectionError(f"connection {connection!r} belongs to a file that was removed or exchanged")

    def identity(self) -> tuple[int, int] | None:
        """Which file lies at the path now."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class CommitCounter:
    """Tells by a connection of its own, which writes nothing, whether others have committed: SQLite counts that. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file = _File(Path(str(engine.url.database)).absolute())
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._belongs: tuple[int, tuple[int, int] | None] | None = None
        self._opened = 0

    def read(self) -> str:
        """Another text after each commit; also when the file was exchanged, and in a fork, for counts of two connections say nothing together."""
        with self._lock, translated(self._engine):
            belongs = os.getpid(), self._file.identity()
            if self._connection is None or belongs != self._belongs:
                self._connection = None
                self._connection, self._belongs = self._file.connect(), belongs
                self._opened += 1
            try:
                count = self._connection.execute("PRAGMA data_version").fetchall()[0][0]  # all: a statement that is not over holds a snapshot
            except sqlite3.Error:
                self._connection = None
                raise
        return f"{belongs[0]}.{self._opened}.{count}"

    def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        with self._lock:
            if self._connection is not None and self._belongs is not None and self._belongs[0] == os.getpid():
                self._connection.close()
            self._connection = None


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("rota_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
