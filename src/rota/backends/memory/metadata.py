"""MemoryMetadata: the reference for the Metadata port, and the store of fast tests. Nothing outlives the process."""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

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
from rota.errors import Conflict, Corrupt
from rota.ports.metadata import Anything, Batch, Put
from rota.records.filters import Page
from rota.records.kinds import KINDS, key_of, node
from rota.records.record import Record, decode
from rota.records.signal import AuditEntry, Edge, Event

R = TypeVar("R", bound=Record)
Rows = dict[tuple[str, ...], str]


class MemoryMetadata:
    """`rota.ports.metadata.Metadata` in dictionaries of JSON texts, so that no caller shares an object with the store.

    `lock` is held by everything that changes the store; `MemoryRuns` takes it around a step and its batch.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._records: dict[str, Rows] = {kind.name: {} for kind in KINDS}
        self._events: list[str] = []
        self._forgotten = 0
        self._edges: dict[tuple[str, str], Edge] = {}
        self._audit: list[tuple[str, str]] = []
        self._commits = 0

    def get(self, kind: type[R], *key: str | int) -> R | None:
        row_kind = kind_of(kind)
        parts = key_for(row_kind, key)
        with self.lock:
            body = self._records[row_kind.name].get(parts)
        return None if body is None else decode(body, kind)

    def find(
        self,
        kind: type[R],
        where: Mapping[str, str | int] | None = None,
        *,
        order: str = "",
        damaged: list[Corrupt] | None = None,  # noqa: ARG002  # what lies in memory is never damaged
    ) -> list[R]:
        return [record for _, record in self._sorted(kind, where, order)]

    def page(self, kind: type[R], where: Mapping[str, str | int] | None = None, *, order: str = "", after: str = "", limit: int = 1_000) -> Page[R]:
        listing, found = listing_of(kind_of(kind), where, order), self._sorted(kind, where, order)
        fields, descending = ordering(kind_of(kind), order)
        if after:
            last = _sort_key(values_after(listing, after, [field.stored_types for field in fields]))
            found = [pair for pair in found if (_sort_key(pair[0]) < last if descending else _sort_key(pair[0]) > last)]
        shown = found[: page_limit(limit)]
        return Page([record for _, record in shown], token_of(listing, shown[-1][0]) if len(found) > limit else "")

    def _sorted(self, kind: type[R], where: Mapping[str, str | int] | None, order: str) -> list[tuple[list[SortValue], R]]:
        """The records that fit, each with the values that it is sorted by."""
        row_kind = kind_of(kind)
        asked = [(field, field.stored(value)) for field, value in ((field_of(row_kind, path), value) for path, value in (where or {}).items())]
        by_key = [(row_kind.key.index(field.path), value) for field, value in asked if field.key]
        with self.lock:
            rows = list(self._records[row_kind.name].items())
        records = [decode(body, kind) for key, body in rows if all(key[at] == value for at, value in by_key)]
        pairs = ((values_of(record), record) for record in records)
        fields, descending = ordering(row_kind, order)
        found = [
            ([values[field.column] for field in fields], record)
            for values, record in pairs
            if all(values[field.column] == value for field, value in asked)
        ]
        return sorted(found, key=lambda pair: _sort_key(pair[0]), reverse=descending)

    def commit(self, batch: Batch) -> None:
        """Everything that can fail happens on copies, which then take the place of the old rows in one go."""
        with self.lock:
            records = self._with(batch)
            events = [_event_body(event) for event in batch.events]
            edges = {(edge.cause, edge.effect): edge for edge in reversed(batch.edges)} | self._edges
            audit = list(self._audit)
            for entry in batch.audits:
                audit.append(chained(entry, len(audit) + 1, audit[-1][1] if audit else ""))
            self._records, self._edges, self._audit = records, edges, audit
            self._events.extend(events)
            self._commits += 1

    def events(self, after: int, *, limit: int = 1_000) -> list[Event]:
        with self.lock:
            start = max(checked_position(after), self._forgotten)
            bodies = self._events[start - self._forgotten :][: checked_limit(limit)]
        return [msgspec.structs.replace(decode(body, Event), position=start + offset) for offset, body in enumerate(bodies, 1)]

    def forget_events(self, until: int) -> int:
        with self.lock:
            count = min(max(checked_position(until) - self._forgotten, 0), len(self._events))
            self._events = self._events[count:]
            self._forgotten += count
            self._commits += 1
        return count

    def edges(self, nodes: Collection[str], direction: Literal["causes", "effects"]) -> list[Edge]:
        wanted = set(nodes)
        with self.lock:
            edges = sorted(self._edges.items())
        return [edge for (cause, effect), edge in edges if (effect if direction == "causes" else cause) in wanted]

    def audit(self, after: int = 0, *, limit: int = 1_000) -> Sequence[AuditEntry]:
        start = max(checked_position(after), 0)
        with self.lock:
            rows = self._audit[start : start + checked_limit(limit)]
        return [msgspec.structs.replace(decode(body, AuditEntry), hash=hash_) for body, hash_ in rows]

    def mark(self) -> str:
        with self.lock:
            return str(self._commits)

    def close(self) -> None:
        """Nothing is held."""

    def _with(self, batch: Batch) -> dict[str, Rows]:
        records = dict(self._records)
        for name in {kind_of(type(record)).name for record in (*(put.record for put in batch.puts), *batch.removals)}:
            records[name] = dict(records[name])
        for put in batch.puts:
            _apply(records[kind_of(type(put.record)).name], put)
        for record in batch.removals:
            rows = records[kind_of(type(record)).name]
            values_of(record)
            check_unchanged(rows.get(key_of(record)), record, record)
            del rows[key_of(record)]
        return records


def _apply(rows: Rows, put: Put) -> None:
    values_of(put.record)  # the columns of a SQL store must be able to hold it
    key, body = key_of(put.record), body_of(put.record)
    stored = rows.get(key)
    if put.replacing is None:
        if stored is not None:
            raise Conflict(f"{node(put.record)} exists already; read it, then decide whether to replace it", node=node(put.record))
    elif not isinstance(put.replacing, Anything):
        check_unchanged(stored, put.record, put.replacing)
    rows[key] = body


def _event_body(event: Event) -> str:
    return body_of(msgspec.structs.replace(event, position=0))


def _sort_key(values: Sequence[SortValue]) -> list[tuple[bool, str | int]]:
    """None stands before every value."""
    return [(value is not None, 0 if value is None else value) for value in values]
