"""SqlMetadata: records, events, lineage and audit in a SQL database."""

import importlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Engine, Select, Table, and_, delete, insert, or_, select, tuple_, update
from sqlalchemy.dialects import sqlite

from rota.backends.shared.page_token import SortValue, page_limit, token_of, values_after
from rota.backends.shared.stored_form import (
    body_of,
    chained,
    check_unchanged,
    checked_limit,
    checked_position,
    field_of,
    key_for,
    kind_of,
    listing_of,
    ordering,
    values_of,
)
from rota.backends.sql.engine import open_engine, reading, write
from rota.backends.sql.postgresql import commit_mark, lock
from rota.backends.sql.schema import KIND_TABLES, audit, edges, events
from rota.backends.sql.sqlite import CommitCounter
from rota.errors import Conflict, Corrupt
from rota.ports.metadata import Anything, Batch, Put
from rota.records.filters import Page
from rota.records.kinds import node
from rota.records.record import Record, decode
from rota.records.signal import AuditEntry, Edge, Event

R = TypeVar("R", bound=Record)
_EDGE_CHUNK = 500  # nodes in one IN list; SQLite takes up to 32 766


class SqlMetadata:
    """`rota.ports.metadata.Metadata` on a database that `open_engine` opened, or opens for a URL or a path."""

    def __init__(self, engine: Engine | str | Path) -> None:
        self.engine = engine if isinstance(engine, Engine) else open_engine(engine)
        self._counter = CommitCounter(self.engine) if self.engine.dialect.name == "sqlite" else None

    def get(self, kind: type[R], *key: str | int) -> R | None:
        row_kind = kind_of(kind)
        table = KIND_TABLES[row_kind]
        query = select(table.c.body).where(_has_key(table, key_for(row_kind, key)))
        with reading(self.engine) as connection:
            body = connection.scalar(query)
        return None if body is None else decode(body, kind)

    def find(self, kind: type[R], where: Mapping[str, str | int] | None = None, *, order: str = "", damaged: list[Corrupt] | None = None) -> list[R]:
        query, name, keys = _sorted(kind, where, order), kind_of(kind).name, len(kind_of(kind).key)
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        found = []
        for row in rows:
            try:
                found.append(decode(row.body, kind))
            except Corrupt as error:
                damage = Corrupt(f"{name} {'/'.join(map(str, row[-keys:]))}: {error}", node=f"{name}:{'/'.join(map(str, row[-keys:]))}")
                if damaged is None:
                    raise damage from error
                damaged.append(damage)
        return found

    def page(self, kind: type[R], where: Mapping[str, str | int] | None = None, *, order: str = "", after: str = "", limit: int = 1_000) -> Page[R]:
        row_kind = kind_of(kind)
        fields, descending = ordering(row_kind, order)
        query, listing = _sorted(kind, where, order).limit(page_limit(limit) + 1), listing_of(row_kind, where, order)
        if after:
            values = values_after(listing, after, [field.stored_types for field in fields])
            query = query.where(_behind([KIND_TABLES[row_kind].c[field.column] for field in fields], values, descending=descending))
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        more = len(rows) > limit
        return Page([decode(row.body, kind) for row in rows[:limit]], token_of(listing, rows[limit - 1][1:]) if more else "")

    def commit(self, batch: Batch) -> None:
        if is_empty(batch):
            return
        write(self.engine, lambda connection: apply_batch(connection, batch))

    def events(self, after: int, *, limit: int = 1_000) -> list[Event]:
        query = select(events).where(events.c.position > checked_position(after)).order_by(events.c.position).limit(checked_limit(limit))
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        found = list[Event]()
        for row in rows:
            try:
                found.append(msgspec.structs.replace(decode(row.body, Event), position=row.position))
            except Corrupt as error:
                if found:
                    break  # those before it first
                raise Corrupt(f"event {row.position} cannot be read: {error}", position=row.position) from error
        return found

    def forget_events(self, until: int) -> int:
        old = delete(events).where(events.c.position <= checked_position(until))
        return write(self.engine, lambda connection: connection.execute(old).rowcount)

    def edges(self, nodes: Collection[str], direction: Literal["causes", "effects"]) -> list[Edge]:
        near = edges.c.effect if direction == "causes" else edges.c.cause
        with reading(self.engine) as connection:
            rows = [row for chunk in _chunks(sorted(set(nodes))) for row in connection.execute(select(edges).where(near.in_(chunk)))]
        return sorted((Edge(*row) for row in rows), key=lambda edge: (edge.cause, edge.effect))

    def audit(self, after: int = 0, *, limit: int = 1_000) -> Sequence[AuditEntry]:
        query = select(audit).where(audit.c.position > checked_position(after)).order_by(audit.c.position).limit(checked_limit(limit))
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        return [msgspec.structs.replace(decode(row.body, AuditEntry), hash=row.hash) for row in rows]

    def mark(self) -> str:
        if self._counter is not None:
            return self._counter.read()
        with reading(self.engine) as connection:
            return commit_mark(connection)

    def close(self) -> None:
        """Give the connections back; a later call opens new ones."""
        if self._counter is not None:
            self._counter.close()
        self.engine.dispose()


