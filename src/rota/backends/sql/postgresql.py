"""PostgreSQL for several hosts: readers see one snapshot, writers lock the rows that they change.

Where the law of a port wants an order among writers (positions of events, the audit chain, fences), they take an advisory
lock for the rest of their transaction. Writers read committed rows, so that who waited for a lock sees what the other wrote.
"""

import importlib.util
import os
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, text

from rota.errors import InvalidInput

WAIT_S = 30
"""How long a writer waits for a lock, and a thread for a connection, before `Unavailable`."""
CONNECT_S = 10

_DEFAULTS = {"application_name": "rota", "connect_timeout": CONNECT_S}
_NAMES = ("postgresql", "postgres", "postgresql+psycopg")
_ROTA = 0x526F7461  # the first half of our keys of advisory locks, which all programs in a database share
_LOCKS = {"layout": 1, "order": 2, "fence": 3}


def make(url: URL) -> Engine:
    """An engine whose connections are ours in every respect; nothing is opened yet."""
    if url.drivername not in _NAMES:
        raise InvalidInput(f"metadata_url asks for the driver {url.drivername!r}; write postgresql://USER:PASSWORD@HOST:5432/DATABASE")
    if importlib.util.find_spec("psycopg") is None:
        raise InvalidInput("metadata_url names a PostgreSQL, whose driver is not installed; pip install 'rota[postgres]'")
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        pool_size=8,
        max_overflow=56,
        pool_timeout=WAIT_S,
        connect_args={name: value for name, value in _DEFAULTS.items() if name not in url.query},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "checkout", _check)
    return engine


def lock(connection: Connection, name: Literal["layout", "order", "fence"]) -> None:
    """Wait for a turn among Rota's writers of this database, kept until the transaction ends. SQLite's writers take turns anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:rota, :name)"), {"rota": _ROTA, "name": _LOCKS[name]})


def lock_for(connection: Connection, thing: str) -> None:
    """The same among those that decide about one thing, which need not exist."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:thing, :rota))"), {"thing": thing, "rota": _ROTA})


def commit_mark(connection: Connection) -> str:
    """The transactions that this one sees: the same text for as long as none ended that wrote something, in any database of the server."""
    return str(connection.scalar(text("SELECT txid_current_snapshot()::text")))


def check_encoding(connection: Connection) -> None:
    """Every text must fit; raises `InvalidInput` for a database of another encoding."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise InvalidInput(f"the database of metadata_url has encoding {encoding}; create one with encoding UTF8", encoding=encoding)


def _prepare(connection: Any, record: Any) -> None:
    record.info["process"] = os.getpid()
    connection.execute(f"SELECT set_config('lock_timeout', '{WAIT_S}s', false)")
    # What was committed must survive a crash of the server, whatever its configuration prefers.
    connection.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
    connection.commit()


def _check(connection: Any, record: Any, proxy: Any) -> None:
    """A connection of before a fork or to a server that went away is replaced; SQLAlchemy opens a new one after this error."""
    if record.info["process"] != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise exc.DisconnectionError("the connection belongs to another process")
    if not _answers(connection):
        raise exc.DisconnectionError("the connection was lost")


def _answers(connection: Any) -> bool:
    # Not SQLAlchemy's pool_pre_ping: that asks before a forked child could drop its parent's connection.
    from psycopg import OperationalError  # noqa: PLC0415 - an optional engine

    try:
        connection.autocommit = True
        connection.execute("")
        connection.autocommit = False
    except OperationalError:
        return False
    return True
