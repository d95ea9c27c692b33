"""The rows of a SQL metadata store as portable parts: read in one snapshot of SQLite or PostgreSQL, loaded into either.

A part is a Parquet file with some rows of one table, in the order of its key. Where a part ends follows from the keys, so rows that
were added change the parts around them only.
"""

import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import BigInteger, Boolean, Connection, Double, Integer, Table, func, inspect, select, text

from rota.backends.sql import postgresql as postgres_engine
from rota.backends.sql.engine import empty_engine, open_engine, reading, writing
from rota.backends.sql.layout import create_at
from rota.backends.sql.schema import SCHEMA_VERSION, revision, version
from rota.backends.sql.tracking_schema import experiments
from rota.errors import Corrupt, Refused

SEQUENCES = "_sequences"
"""The part that holds the highest numbers that were ever given by the engine: (table, column, number)."""
_NUMBERED = {"events": "position", "runs": "position", "tracked_runs": "key"}
_LEAST, _MOST, _MOST_BYTES, _ONE_IN = 500, 50_000, 8_000_000, 4_000
_TABLES: dict[str, Table] = {table.name: table for table in experiments.metadata.sorted_tables if table not in (version, revision)}


class SqlSnapshot:
    """`rota.ports.backup.MetadataSnapshot` of the store of a URL, or of a SQLite file."""

    schema = SCHEMA_VERSION

    def __init__(self, url: str | Path) -> None:
        self._counts: dict[str, int] = {}
        self._open = ExitStack()
        try:
            self._engine = open_engine(url)
            self._open.callback(self._engine.dispose)
            self._connection = self._open.enter_context(reading(self._engine))
            self._connection.execute(select(version.c.version)).all()  # both engines take their snapshot at the first read
        except BaseException:
            self._open.close()
            raise

    @property
    def counts(self) -> Mapping[str, int]:
        return self._counts

    def parts(self) -> Iterator[tuple[str, bytes]]:
        for name, table in _TABLES.items():
            self._counts[name] = 0
            for rows in _pieces(self._connection, table):
                self._counts[name] += len(rows)
                yield name, _parquet(table, rows)
        given = [(name, column, _given(self._connection, name, column)) for name, column in _NUMBERED.items()]
        yield SEQUENCES, _written(pl.DataFrame(given, schema={"table": pl.String, "column": pl.String, "number": pl.Int64}, orient="row"))

    def close(self) -> None:
        self._open.close()


def is_vacant(url: str | Path) -> bool:
    """Whether a store can be restored there: a file that does not exist, or a database without tables."""
    if isinstance(url, Path):
        return not url.exists()
    engine = empty_engine(url)
    try:
        with reading(engine) as connection:
            return not inspect(connection).get_table_names()
    finally:
        engine.dispose()


def load(url: str | Path, schema: int, parts: Iterable[tuple[str, bytes]]) -> None:
    """Make a store of the parts of a snapshot, in one transaction; raises `Refused` where there is one already.

    Nobody works on the runs of a store that was restored: leases are over, and what processes had said of themselves is not kept.
    A snapshot of an older layout is brought up to date as the store of an older Rota is.
    """
    if schema > SCHEMA_VERSION:
        raise Refused(f"the backup has schema version {schema}, this Rota knows {SCHEMA_VERSION}; restore it with a newer Rota", stored=schema)
    engine = empty_engine(url)
    try:
        with writing(engine) as connection:
            postgres_engine.lock(connection, "layout")
            if inspect(connection).get_table_names():
                raise Refused("the database of metadata_url is not empty; restore into a new one")
            create_at(connection, schema)
            for name, data in parts:
                _insert(connection, name, pl.read_parquet(io.BytesIO(data)))
            connection.execute(text("UPDATE runs SET lease_until = 0"))
            if inspect(connection).has_table("process_report"):
                connection.execute(text("DELETE FROM process_report"))
    finally:
        engine.dispose()


def _pieces(connection: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    keys = list(table.primary_key.columns)
    places = [list(table.columns).index(key) for key in keys]
    rows: list[tuple[Any, ...]] = []
    size = 0
    found = connection.execution_options(stream_results=True, yield_per=2_000).execute(select(table).order_by(*keys))
    for row in found:
        rows.append(tuple(row))
        size += sum(len(value) for value in row if isinstance(value, str))
        ends = len(rows) >= _LEAST and zlib.crc32(repr([row[place] for place in places]).encode()) % _ONE_IN == 0
        if ends or len(rows) >= _MOST or size >= _MOST_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _parquet(table: Table, rows: Sequence[tuple[Any, ...]]) -> bytes:
    return _written(pl.DataFrame(rows, schema={column.name: _type_of(column.type) for column in table.columns}, orient="row"))


def _written(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=False)
    return buffer.getvalue()


def _type_of(type_: object) -> pl.DataType:
    if isinstance(type_, Boolean):
        return pl.Boolean()
    if isinstance(type_, (BigInteger, Integer)):
        return pl.Int64()
    return pl.Float64() if isinstance(type_, Double) else pl.String()


def _given(connection: Connection, name: str, column: str) -> int:
    """The highest number that the engine has given in the column, also to rows that are gone."""
    if connection.dialect.name == "postgresql":
        sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:name, :column)"), {"name": name, "column": column})
        return int(connection.scalar(text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")) or 0)  # noqa: S608 (our own)
    table = _TABLES[name]
    there = connection.scalar(select(func.max(table.c[column]))) or 0
    return max(int(there), int(connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": name}) or 0))


def _insert(connection: Connection, name: str, frame: pl.DataFrame) -> None:
    if name == SEQUENCES:
        for table, column, number in frame.iter_rows():
            _give_on(connection, table, column, number)
        return
    if not inspect(connection).has_table(name):
        raise Corrupt(f"the backup holds rows of a table {name!r} that its layout does not have", table=name)
    named = ", ".join(f'"{column}"' for column in frame.columns)
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    marks = ", ".join([mark] * frame.width)
    if frame.height:
        connection.exec_driver_sql(f'INSERT INTO "{name}" ({named}) VALUES ({marks})', frame.rows())  # noqa: S608 (names of our own tables)


def _give_on(connection: Connection, table: str, column: str, number: int) -> None:
    """Let the engine go on behind a number."""
    if connection.dialect.name == "postgresql":
        sequence = "setval(pg_get_serial_sequence(:table, :column), :number)"
        if number:
            connection.execute(text(f"SELECT {sequence}"), {"table": table, "column": column, "number": number})
    elif number and table == "events":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table})
        connection.execute(text("INSERT INTO sqlite_sequence VALUES (:table, :number)"), {"table": table, "number": number})
