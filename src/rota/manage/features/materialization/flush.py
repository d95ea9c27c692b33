"""Flushing: journal ranges of pushed rows are appended to the source's table, each row once, and announced once.

Whoever carries a range first claims in metadata how far it goes; whoever comes next appends the same rows under the same number,
which the table takes once. That the rows have arrived is announced after it, once too (see `rota.manage.signals.exactly_once`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from rota.manage.features.materialization import online_extent
from rota.manage.features.materialization.online_update import columns
from rota.manage.features.materialization.push_stream import CHUNK_BYTES, PUSH, PushStream, pushed_rows
from rota.manage.features.rows import source_table
from rota.manage.signals.exactly_once import arrived, tidy
from rota.ports.journal import Chunk
from rota.ports.metadata import Batch, transact
from rota.records.intake import StreamClaim


class Flush:
    """One flush of a source's stream. `catch_up` brings what is journalled online: what is in the table has to be, for `materialize`.

    `announced` are the claims of earlier flushes of this process, by segment. As long as a segment is in the table up to where
    its claim ends, no other process has carried anything since, and metadata needs no reading.
    """

    def __init__(self, stream: PushStream, catch_up: Callable[[], int], announced: dict[str, StreamClaim]) -> None:
        self._stream = stream
        self._catch_up = catch_up
        self._metadata = stream.stores.metadata
        self._table = source_table.table(stream.source)
        self._carried: dict[str, int] = {}  # segment -> up to where it is in the table, as far as this flush knows
        self._claims: dict[str, StreamClaim | None] = {}
        self._announced = announced

    def run(self) -> int:
        """Carry what is journalled now into the table, and drop segments that are finished; returns how many rows."""
        self._carried = {segment: self._stream.carried(segment) for segment in self._stream.ends()}
        for segment, end in self._carried.items():
            known = self._announced.get(segment)
            if known is not None and known.end == end:
                self._claims[segment] = known
            else:
                self._announce(segment)  # what a killed process carried and had not announced yet
        flushed = 0
        reached: dict[str, int] = {}  # segment -> where it ended when it was met first
        while rows := sum(map(self._carry, self._chunks(reached))):
            flushed += rows
            if all(self._carried[segment] >= end for segment, end in reached.items()):
                break  # what was pushed meanwhile is for the next flush, or this one might never end
            self._carried = {segment: self._stream.carried(segment) for segment in {*self._stream.ends(), *reached}}
        self._drop_finished()
        return flushed

    def _chunks(self, reached: dict[str, int]) -> Iterator[Chunk]:
        """What is journalled and not in the table yet."""
        known = frozenset(reached)
        for chunk in self._read():
            if chunk.segment not in known:
                reached[chunk.segment] = chunk.end
                self._carried.setdefault(chunk.segment, 0)
            yield chunk

    def _read(self) -> Iterator[Chunk]:
        return self._stream.stores.journal.read(self._stream.name, dict(self._carried), max_bytes=CHUNK_BYTES)

    def _carry(self, chunk: Chunk) -> int:
        """Append one range to the table; returns how many rows: 0 when another process has begun a different range there."""
        segment, start = chunk.segment, chunk.start
        if self._carried[segment] != start:
            return 0
        self._catch_up()
        claim = self._claimed(chunk)
        if claim.end > chunk.end:  # begun by a process that saw more of the segment
            chunk = next((again for again in self._read() if again.segment == segment), chunk)
        if claim.start != chunk.start or claim.end > chunk.end:
            return 0
        rows = columns(self._stream.source, pushed_rows(chunk)[: claim.entries])
        tables = self._stream.stores.tables
        version = tables.append(self._table, rows, batch=(self._stream.writer(segment), claim.end))
        self._carried[segment] = claim.end
        self._announce(segment)
        tidy(tables, self._table, version)
        return claim.entries

    def _announce(self, segment: str) -> None:
        """Announce that the rows of a segment's claimed range have arrived, unless that was announced before or they have not."""
        claim = self._stored_claim(segment)
        if claim is not None and claim.end <= self._carried[segment]:
            now_us = self._stream.stores.clock.now_us()
            arrived(self._metadata, self._stream.source.name, claim.entries, writer=f"{PUSH}{segment}", upto=claim.end, now_us=now_us)
            self._announced[segment] = claim

    def _claimed(self, chunk: Chunk) -> StreamClaim:
        """The range to carry: as an unfinished flush claimed it, or this chunk."""
        wanted = StreamClaim(self._stream.source.name, chunk.segment, chunk.start, chunk.end, len(chunk.payloads))

        def claim() -> StreamClaim:
            stored = self._stored_claim(chunk.segment)
            if stored is not None and stored.end > chunk.start:
                return stored
            batch = Batch()
            batch.put(wanted, replacing=stored)
            self._metadata.commit(batch)
            self._claims[chunk.segment] = wanted
            return wanted

        # Conflict: another process claimed meanwhile, and its claim counts
        return transact(claim, on_conflict=lambda: self._claims.pop(chunk.segment))

    def _stored_claim(self, segment: str) -> StreamClaim | None:
        if segment not in self._claims:
            self._claims[segment] = self._metadata.get(StreamClaim, self._stream.source.name, segment)
        return self._claims[segment]

    def _drop_finished(self) -> None:
        """Remove the segments that are in the table and that no process writes any more."""
        stream, journal = self._stream, self._stream.stores.journal
        finished = {segment for segment, end in self._carried.items() if journal.drop(stream.name, segment, end)}
        ends, there = stream.ends(), journal.segments(stream.name)  # those first, for segments are written before they are brought online
        finished |= {segment for segment, end in ends.items() if segment not in there and self._carried.get(segment) == end}  # a killed process's
        if finished:
            online_extent.count(stream, lambda state: replace(state, ends={name: end for name, end in state.ends.items() if name not in finished}))
        for segment in finished:
            self._announced.pop(segment, None)
