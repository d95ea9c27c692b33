"""The feed: how rows come into the feature repository, by pushes and from files, and reach the online store.

A push is checked whole, appended to the journal, brought into every view online, and only then acknowledged. `flush`
carries the journal into the offline tables. Each of these steps may be cut off anywhere and repeated: rows arrive once.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from rota.errors import Conflict, InvalidInput, NotFound, Unavailable
from rota.manage.drain import tidy
from rota.manage.features import history, ingestion, registry, rows, source_rows
from rota.manage.features.deliveries import Delivery, Ids, Moved, Received, applied, applied_key, without_segment
from rota.manage.features.files import Ingestion
from rota.manage.features.online import StoredView, stored_view
from rota.manage.features.registry import Definition
from rota.manage.features.source_rows import CREATED
from rota.manage.features.stored import prefix
from rota.ports.clock import Clock
from rota.ports.journal import Chunk, Journal
from rota.ports.metadata import Batch, Metadata
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.records.data import FeatureView, Source
from rota.records.record import Record
from rota.records.signal import Cursor
from rota.records.time import SECOND_US, iso

_log = logging.getLogger("rota.manage")
AHEAD_US = 60 * SECOND_US
"""How far a pushed row may lie ahead of the platform's clock: clocks differ a little, the future is not known."""
_CHUNK_BYTES = 4_000_000
_TRIES = 100
_PUSH = "push/"


