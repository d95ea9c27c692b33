"""The feed: how rows come into the feature repository, by pushes and from files, and reach the online store.

A push is checked whole, appended to the journal, brought into every view online, and only then acknowledged. `flush`
carries the journal into the offline tables. Each of these steps may be cut off anywhere and repeated: rows arrive once.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rota.errors import InvalidInput, RotaError, Unavailable
from rota.manage.features.definitions import references, versions
from rota.manage.features.definitions import registration as registry
from rota.manage.features.definitions.registration import Definition
from rota.manage.features.ingestion import batch, contracts, source_status
from rota.manage.features.ingestion.batch import Ingester
from rota.manage.features.materialization import freshness
from rota.manage.features.materialization import materialize as materialization
from rota.manage.features.materialization.freshness import ViewStatus
from rota.manage.features.materialization.materialize import Progress, Work
from rota.manage.features.materialization.online_update import Delivery, Ids, Moved, Received
from rota.manage.features.materialization.push_stream import AHEAD_US, PUSH, Stores, Stream, received
from rota.manage.features.online.reader import StoredView, stored_view
from rota.manage.features.online.row_codec import RowView, prefix
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows import coercion
from rota.ports.clock import Clock
from rota.ports.inputs import Inputs
from rota.ports.journal import Chunk, Journal
from rota.ports.metadata import Metadata
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.records.data import FeatureView, Source
from rota.records.intake import Ingestion
from rota.records.record import Record
from rota.records.time import iso

_log = logging.getLogger("rota.manage")
_TRIES = 100


class Feed:
    """Takes rows in. Thread-safe; any number of processes may push and one store is enough for all of them."""

    def __init__(self, metadata: Metadata, tables: Tables, online: Online, journal: Journal, clock: Clock, *, inputs: Inputs | None = None) -> None:
        self._stores = Stores(metadata, tables, online, journal, clock)
        self._ingester = Ingester(metadata, tables, journal, clock, inputs)
        self._metadata = metadata
        self._tables = tables
        self._online = online
        self._clock = clock
        self._lock = threading.RLock()
        self._ends: dict[str, tuple[str, int]] = {}  # source -> where this process's last push ended
        self._compiled: dict[bytes, StoredView] = {}
        self._by_source: dict[str, tuple[int, list[StoredView]]] = {}
        self._ids: dict[str, tuple[Source, list[StoredView], Ids]] = {}

    def register(self, definitions: Iterable[Definition], *, actor: str = "owner") -> list[Record]:
        """Check, gate and store definitions (see `registry.register`). Materialize a new view over a source that has rows."""
        return registry.register(self._metadata, self._tables, definitions, now_us=self._clock.now_us(), actor=actor)

    def push(self, source: str, events: Sequence[Mapping[str, Any]], *, sync: bool = False) -> int:
        """Take rows of a source in, all or none; returns how many. On return they survive kill -9 and can be read online.

        A contract refuses rows that break it (`Refused`), or quarantines them: those are kept apart and not counted.

        Rows with an id that was pushed before are corrections (or repetitions, which change nothing). Raises `InvalidInput`
        naming field, value and row, `NotFound` for an unknown source; after `Unavailable` the same push may be repeated
        (rows without an id may then count twice).
        """
        found = self._source(source)
        checked = self._checked(found, events)
        kept = contracts.kept(self._metadata, self._tables, found, checked, self._clock.now_us())
        if not kept:
            return 0
        stream = Stream(self._stores, found)
        with self._lock:
            now_us = self._clock.now_us()
            taken = [Received(now_us, row) for row in kept]
            before = self._ends.get(source)
            segment, end = stream.append(taken, sync=sync)
            self._ends[source] = (segment, end)
            if before is None or before[0] != segment or not self._apply(found, taken, segment, before[1], end):
                self._catch_up(found)
        return len(events) - (len(checked) - len(kept))

    def recover(self) -> int:
        """Bring journal entries that a killed process had not yet applied into the online store; returns how many. Call it on start."""
        with self._lock:
            return sum(self._catch_up(self._source(source)) for source in self._pushed())

    def flush(self, source: str) -> int:
        """Carry journal entries into the table `sources/<name>` and drop finished segments; returns how many rows.

        Rows that reach the table are told of by one event `data.arrived` for each stretch.
        """
        stream = Stream(self._stores, self._source(source))
        flushed = 0
        with self._lock:
            for segment in stream.ends():
                stream.tell(segment)  # what a killed process carried and had not said yet
            reached: dict[str, int] = {}
            while moved := sum(self._carry(stream, chunk) for chunk in _noted(stream.uncarried(), reached)):
                flushed += moved
                if all(stream.carried(segment) >= end for segment, end in reached.items()):
                    break  # what was pushed meanwhile is for the next flush, or this one might never end
            stream.drop_finished()
        return flushed

    def flush_all(self) -> dict[str, int]:
        """`flush` every source that has pushed rows waiting; returns how many rows of each. For a worker to call now and then.

        A source that cannot be flushed does not keep the others from it; its error is raised behind them.
        """
        moved: dict[str, int] = {}
        failed: RotaError | None = None
        for source in self._pushed():
            try:
                if rows_moved := self.flush(source):
                    moved[source] = rows_moved
            except RotaError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return moved

    def ingest(self, source: str, path: str | Path | None = None, *, actor: str = "owner") -> Ingestion:
        """Take what is new of a source's input (or of another path or glob) into the offline table (see `ingestion.ingest`)."""
        return batch.ingest(self._ingester, self._source(source), path, actor=actor)

    def ingest_table(self, source: str, table: Any, *, actor: str = "owner") -> Ingestion:
        """Take a table (polars, pandas, Arrow, a list of dicts) into the offline table (see `ingestion.ingest_table`)."""
        return batch.ingest_table(self._ingester, self._source(source), table, actor=actor)

    def refresh(self, source: str) -> Ingestion | None:
        """Carry what was pushed into the offline table and take in what is new of the source's input, if it has one."""
        self.flush(source)
        return batch.refresh(self._ingester, self._source(source))

    def materialize(self, view: str, *, progress: Progress | None = None) -> int:
        """Bring all rows up to now into the online rows of a view, and of every other view over its source; returns how many keys.

        "view@v2" is that version alone (windowed: with the other windowed views of the source, whose remembered ids it shares).
        Right whatever was pushed before or is pushed meanwhile: rows merge, the newest stays; tiles are exchanged in one
        transaction, and only while the source stands where they were read. Rows dated later than now are left for a later call.
        """
        return self._materialize(view, progress, incremental=False)

    def materialize_incremental(self, view: str, *, progress: Progress | None = None) -> int:
        """As `materialize`, but only what the online store lacks is written, and nothing is read where no row came since the last time.

        Returns how many keys were written. Rows that came out of files or databases reach the online store this way.
        """
        return self._materialize(view, progress, incremental=True)

    def status(self, view: str) -> ViewStatus:
        """How fresh a view ("view" or "view@v2") is."""
        definition = self._view(view)
        stream = Stream(self._stores, self._source(definition.source.name))
        return freshness.status(view, stream, self._stored(definition))

    def forget(self, view: FeatureView) -> int:
        """Remove the online rows of one definition of a view that no model reads any more; returns how many."""
        return self._online.delete(prefix(view))

    def _source(self, name: str) -> Source:
        return source_status.get(self._metadata, name)

    def _view(self, reference: str) -> FeatureView:
        name, number = versions.named(reference) if "@v" in reference else (reference, None)
        found = references.view(self._metadata, name, number)
        if not isinstance(found, FeatureView):
            raise InvalidInput(f"view {reference!r} is computed from the request; nothing of it is stored", view=reference)
        return found

    def _pushed(self) -> list[str]:
        """The sources whose journal has entries."""
        return [stream.removeprefix(PUSH) for stream in self._stores.journal.streams() if stream.startswith(PUSH)]

    def _stored(self, view: FeatureView) -> StoredView:
        key = prefix(view)
        if key not in self._compiled:
            self._compiled[key] = stored_view(view)
        return self._compiled[key]

    def _views(self, source: str) -> tuple[int, list[StoredView]]:
        """The state of the catalog, and the views over a source as they are in it or later."""
        stamp = registry.catalog(self._metadata)
        known = self._by_source.get(source)
        if known is None or known[0] != stamp:
            views = {prefix(view): view for view in registry.views_of(self._metadata, source)}
            known = self._by_source[source] = (stamp, [self._stored(view) for view in views.values()])
        return known

    def _ids_of(self, source: Source, views: list[StoredView]) -> Ids:
        known = self._ids.get(source.name)
        if known is None or known[:2] != (source, views):
            known = self._ids[source.name] = (source, views, Ids(source, views))
        return known[2]

    def _checked(self, source: Source, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows checked, the last one of each id, none out of the future."""
        checked = coercion.check_events(source, events)
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

    def _apply(self, source: Source, taken: Sequence[Received], segment: str, start: int, end: int) -> bool:
        """Bring one stretch of the journal online; False when the source does not stand at its start."""
        stamp, views = self._views(source.name)
        delivery = Delivery(self._ids_of(source, views), views, taken, stamp)
        keys = delivery.id_keys()
        buckets = dict(zip(keys, self._online.read(keys), strict=True))
        try:
            self._online.update(delivery.pairs(segment, start, end, buckets), delivery.merge, position=(f"{PUSH}{source.name}/{segment}", end))
        except Moved:
            return False
        return True

    def _catch_up(self, source: Source) -> int:
        """Apply whatever of the journal is not online yet, from where the store says the source stands."""
        count = 0
        stream = Stream(self._stores, source)
        for _ in range(_TRIES):
            for chunk in stream.waiting():
                if not self._apply(source, received(chunk), chunk.segment, chunk.start, chunk.end):
                    break
                count += len(chunk.payloads)
            else:
                return count
        raise Unavailable(f"other processes keep applying the pushes of source {source.name!r}; try again", source=source.name)

    def _carry(self, stream: Stream, chunk: Chunk) -> int:
        """Append one stretch to the table."""
        if stream.carried(chunk.segment) != chunk.start:
            return 0
        self._catch_up(stream.source)  # what is in the table is online: `materialize` builds on that
        return stream.carry(chunk)

    def _materialize(self, reference: str, progress: Progress | None, *, incremental: bool) -> int:
        definition = self._view(reference)
        source = self._source(definition.source.name)
        stamp, views = self._views(source.name)
        asked = [self._stored(definition)] if "@v" in reference else views
        stream = Stream(self._stores, source)
        work = Work(stream, self._ids_of(source, views), stamp, incremental, progress)
        materialization.mark(stream, stamp)
        self.flush(source.name)
        written = sum(materialization.rows(work, view) for view in asked if isinstance(view, RowView))
        if any(isinstance(view, WindowView) for view in asked):
            windows = [view for view in views if isinstance(view, WindowView)]
            with self._lock:
                written += materialization.tiles(work, windows, lambda: self.flush(source.name), lambda: self._catch_up(source))
        return written


def _noted(chunks: Iterable[Chunk], reached: dict[str, int]) -> Iterator[Chunk]:
    """The chunks, where each segment ends being noted when it is met first."""
    known = frozenset(reached)
    for chunk in chunks:
        if chunk.segment not in known:
            reached[chunk.segment] = chunk.end
        yield chunk
