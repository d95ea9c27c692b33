"""Atomically replace a source's window tiles and de-duplication index while pushes continue.

The new values are computed from the table and the journal up to some point. What was brought online since then is added inside
the update's transaction, so no push can come between: however busily other processes push, one update is enough. Keys that
appear only after that point are not replaced, for pushes have written them whole.
"""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from rota.manage.features.materialization import backfill, stream_state
from rota.manage.features.materialization.online_update import (
    DeduplicationIndex,
    OnlineUpdate,
    StaleUpdate,
    columns,
)
from rota.manage.features.materialization.push_stream import AHEAD_US, CHUNK_BYTES, PushStream, pushed_rows
from rota.manage.features.materialization.stream_state import HistoryMark, StreamState
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows import source_table
from rota.ports.journal import Chunk

_ONE_ENTRY = 1  # bytes a chunk: entries come one by one then


class WindowRebuild:
    """One rebuild of the windowed views of a source: `prepare`, then `commit`."""

    def __init__(self, stream: PushStream, index: DeduplicationIndex, views: Sequence[WindowView], catalog_version: int) -> None:
        self._stream = stream
        self._index = index
        self._views = views
        self._version = catalog_version
        self._values: dict[bytes, bytes] = {}
        self._ends: dict[str, int] = {}  # segment -> up to where its rows are in the values

    @property
    def keys(self) -> int:
        """How many keys the new state has."""
        return len(self._values)

    def prepare(self, version: int | None, catch_up: Callable[[], int]) -> bool:
        """Compute the new values from a version of the table and the rest of the journal; False when another process flushed meanwhile."""
        stream, source = self._stream, self._stream.source
        carried = {segment: stream.carried(segment) for segment in stream.ends()}
        chunks = list(stream.uncarried())
        rest = columns(source, [each for chunk in chunks for each in pushed_rows(chunk)])
        stored = source_table.scan(stream.stores.tables, source, version=version, columns=self._index.columns).collect()
        rows = pl.concat([stored, rest.select(self._index.columns)])
        if any(stream.carried(segment) != carried.get(segment, 0) for segment in {*carried, *(chunk.segment for chunk in chunks)}):
            return False
        catch_up()  # all that was read is online from here on
        self._ends = carried | {chunk.segment: chunk.end for chunk in chunks}
        rows = rows.filter(pl.col(source.timestamp_field) <= stream.stores.clock.now_us() + AHEAD_US)
        self._values = dict(backfill.rebuilt(self._index, self._views, rows))
        return True

    def commit(self, mark: HistoryMark, *, changed_only: bool) -> int | None:
        """Replace the stored values and mark the views as online; returns how many, or None when a segment was dropped meanwhile.

        With `changed_only` equal values are left.
        """
        self._replay(self._stream.ends())  # most of what came in the meantime, while the store is still free for others
        keys = sorted(self._values)
        if changed_only:
            stored = self._stream.stores.online.read(keys)
            keys = [key for key, old in zip(keys, stored, strict=True) if old != self._values[key]]

        def merge(old: bytes | None, new: bytes) -> bytes:
            if new:
                return self._values[keys[int.from_bytes(new, "big") - 1]]
            state = stream_state.decoded(old)
            self._replay(state.ends)
            marks = {view.prefix: mark for view in self._views}
            return StreamState(state.ends, max(self._version, state.catalog_version), {**state.history, **marks}).encoded()

        pairs = [(stream_state.key(self._stream.source.name), b""), *((key, (i + 1).to_bytes(4, "big")) for i, key in enumerate(keys))]
        try:
            self._stream.stores.online.update(pairs, merge)
        except StaleUpdate:
            return None
        return len(keys)

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
        update = OnlineUpdate(self._index, self._views, pushed_rows(chunk), self._version, all_views=True)
        buckets = {key: self._values.get(key) for key in update.keys[1:]}
        for key, new in update.pairs(chunk.segment, chunk.start, chunk.end, buckets)[1:]:
            self._values[key] = update.merge(self._values.get(key), new)
        self._ends[chunk.segment] = chunk.end
