"""Opening the SQL metadata store and its transactions, on SQLite or PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, exc, make_url

from rota.backends.sql import postgresql as postgres_engine
from rota.backends.sql import sqlite as sqlite_engine
from rota.backends.sql.errors import OVERTAKEN, translated
from rota.backends.sql.layout import bring_up_to_date, is_up_to_date, refuse_foreign
from rota.errors import InvalidInput, Refused, Unavailable

T = TypeVar("T")
_ATTEMPTS = 5


def open_engine(url: str | Path) -> Engine:
    """The engine of a metadata store, made or brought up to date if need be; a path is a SQLite file in an existing directory.

    Raises `Corrupt` for a file that is no database, `Refused` for another program's database, for one that a newer Rota
    wrote and for a wrong password, `Unavailable` for what cannot be opened or reached.
    """
    engine = _made_engine(url)
    try:
        _use_write_ahead_log(engine)
        _ensure_layout(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def unopened_engine(url: str | Path) -> Engine:
    """The engine of a metadata store that was not looked at yet."""
    return _made(_target(url))


def check_layout(engine: Engine) -> None:
    """Raise `Refused`, `Corrupt` or `Unavailable` unless the store has, now, the layout that this version knows."""
    with reading(engine) as connection:
        if not is_up_to_date(connection):
            raise Refused(
                "the metadata store has an older layout than this Rota writes; `rota up` brings it up to date, where it is up already a new start"
            )


def empty_engine(url: str | Path) -> Engine:
    """The engine of a database in which a store is to be made: nothing is looked at, and nothing made yet, but an empty SQLite file."""
    engine = _made_engine(url)
    if isinstance(url, Path):
        with translated(engine), engine.connect() as connection:
            sqlite_engine.use_write_ahead_log(connection)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one snapshot and never waits for a writer."""
    with translated(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction, committed at the end of the block and undone by any error.

    On SQLite it holds the only write lock from its start. On PostgreSQL others write at the same time: what must be
    decided on rows that nobody changes meanwhile reads them `with_for_update()`, or takes a `postgres_engine.lock`.
    """
    with translated(engine), engine.connect() as connection:
        connection.execution_options(rota_writes=True)
        with connection.begin():
            yield connection


def write(engine: Engine, work: Callable[[Connection], T]) -> T:
    """What `work` gives in a transaction; begun again when PostgreSQL undid it for the sake of another one."""
    for _ in range(_ATTEMPTS - 1):
        try:
            with writing(engine) as connection:
                return work(connection)
        except Unavailable as error:
            if error.facts["code"] not in OVERTAKEN:
                raise
    with writing(engine) as connection:
        return work(connection)


def _made_engine(url: str | Path) -> Engine:
    engine = unopened_engine(url)
    if engine.dialect.name == "sqlite":
        sqlite_engine.make_file(engine)
    return engine


def _target(url: str | Path) -> URL:
    return URL.create("sqlite", database=str(url)) if isinstance(url, Path) else _parsed(url)


def _made(target: URL) -> Engine:
    kind = target.get_backend_name()
    if kind == "sqlite":
        return sqlite_engine.make(target)
    if kind in ("postgresql", "postgres"):
        return postgres_engine.make(target)
    raise InvalidInput(f"metadata_url names a {kind} database; give sqlite:////path/metadata.db or postgresql://USER:PASSWORD@HOST:5432/DATABASE")


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (exc.ArgumentError, ValueError):  # their messages show the URL with its password
        raise InvalidInput("metadata_url is not a database URL; write for example sqlite:////srv/rota/metadata.db") from None


def _use_write_ahead_log(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return
    with translated(engine), engine.connect() as connection:
        if not sqlite_engine.has_write_ahead_log(connection):
            refuse_foreign(connection)
            sqlite_engine.use_write_ahead_log(connection)


def _ensure_layout(engine: Engine) -> None:
    with reading(engine) as connection:
        if is_up_to_date(connection):
            return
    with writing(engine) as connection:
        postgres_engine.lock(connection, "layout")
        bring_up_to_date(connection)
