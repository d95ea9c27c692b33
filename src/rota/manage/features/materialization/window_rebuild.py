"""Atomically replace a source's window tiles and de-duplication index while pushes continue; of rows with ids the scalar views too.

The new values are computed from the table and the journal up to some point. What was brought online since then is added inside
the update's transaction, so no push can come between: however busily other processes push, one update is enough. Keys that
appear only after that point are not replaced, for pushes have written them whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from rota.manage.features.materialization import backfill, stream_state
from rota.manage.features.materialization.live_rows import NOT_INGESTED, LiveRows, known_by
from rota.manage.features.materialization.online_update import (
    INDEX,
    DeduplicationIndex,
    OnlineUpdate,
    columns,
)
from rota.manage.features.materialization.push_stream import CHUNK_BYTES, PushStream, pushed_rows
from rota.manage.features.materialization.served_index import SERVED, StaleUpdate, united
from rota.manage.features.materialization.stream_state import HistoryMark
from rota.manage.features.online.reader import StoredView
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows import source_table
from rota.ports.journal import Chunk
from rota.records.time import Micros

_ONE_ENTRY = 1  # bytes a chunk: entries come one by one then


class WindowRebuild:
    """One rebuild of views of a source that are rebuilt together, all windowed ones or none: `prepare`, then `commit`."""

    def __init__(self, stream: PushStream, index: DeduplicationIndex, views: Sequence[StoredView], catalog_version: int) -> None:
        self._stream = stream
        self._index = index
        self._views = views
        self._version = catalog_version
        self._now_us: Micros = 0
        self._values: dict[bytes, bytes] = {}
        self._ends: dict[str, int] = {}  # segment -> up to where its rows are in the values

    def keys(self, view: StoredView) -> int:
        """How many entities of a view stand in the new state."""
        return sum(bool(data) and key.startswith(view.prefix) for key, data in self._values.items())

    def prepare(self, version: int | None, catch_up: Callable[[], int]) -> bool:
        """Compute the new values from a version of the table and the rest of the journal; False when another process flushed meanwhile."""
        stream, source = self._stream, self._stream.source
        carried = {segment: stream.carried(segment) for segment in stream.ends()}
        chunks = list(stream.uncarried())
        rest = columns(source, [each for chunk in chunks for each in pushed_rows(chunk)]).with_columns(NOT_INGESTED)
        stored = source_table.scan(stream.stores.tables, source, version=version, columns=self._index.columns).collect()
        rows = pl.concat([stored, rest.select(self._index.columns)])
        if any(stream.carried(segment) != carried.get(segment, 0) for segment in {*carried, *(chunk.segment for chunk in chunks)}):
            return False
        catch_up()  # all that was read is online from here on
        self._ends = carried | {chunk.segment: chunk.end for chunk in chunks}
        self._now_us = stream.stores.clock.now_us()
        rows = known_by(rows, source.timestamp_field, self._now_us)
        self._values = dict(backfill.rebuilt(self._index, rows))
        return True

    def commit(self, mark: HistoryMark, *, changed_only: bool) -> int | None:
        """Replace the stored values and mark the views as online; returns how many, or None when a segment was dropped meanwhile.

        With `changed_only` equal values are left.
        """
        self._replay(self._stream.ends())  # most of what came in the meantime, while the store is still free for others
        keys = sorted(filter(self._written(), self._values))
        if changed_only:
            stored = self._stream.stores.online.read(keys)
            keys = [key for key, old in zip(keys, stored, strict=True) if (old or b"") != self._values[key]]
        whole = len(self._views) == len(self._index.rebuilt)

        def merge(old: bytes | None, new: bytes) -> bytes:
            if new:
                key = keys[int.from_bytes(new, "big") - 1]
                return self._values[key] if whole or not key.startswith(SERVED) else united(old, self._values[key])
            state = stream_state.decoded(old)
            self._replay(state.ends)
            marks = {view.prefix: mark for view in self._views}
            version = max(self._version, state.catalog_version)
            return replace(state, catalog_version=version, history={**state.history, **marks}, rebuilds=state.rebuilds + 1).encoded()

        pairs = [(stream_state.key(self._stream.source.name), b""), *((key, (i + 1).to_bytes(4, "big")) for i, key in enumerate(keys))]
        try:
            self._stream.stores.online.update(pairs, merge)
        except StaleUpdate:
            return None
        return len(keys)

    def _written(self) -> Callable[[bytes], bool]:
        """Whether a key is to be replaced: those of the views, and of the indexes that they need."""
        indexes = (SERVED, INDEX) if any(isinstance(view, WindowView) for view in self._views) else (SERVED,)
        starts = (*indexes, *(view.prefix for view in self._views))
        return lambda key: key.startswith(starts)

    def _replay(self, ends: Mapping[str, int]) -> None:
        """Add the rows up to where the segments are online."""
        stream = self._stream
        for segment in [segment for segment in self._ends if segment not in ends]:
            if stream.carried(segment) != self._ends.pop(segment):  # dropped: its last rows are in the table only
                raise StaleUpdate(f"segment {segment} of source {stream.source.name!r} was dropped while the windows were rebuilt")
        for max_bytes in (CHUNK_BYTES, _ONE_ENTRY):
            for chunk in stream.stores.journal.read(stream.name, dict(self._ends), max_bytes=max_bytes):
                if self._ends.get(chunk.segment, 0) < chunk.end <= ends.get(chunk.segment, 0):
                    self._add(chunk)

    def _add(self, chunk: Chunk) -> None:
        update = OnlineUpdate(
            self._index,
            self._index.rebuilt,
            pushed_rows(chunk),
            self._version,
            history=LiveRows(self._stream, materialized_us=self._now_us),
            all_views=True,
            cautious=True,
        )
        buckets = {key: self._values.get(key) for key in update.keys[1:]}
        for key, new in update.pairs(chunk.segment, chunk.start, chunk.end, buckets, lambda keys: list(map(self._values.get, keys)))[1:]:
            self._values[key] = update.merge(self._values.get(key), new)
        self._ends[chunk.segment] = chunk.end
