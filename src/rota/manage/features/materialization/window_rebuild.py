"""The exchange of a source's tiles and remembered ids for ones made anew, in one update of the online store, beside pushes.

They are made of the table and the journal up to some point. What was brought online since then is added when the update
already holds the store, and so no push can come between: however busily others push, one update is enough. Keys that are
met for the first time then need no exchange, for pushes have made them whole.
"""

from collections.abc import Callable, Sequence

import polars as pl

from rota.manage.features.materialization import backfill as history
from rota.manage.features.materialization.online_update import Delivery, Ids, Moved, applied, applied_key, applied_stamp, applied_value, columns
from rota.manage.features.materialization.push_stream import AHEAD_US, CHUNK_BYTES, Stream, received
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows import source_table
from rota.ports.journal import Chunk

_AN_ENTRY = 1  # bytes a chunk: entries come one by one then


class Exchange:
    """One rebuilding of the windowed views of a source: `prepare`, then `commit`."""

    def __init__(self, stream: Stream, ids: Ids, views: Sequence[WindowView], stamp: int) -> None:
        self._stream = stream
        self._ids = ids
        self._views = views
        self._stamp = stamp
        self._values: dict[bytes, bytes] = {}
        self._ends: dict[str, int] = {}  # segment -> up to where its rows are in the values

    @property
    def keys(self) -> int:
        return len(self._values)

    def prepare(self, version: int | None, catch_up: Callable[[], int]) -> bool:
        """Make the values of a version of the table and what the journal has besides; False when rows went from the one to the other meanwhile."""
        stream, source = self._stream, self._stream.source
        carried = {segment: stream.carried(segment) for segment in stream.ends()}
        chunks = list(stream.uncarried())
        rest = columns(source, [each for chunk in chunks for each in received(chunk)])
        stored = source_table.scan(stream.stores.tables, source, version=version, columns=self._ids.columns).collect()
        found = pl.concat([stored, rest.select(self._ids.columns)])
        if any(stream.carried(segment) != carried.get(segment, 0) for segment in {*carried, *(chunk.segment for chunk in chunks)}):
            return False
        catch_up()  # all that was read is online from here on
        self._ends = carried | {chunk.segment: chunk.end for chunk in chunks}
        found = found.filter(pl.col(source.timestamp_field) <= stream.stores.clock.now_us() + AHEAD_US)
        self._values = dict(history.rebuilt(self._ids, self._views, found))
        return True

    def commit(self, *, changed_only: bool) -> int | None:
        """Put the values in place; returns how many, or None when a segment went away meanwhile. `changed_only` leaves out what is there already."""
        self._replay(self._stream.ends())  # most of what came in the meantime, while the store is still free for others
        keys = sorted(self._values)
        if changed_only:
            stored = self._stream.stores.online.read(keys)
            keys = [key for key, old in zip(keys, stored, strict=True) if old != self._values[key]]

        def merge(old: bytes | None, new: bytes) -> bytes:
            if new:
                return self._values[keys[int.from_bytes(new, "big") - 1]]
            ends = applied(old)
            self._replay(ends)
            return applied_value(ends, max(self._stamp, applied_stamp(old)))

        pairs = [(applied_key(self._stream.source.name), b""), *((key, (i + 1).to_bytes(4, "big")) for i, key in enumerate(keys))]
        try:
            self._stream.stores.online.update(pairs, merge)
        except Moved:
            return None
        return len(keys)

    def _replay(self, ends: dict[str, int]) -> None:
        """Add the rows up to where the segments are online."""
        stream = self._stream
        for segment in [segment for segment in self._ends if segment not in ends]:
            if stream.carried(segment) != self._ends.pop(segment):  # dropped: its last rows are in the table only
                raise Moved(f"segment {segment} of source {stream.source.name!r} was dropped while the windows were rebuilt")
        for max_bytes in (CHUNK_BYTES, _AN_ENTRY):
            for chunk in stream.stores.journal.read(stream.name, dict(self._ends), max_bytes=max_bytes):
                if self._ends.get(chunk.segment, 0) < chunk.end <= ends.get(chunk.segment, 0):
                    self._add(chunk)

    def _add(self, chunk: Chunk) -> None:
        delivery = Delivery(self._ids, self._views, received(chunk), self._stamp)
        buckets = {key: self._values.get(key) for key in delivery.id_keys()}
        for key, new in delivery.pairs(chunk.segment, chunk.start, chunk.end, buckets)[1:]:
            self._values[key] = delivery.merge(self._values.get(key), new)
        self._ends[chunk.segment] = chunk.end
