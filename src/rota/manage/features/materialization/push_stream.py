"""One source's stream of pushed rows: journalled, brought online, and carried into the source's table, each once.

Who carries a stretch first says in metadata how far it goes; whoever comes next appends the same rows under the same number,
which the table takes once. That the rows have arrived is told behind it, once too (see `rota.manage.signals.data_arrived`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from rota.errors import Conflict
from rota.manage.features.materialization.online_update import Received, applied, applied_key, columns, without_segment
from rota.manage.features.rows import source_table
from rota.manage.signals.data_arrived import arrived
from rota.manage.signals.journal_drain import tidy
from rota.ports.clock import Clock
from rota.ports.journal import Chunk, Journal
from rota.ports.metadata import Batch, Metadata
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.intake import StreamClaim
from rota.records.time import SECOND_US

PUSH = "push/"
CHUNK_BYTES = 4_000_000
AHEAD_US = 60 * SECOND_US
"""How far a pushed row may lie ahead of the platform's clock: clocks differ a little, the future is not known."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True)
class Stores:
    """Where rows come to."""

    metadata: Metadata
    tables: Tables
    online: Online
    journal: Journal
    clock: Clock


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream of one source, and how far each of its segments has come."""

    stores: Stores
    source: Source

    @property
    def name(self) -> str:
        return PUSH + self.source.name

    def append(self, received: Sequence[Received], *, sync: bool) -> tuple[str, int]:
        """Journal rows; returns the segment and where in it they end."""
        return self.stores.journal.append(self.name, [_encode((created_us, row)) for created_us, row in received], sync=sync)

    def ends(self) -> dict[str, int]:
        """How far each segment is online."""
        return applied(self.stores.online.read([applied_key(self.source.name)])[0])

    def waiting(self) -> Iterator[Chunk]:
        """What is journalled and not online yet."""
        return self.stores.journal.read(self.name, self.ends(), max_bytes=CHUNK_BYTES)

    def carried(self, segment: str) -> int:
        """How far a segment is in the table."""
        return max(0, self.stores.tables.sequence(source_table.table(self.source), self._writer(segment)))

    def uncarried(self) -> Iterator[Chunk]:
        """What is journalled and not in the table yet."""
        return self.stores.journal.read(self.name, {segment: self.carried(segment) for segment in self.ends()}, max_bytes=CHUNK_BYTES)

    def carry(self, chunk: Chunk) -> int:
        """Append one stretch to the table; 0 when another process has begun a different one there."""
        self.tell(chunk.segment)
        claim = self._claimed(chunk)
        if claim.end > chunk.end:  # begun by somebody who saw more of the segment
            chunk = next((again for again in self.uncarried() if again.segment == chunk.segment), chunk)
        if claim.start != chunk.start or claim.end > chunk.end:
            return 0
        found = columns(self.source, received(chunk)[: claim.entries])
        name = source_table.table(self.source)
        version = self.stores.tables.append(name, found, batch=(self._writer(chunk.segment), claim.end))
        self.tell(chunk.segment)
        tidy(self.stores.tables, name, version)
        return claim.entries

    def tell(self, segment: str) -> None:
        """Say that the rows of a segment's last stretch have arrived, unless that was said before or they have not."""
        claim = self._claim(segment)
        if claim is not None and claim.end <= self.carried(segment):
            now_us = self.stores.clock.now_us()
            arrived(self.stores.metadata, self.source.name, claim.entries, writer=f"{PUSH}{segment}", upto=claim.end, now_us=now_us)

    def drop_finished(self) -> None:
        """Remove the segments that are in the table and that nobody writes any more."""
        for segment in self.ends():
            if self.stores.journal.drop(self.name, segment, self.carried(segment)):
                self.stores.online.update([(applied_key(self.source.name), segment.encode())], without_segment)

    def _writer(self, segment: str) -> str:
        return f"{self.name}/{segment}"

    def _claim(self, segment: str) -> StreamClaim | None:
        return self.stores.metadata.get(StreamClaim, self.source.name, segment)

    def _claimed(self, chunk: Chunk) -> StreamClaim:
        """The stretch to carry: as an unfinished flush claimed it, or this chunk."""
        wanted = StreamClaim(self.source.name, chunk.segment, chunk.start, chunk.end, len(chunk.payloads))
        while True:
            known = self._claim(chunk.segment)
            if known is not None and known.end > chunk.start:
                return known
            batch = Batch()
            batch.put(wanted, replacing=known)
            try:
                self.stores.metadata.commit(batch)
            except Conflict:
                continue
            return wanted


def received(chunk: Chunk) -> list[Received]:
    """The rows of a stretch of the journal."""
    return [Received(*_decode(payload)) for payload in chunk.payloads]
