"""Rows of SQL databases (port `Databases`): SQLite and PostgreSQL through SQLAlchemy, read only, streamed.

What the user wrote goes to the database as it stands, inside a SELECT of ours; every value of ours is bound. SQLite is
opened in its read-only mode and a PostgreSQL transaction is begun READ ONLY at one snapshot, so even a statement that
passed every check could change nothing.
"""

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    column,
    create_engine,
    exc,
    literal_column,
    make_url,
    select,
    text,
)
from sqlalchemy import table as named_table
from sqlalchemy.sql.expression import FromClause, Select, quoted_name

from rota.errors import InvalidInput, RotaError, Unavailable
from rota.ports.inputs import WatermarkQuery
from rota.records.time import Micros, from_datetime, to_datetime

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")
_TEXT_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d:\d\d(?:\.(\d{1,9}))?(Z|\+00:00|\+00)?)?")
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_EXACT = 2**53
"""From here on a float stands for several whole numbers."""
_OWN = (bool, int, float, str, date, bytes, memoryview)
"""Types of values that stay what they are beside others; whatever else a driver knows becomes text."""
_CONNECT_S = 10


class SqlInput:
    """Databases (port). `environ` is where the ${NAME} of a URL are looked up."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    def batches(self, wanted: WatermarkQuery, *, rows: int) -> Iterator[pl.DataFrame]:
        url, secrets = _filled(wanted.url, self._environ)
        with _in_our_words(wanted, secrets), _engine(wanted, url) as engine, _reading(engine) as connection:
            statement = _statement(connection, wanted)
            if statement is None:
                return
            found = connection.execution_options(yield_per=rows).execute(statement)
            names = list(found.keys())
            for part in found.partitions(rows):
                yield frame(names, part)


def frame(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """A driver's rows as columns of the port's types; a name that comes twice is kept once, the first time."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    made: dict[str, pl.Series] = {}
    for name, values in zip(names, columns, strict=True):
        made.setdefault(name, _series(name, list(values)))
    return pl.DataFrame(list(made.values()))


def _series(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if Decimal in kinds:
        values = [_number(value) if isinstance(value, Decimal) else value for value in values]
        kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, pl.Null)
    if kinds == {bool} or (kinds == {int} and all(value is None or _INT_MIN <= value <= _INT_MAX for value in values)):
        return pl.Series(name, values, pl.Boolean if kinds == {bool} else pl.Int64)
    if kinds <= {int, float} and all(type(value) is not int or abs(value) < _EXACT for value in values):
        return pl.Series(name, values, pl.Float64, strict=False)
    if kinds <= {datetime, date}:
        moments = [None if value is None else _moment(value) for value in values]
        return pl.Series(name, moments, pl.Int64).cast(pl.Datetime("us", "UTC"))
    if len(kinds) > 1 or kinds <= {int, bytes, memoryview}:  # no field takes bytes: who reads the column refuses each of them
        return pl.Series(name, [value if value is None or isinstance(value, _OWN) else _text(value) for value in values], pl.Object)
    return pl.Series(name, [None if value is None else _text(value) for value in values], pl.String)


def _number(value: Decimal) -> int | float:
    """An exact number: whole ones stay exact, the others are what a float can hold."""
    if not value.is_finite():
        return float(value)
    return int(value) if value == value.to_integral_value() and value.adjusted() < 40 else float(value)


def _moment(value: date) -> Micros:
    return from_datetime(value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC))


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value)


def _statement(connection: Connection, wanted: WatermarkQuery) -> Select[Any] | None:
    """The rows asked for, by ascending mark; None when there are none at all."""
    asked = _asked(wanted.query)
    mark: Any = column(wanted.mark)
    sample = connection.execute(select(mark).select_from(asked).where(mark.is_not(None)).limit(1)).first()
    if sample is None:
        return None
    statement: Select[Any] = select(literal_column("*")).select_from(asked).where(mark.is_not(None)).order_by(mark)
    if wanted.since is not None:
        statement = statement.where(mark >= _bound(wanted, wanted.since, sample[0]))
    if wanted.until is not None:
        statement = statement.where(mark <= _bound(wanted, wanted.until, sample[0]))
    return statement


def _asked(query: str) -> FromClause:
    """A table by its name, or the query as a sub-select; a colon in it is text and never a parameter of ours."""
    if _TABLE.fullmatch(query.strip()):
        schema, _, name = query.strip().rpartition(".")
        return named_table(name, schema=schema or None)
    return text(query.strip().rstrip(";").replace(":", "\\:")).columns().subquery(quoted_name("asked", quote=True))


def _bound(wanted: WatermarkQuery, value: int, sample: Any) -> Any:
    """A value of the mark as this database keeps it, seen by a sample."""
    if wanted.kind == "int" and isinstance(sample, int | float | Decimal):
        return value
    if wanted.kind == "timestamp":
        if isinstance(sample, datetime):
            moment = to_datetime(value)
            return moment if sample.tzinfo else moment.replace(tzinfo=None)
        if isinstance(sample, date):
            return to_datetime(value).date()
        if isinstance(sample, int):
            return value
        if isinstance(sample, str) and (shape := _TEXT_TIME.fullmatch(sample)):
            return _shaped(value, shape)
    raise InvalidInput(
        f"column {wanted.mark!r} holds {sample!r:.100}, which cannot be compared with a {wanted.kind}; a watermark is an integer, a timestamp, "
        "or an ISO 8601 text in UTC",
        column=wanted.mark,
    )