class Feed:
    """Takes rows in. Thread-safe; any number of processes may push and one store is enough for all of them."""

    def __init__(self, metadata: Metadata, tables: Tables, online: Online, journal: Journal, clock: Clock) -> None:
        self._metadata = metadata
        self._tables = tables
        self._online = online
        self._journal = journal
        self._clock = clock
        self._lock = threading.RLock()
        self._ends: dict[str, tuple[str, int]] = {}  # source -> where this process's last push ended
        self._compiled: dict[bytes, StoredView] = {}
        self._by_source: dict[str, tuple[int, list[StoredView]]] = {}
        self._ids: dict[str, tuple[Source, list[StoredView], Ids]] = {}

    def register(self, definitions: Iterable[Definition]) -> list[Record]:
        """Check, gate and store definitions (see `registry.register`). Materialize a new view over a source that has rows."""
        return registry.register(self._metadata, self._tables, definitions)

    def push(self, source: str, events: Sequence[Mapping[str, Any]], *, sync: bool = False) -> int:
        """Take rows of a source in, all or none; returns how many. On return they survive kill -9 and can be read online.

        Rows with an id that was pushed before are corrections (or repetitions, which change nothing). Raises `InvalidInput`
        naming field, value and row, `NotFound` for an unknown source; after `Unavailable` the same push may be repeated
        (rows without an id may then count twice).
        """
        found = self._source(source)
        checked = self._checked(found, events)
        if not checked:
            return 0
        with self._lock:
            received = [Received(self._clock.now_us(), row) for row in checked]
            before = self._ends.get(source)
            segment, end = self._journal.append(_PUSH + source, [_payload(each) for each in received], sync=sync)
            self._ends[source] = (segment, end)
            if before is None or before[0] != segment or not self._apply(found, received, segment, before[1], end):
                self._catch_up(found)
        return len(events)

    def recover(self) -> int:
        """Bring journal entries that a killed process had not yet applied into the online store; returns how many. Call it on start."""
        streams = [stream.removeprefix(_PUSH) for stream in self._journal.streams() if stream.startswith(_PUSH)]
        with self._lock:
            return sum(self._catch_up(self._source(source)) for source in streams)

    def flush(self, source: str) -> int:
        """Carry journal entries into the table `sources/<name>` and drop finished segments; returns how many rows."""
        found = self._source(source)
        flushed = 0
        with self._lock:
            while moved := sum(self._flush_chunk(found, chunk) for chunk in self._unflushed(found)):
                flushed += moved
            self._drop_finished(found)
        return flushed

    def ingest(self, source: str, path: str | Path | None = None) -> Ingestion:
        """Read files of a source (its own `path`, or another path or glob) into the offline table (see `ingestion.ingest`)."""
        with self._lock:
            return ingestion.ingest(self._tables, self._clock, self._source(source), path)

    def materialize(self, view: str) -> int:
        """Rebuild the online rows of a view, and of every other view over its source, from all rows up to now; returns how many keys.

        Right whatever was pushed before or is pushed meanwhile: the exchange happens in one transaction, and only while the
        source stands where the rebuild has read it. Rows dated later than now are left for a later call.
        """
        record = self._metadata.get(FeatureView, view)
        if record is None:
            raise NotFound(f"there is no feature view {view!r}; the views are {[each.name for each in self._metadata.find(FeatureView)]}", view=view)
        source = self._source(record.source.name)
        with self._lock:
            for _ in range(_TRIES):
                self.flush(source.name)
                written = self._rebuild(source)
                if written is not None:
                    return written
        raise Unavailable(f"rows of source {source.name!r} kept coming in from other processes while view {view!r} was rebuilt; try again", view=view)

    def forget(self, view: FeatureView) -> int:
        """Remove the online rows of one definition of a view that no model reads any more; returns how many."""
        return self._online.delete(prefix(view))

    def _source(self, name: str) -> Source:
        found = self._metadata.get(Source, name)
        if found is None:
            raise NotFound(f"there is no source {name!r}; the sources are {[each.name for each in self._metadata.find(Source)]}", source=name)
        return found

    def _views(self, source: str) -> list[StoredView]:
        stamp = registry.catalog(self._metadata)
        known = self._by_source.get(source)
        if known is None or known[0] != stamp:
            views = {prefix(view): view for view in registry.views_of(self._metadata, source)}
            for key, view in views.items():
                if key not in self._compiled:
                    self._compiled[key] = stored_view(view)
            known = self._by_source[source] = (stamp, [self._compiled[key] for key in views])
        return known[1]

    def _ids_of(self, source: Source, views: list[StoredView]) -> Ids:
        known = self._ids.get(source.name)
        if known is None or known[:2] != (source, views):
            known = self._ids[source.name] = (source, views, Ids(source, views))
        return known[2]

    def _checked(self, source: Source, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows checked, the last one of each id, none out of the future."""
        checked = rows.check_events(source, events)
        latest = self._clock.now_us() + AHEAD_US
        for index, row in enumerate(checked):
            if row[source.timestamp_field] > latest:
                raise InvalidInput(
                    f"row {index}, field {source.timestamp_field!r}: {iso(row[source.timestamp_field])} lies after the platform's time "
                    f"{iso(self._clock.now_us())}; push a row when its facts are known",
                    row=index,
                    field=source.timestamp_field,
                )
        return list({row[source.id_field]: row for row in checked}.values()) if source.id_field is not None else checked

    def _apply(self, source: Source, received: Sequence[Received], segment: str, start: int, end: int) -> bool:
        """Bring one stretch of the journal online; False when the source does not stand at its start."""
        views = self._views(source.name)
        delivery = Delivery(self._ids_of(source, views), views, received)
        keys = delivery.id_keys()
        buckets = dict(zip(keys, self._online.read(keys), strict=True))
        try:
            self._online.update(delivery.pairs(segment, start, end, buckets), delivery.merge, position=(f"{_PUSH}{source.name}/{segment}", end))
        except Moved:
            return False
        return True

    def _catch_up(self, source: Source) -> int:
        """Apply whatever of the journal is not online yet, from where the store says the source stands."""
        count = 0
        for _ in range(_TRIES):
            chunks = self._journal.read(_PUSH + source.name, self._ends_applied(source.name), max_bytes=_CHUNK_BYTES)
            for chunk in chunks:
                if not self._apply(source, [_received(payload) for payload in chunk.payloads], chunk.segment, chunk.start, chunk.end):
                    break
                count += len(chunk.payloads)
            else:
                return count
        raise Unavailable(f"other processes keep applying the pushes of source {source.name!r}; try again", source=source.name)

    def _ends_applied(self, source: str) -> dict[str, int]:
        return applied(self._online.read([applied_key(source)])[0])

    def _flushed(self, source: Source, segment: str) -> int:
        return max(0, self._tables.sequence(source_rows.table(source), _writer(source, segment)))

    def _unflushed(self, source: Source) -> Iterator[Chunk]:
        ends = {segment: self._flushed(source, segment) for segment in self._ends_applied(source.name)}
        return self._journal.read(_PUSH + source.name, ends, max_bytes=_CHUNK_BYTES)

    def _flush_chunk(self, source: Source, chunk: Chunk) -> int:
        """Append one stretch to the table. Who flushes first says in metadata how far it goes; whoever comes next appends
        the same rows under the same number, which the table takes once."""
        if self._flushed(source, chunk.segment) != chunk.start:
            return 0
        self._catch_up(source)  # what is in the table is online: `materialize` builds on that
        start, end, count = self._claimed(source, chunk)
        if start != chunk.start:
            return 0
        received = [_received(payload) for payload in chunk.payloads[:count]]
        name = source_rows.table(source)
        tidy(self._tables, name, self._tables.append(name, _as_columns(source, received), batch=(_writer(source, chunk.segment), end)))
        return count

    def _claimed(self, source: Source, chunk: Chunk) -> tuple[int, int, int]:
        """Start, end and number of entries of the stretch to flush: as an unfinished flush claimed it, or this chunk."""
        names = [f"flush-{part}/{source.name}/{chunk.segment}" for part in ("start", "end", "entries")]
        wanted = (chunk.start, chunk.end, len(chunk.payloads))
        while True:
            old = [self._metadata.get(Cursor, name) for name in names]
            start, end, entries = (-1 if cursor is None else cursor.position for cursor in old)
            if end > chunk.start:
                return start, end, entries
            batch = Batch()
            for name, cursor, position in zip(names, old, wanted, strict=True):
                batch.put(Cursor(name, position), replacing=cursor)
            try:
                self._metadata.commit(batch)
            except Conflict:
                continue
            return wanted

    def _drop_finished(self, source: Source) -> None:
        for segment in self._ends_applied(source.name):
            if self._journal.drop(_PUSH + source.name, segment, self._flushed(source, segment)):
                self._online.update([(applied_key(source.name), segment.encode())], without_segment)

    def _rebuild(self, source: Source) -> int | None:
        """Make the online state from the table and the journal's rest and put it in place; None when the source moved meanwhile."""
        ends = self._ends_applied(source.name)
        flushed = {segment: self._flushed(source, segment) for segment in ends}
        version = self._tables.version(source_rows.table(source))
        chunks = list(self._journal.read(_PUSH + source.name, flushed, max_bytes=_CHUNK_BYTES))
        if any(chunk.end > ends.get(chunk.segment, 0) for chunk in chunks) or any(
            self._flushed(source, segment) != end for segment, end in flushed.items()
        ):
            return None
        unflushed = _as_columns(source, [_received(payload) for chunk in chunks for payload in chunk.payloads])
        found = pl.concat([source_rows.stored(self._tables, source, version=version), unflushed])
        found = found.filter(pl.col(source.timestamp_field) <= self._clock.now_us())
        views = self._views(source.name)
        pairs = history.rebuilt(self._ids_of(source, views), views, found, ends)
        try:
            self._online.update(pairs, history.replace)
        except Moved:
            return None
        return len(pairs) - 1


def _writer(source: Source, segment: str) -> str:
    return f"{_PUSH}{source.name}/{segment}"


def _payload(received: Received) -> bytes:
    return msgspec.msgpack.encode([received.created_us, received.row])


def _received(payload: bytes) -> Received:
    return Received(*msgspec.msgpack.decode(payload))


def _as_columns(source: Source, received: Sequence[Received]) -> pl.DataFrame:
    return rows.frame([{**each.row, CREATED: each.created_us} for each in received], source_rows.fields(source))
