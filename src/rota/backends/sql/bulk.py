"""Many rows in one statement, as fast as each engine takes them.

SQLAlchemy's own executemany spends more time on a row than SQLite does (1,000 new metric points: 6.6 ms of CPU against 2.7, on two shared cores), and
psycopg's sends a message for each; a row here is a tuple that goes to SQLite's driver as it is, or one element of
PostgreSQL's arrays.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Connection, Double, Integer, Table

_Row = Sequence[str | int | float | None]


def insert_rows(connection: Connection, table: Table, rows: Sequence[_Row], *, conflict: str) -> None:
    """Insert rows (values in the order of the table's columns); `conflict` is what follows ON CONFLICT."""
    if not rows:
        return
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    if connection.dialect.name == "postgresql":
        arrays = ", ".join(f"%s::{_array_of(column.type)}" for column in table.columns)
        statement = f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT {conflict}'  # noqa: S608 (names of our own tables)
        connection.exec_driver_sql(statement, tuple(list(values) for values in zip(*rows, strict=True)))
    else:
        marks = ", ".join("?" for _ in table.columns)
        statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks}) ON CONFLICT {conflict}'  # noqa: S608 (the same)
        connection.exec_driver_sql(statement, [tuple(row) for row in rows])


def _array_of(type_: object) -> str:
    if isinstance(type_, (BigInteger, Integer)):
        return "bigint[]"
    return "float8[]" if isinstance(type_, Double) else "text[]"