def _shaped(value: Micros, shape: re.Match[str]) -> str:
    """A moment as a text of the same shape, so that the order of texts is the order of time."""
    moment = to_datetime(value)
    if shape[1] is None:
        return moment.strftime("%Y-%m-%d")
    digits = f".{moment.microsecond:06d}000"[: len(shape[2]) + 1] if shape[2] else ""
    return moment.strftime(f"%Y-%m-%d{shape[1]}%H:%M:%S") + digits + (shape[3] or "")


def _filled(template: str, environ: Mapping[str, str]) -> tuple[URL, list[str]]:
    """The URL with the environment's values in it, and those values, which no message may show."""
    names = _VARIABLE.findall(template)
    missing = [name for name in names if name not in environ]
    if missing:
        raise InvalidInput(f"the URL {template!r} needs the environment variable {missing[0]}, which is not set", variable=missing[0])
    secrets = [environ[name] for name in names]
    whole = len(names) == 1 and template == f"${{{names[0]}}}"
    filled = _VARIABLE.sub(lambda match: environ[match[1]] if whole else quote(environ[match[1]], safe=""), template)
    try:
        url = make_url(filled)
    except (exc.ArgumentError, ValueError):
        # The error's own text would repeat the URL with its secrets.
        raise InvalidInput(f"{template!r} is no database URL; write for example postgresql://user:${{DB_PASSWORD}}@host/database") from None
    return url, [*secrets, *([str(url.password)] if url.password else [])]


@contextmanager
def _engine(wanted: WatermarkQuery, url: URL) -> Iterator[Engine]:
    backend = url.get_backend_name()
    if backend == "sqlite":
        engine = create_engine("sqlite://", creator=lambda: _read_only_file(wanted, url), poolclass=NullPool)
    elif backend == "postgresql":
        try:
            engine = create_engine(
                url.set(drivername="postgresql+psycopg"), poolclass=NullPool, hide_parameters=True, connect_args={"connect_timeout": _CONNECT_S}
            )
        except ImportError:
            raise InvalidInput("reading PostgreSQL needs its driver; install rota[postgres]", url=wanted.url) from None
    else:
        raise InvalidInput(f"{wanted.url!r}: databases of kind {backend!r} are not read; give sqlite:/// or postgresql://", url=wanted.url)
    try:
        yield engine
    finally:
        engine.dispose()


def _read_only_file(wanted: WatermarkQuery, url: URL) -> sqlite3.Connection:
    if url.database in (None, "", ":memory:") or str(url.database).startswith("file:"):
        raise InvalidInput(f"{wanted.url!r} names no SQLite file; write sqlite:///data/shop.db", url=wanted.url)
    path = Path(str(url.database)).absolute()
    if not path.is_file():
        raise Unavailable(f"there is no SQLite file at {wanted.url!r}; check the path", url=wanted.url)
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30, check_same_thread=False)
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one snapshot and may not write."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True, stream_results=True)  # noqa: PLW2901
        else:
            connection.exec_driver_sql("BEGIN")
        yield connection


@contextmanager
def _in_our_words(wanted: WatermarkQuery, secrets: Sequence[str]) -> Iterator[None]:
    """Drivers' errors with the way out, and without what the environment has filled in."""

    def shown(error: BaseException) -> str:
        message = str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:300]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            message = message.replace(secret, "***")
        return message

    try:
        yield
    except RotaError:
        raise
    # `from None`: the drivers' own texts, which a traceback would print, may hold the connection's secrets.
    except (exc.ProgrammingError, exc.DataError, exc.NotSupportedError, exc.CompileError, exc.ArgumentError) as error:
        raise InvalidInput(f"the query {wanted.query!r:.300} cannot be read: {shown(error)}", query=wanted.query) from None
    except (exc.OperationalError, sqlite3.OperationalError) as error:
        if _is_the_querys_fault(error):
            raise InvalidInput(f"the query {wanted.query!r:.300} cannot be read: {shown(error)}", query=wanted.query) from None
        raise Unavailable(f"database {wanted.url!r} does not answer: {shown(error)}; check that it runs, then retry", url=wanted.url) from None
    except (exc.DBAPIError, sqlite3.Error, OSError) as error:
        raise Unavailable(f"database {wanted.url!r} failed: {shown(error)}; check it, then retry", url=wanted.url) from None


def _is_the_querys_fault(error: BaseException) -> bool:
    """SQLite answers an unknown table or column with the same class as a lost disk."""
    return getattr(getattr(error, "orig", error), "sqlite_errorname", "") in ("SQLITE_ERROR", "SQLITE_READONLY", "SQLITE_AUTH")