def is_empty(batch: Batch) -> bool:
    """Whether a batch changes nothing, so that no transaction is needed."""
    return not (batch.puts or batch.removals or batch.events or batch.edges or batch.audits)


def apply_batch(connection: Connection, batch: Batch) -> None:
    """Write a batch inside the caller's transaction; raises `Conflict` when a put does not replace what it says, or a removal neither."""
    for put in batch.puts:
        _apply_put(connection, put)
    for record in batch.removals:
        _remove(connection, record)
    if batch.edges:
        rows = [{"cause": edge.cause, "effect": edge.effect, "at_us": edge.at_us} for edge in batch.edges]
        insert_new(connection, edges, sorted(rows, key=lambda row: (row["cause"], row["effect"])))  # one order for all writers
    if batch.events or batch.audits:
        lock(connection, "order")  # positions are given in commit order; last, as whoever has this turn waits for nobody else
    if batch.events:
        connection.execute(insert(events), [{"body": body_of(msgspec.structs.replace(event, position=0))} for event in batch.events])
    if batch.audits:
        _append_audits(connection, batch.audits)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> bool:
    """Insert the rows whose key is free; whether a single row was inserted."""
    statement = dialect_insert(connection, table).on_conflict_do_nothing()
    result = connection.execution_options(preserve_rowcount=True).execute(statement, rows if len(rows) > 1 else rows[0])
    return result.rowcount == 1


def dialect_insert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that knows ON CONFLICT, which both engines write alike; PostgreSQL's dialect is imported where it is used only."""
    statement: sqlite.Insert = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)
    return statement


def _apply_put(connection: Connection, put: Put) -> None:
    table = KIND_TABLES[kind_of(type(put.record))]
    row = values_of(put.record) | {"body": body_of(put.record)}
    if isinstance(put.replacing, Anything):
        changed = {name: value for name, value in row.items() if not table.c[name].primary_key}
        keys = [column.name for column in table.primary_key]
        connection.execute(dialect_insert(connection, table).values(row).on_conflict_do_update(index_elements=keys, set_=changed))
    elif put.replacing is None:
        if not insert_new(connection, table, [row]):
            raise Conflict(f"{node(put.record)} exists already; read it, then decide whether to replace it", node=node(put.record))
    else:
        _replace(connection, table, put.record, put.replacing, row)


def _replace(connection: Connection, table: Table, record: Record, replacing: Record, row: dict[str, str | int | None]) -> None:
    here = _at(table, row)
    check_unchanged(connection.scalar(select(table.c.body).where(here).with_for_update()), record, replacing)
    connection.execute(update(table).where(here).values(row))


def _remove(connection: Connection, record: Record) -> None:
    table = KIND_TABLES[kind_of(type(record))]
    here = _at(table, values_of(record))
    check_unchanged(connection.scalar(select(table.c.body).where(here).with_for_update()), record, record)
    connection.execute(delete(table).where(here))


def _append_audits(connection: Connection, entries: Iterable[AuditEntry]) -> None:
    newest = connection.execute(select(audit.c.position, audit.c.hash).order_by(audit.c.position.desc()).limit(1)).first()
    position, previous = newest or (0, "")
    rows = []
    for entry in entries:
        position += 1
        body, hash_ = chained(entry, position, previous)
        rows.append({"position": position, "previous": previous, "hash": hash_, "body": body})
        previous = hash_
    connection.execute(insert(audit), rows)


def _sorted(kind: type[R], where: Mapping[str, str | int] | None, order: str) -> Select[Any]:
    """The bodies that fit, each followed by what it is sorted by."""
    row_kind = kind_of(kind)
    table = KIND_TABLES[row_kind]
    fields, descending = ordering(row_kind, order)
    columns = [table.c[field.column] for field in fields]
    query = select(table.c.body, *columns)
    for path, value in (where or {}).items():
        wanted = field_of(row_kind, path)
        query = query.where(table.c[wanted.column] == wanted.stored(value))
    return query.order_by(*(column.desc().nulls_last() if descending else column.asc().nulls_first() for column in columns))


def _behind(columns: Sequence[Column[Any]], values: Sequence[SortValue], *, descending: bool) -> ColumnElement[bool]:
    """What follows a row with these values. Only the first column may hold NULL: it stands before every value, or after them when descending."""
    first, value = columns[0], values[0]
    if len(columns) == 1:
        return first < value if descending else first > value
    rest, behind = tuple_(*columns[1:]), tuple_(*values[1:])
    tied = and_(first.is_(None) if value is None else first == value, rest < behind if descending else rest > behind)
    if value is None:
        return tied if descending else or_(first.is_not(None), tied)
    return or_(first < value, first.is_(None), tied) if descending else or_(first > value, tied)


def _at(table: Table, row: Mapping[str, str | int | None]) -> ColumnElement[bool]:
    return and_(*(column == row[column.name] for column in table.primary_key))


def _has_key(table: Table, key: tuple[str, ...]) -> ColumnElement[bool]:
    return and_(*(column == part for column, part in zip(table.primary_key, key, strict=True)))


def _chunks(nodes: Sequence[str]) -> Iterable[list[str]]:
    iterator = iter(nodes)
    while chunk := list(islice(iterator, _EDGE_CHUNK)):
        yield chunk
