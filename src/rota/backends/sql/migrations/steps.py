"""What steps have in common. Released steps stand on these functions, so none of them may change what it does."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""A key or index column; sorted by code point in every engine."""
NUMBER = sa.BigInteger()
POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A number that the engine gives by itself."""
_ROWS = 1_000


def record_table(name: str, key: Sequence[str], texts: Sequence[str] = (), numbers: Sequence[str] = ()) -> None:
    """The table of a Kind: its key, its index fields by what they hold, and the record as JSON."""
    op.create_table(
        name,
        *(sa.Column(column, TEXT, primary_key=True) for column in key),
        *(sa.Column(column, TEXT) for column in texts),
        *(sa.Column(column, NUMBER) for column in numbers),
        sa.Column("body", sa.Text, nullable=False),
    )
    for column in (*texts, *numbers):
        op.create_index(f"{name}_{column}", name, [column])


def index_field(table: str, column: str, *, number: bool = False, path: str = "", default: str | int | None = None) -> None:
    """A new index field of a Kind: its column, filled from the bodies (`default` where an older body lacks the field), and its index."""
    op.add_column(table, sa.Column(column, NUMBER if number else TEXT))
    change_rows(table, lambda body: {column: _follow(body, path or column, default)})
    op.create_index(f"{table}_{column}", table, [column])


def change_rows(table: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Set the columns that `change` gives for the body of each row; few rows are in memory at a time."""
    rows = reflected(table)
    keys = list(rows.primary_key)
    for found in _chunks(rows):
        changes = [(row, change(json.loads(row.body))) for row in found]
        values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in changes[0][1]}
        here = [column == sa.bindparam(f"at_{column.name}") for column in keys]
        parameters = [
            {f"at_{column.name}": value for column, value in _at(row, keys)} | {f"new_{name}": value for name, value in new.items()}
            for row, new in changes
        ]
        op.get_bind().execute(sa.update(rows).where(*here).values(values), parameters)


def bodies(table: str) -> Iterator[dict[str, Any]]:
    """The records of a table as JSON objects, in the order of their key."""
    for found in _chunks(reflected(table)):
        for row in found:
            yield json.loads(row.body)


def insert_rows(table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if rows:
        op.get_bind().execute(sa.insert(sa.table(table, *(sa.column(name) for name in rows[0]))), list(rows))


def reflected(table: str) -> sa.Table:
    """A table as it is at this step."""
    return sa.Table(table, sa.MetaData(), autoload_with=op.get_bind())


def text_of(value: object) -> str:
    """JSON as Rota writes it: names in order, no blanks, letters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(number: int) -> str:
    """A number in a key."""
    return f"{number:020d}"


def _chunks(rows: sa.Table) -> Iterator[Sequence[sa.Row[Any]]]:
    """All rows by their key, a thousand at a time; rows may be changed meanwhile, not their keys."""
    keys = list(rows.primary_key)
    query = sa.select(rows).order_by(*keys).limit(_ROWS)
    found = op.get_bind().execute(query).all()
    while found:
        yield found
        last = [value for _, value in _at(found[-1], keys)]
        found = op.get_bind().execute(query.where(sa.tuple_(*keys) > sa.tuple_(*last))).all()


def _at(row: sa.Row[Any], keys: Sequence[sa.Column[Any]]) -> list[tuple[sa.Column[Any], Any]]:
    return [(column, getattr(row, column.name)) for column in keys]


def _follow(body: Any, path: str, default: str | int | None) -> Any:
    for name in path.split("."):
        if name not in body:
            return default
        body = body[name]
    return body
