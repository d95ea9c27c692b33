"""One source's stream of pushed rows: the journal that acknowledges them, and how far it is online and in the source's table."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from rota.manage.features.materialization.online_update import PushedRow, applied, applied_key, with_version
from rota.manage.features.rows import source_table
from rota.ports.clock import Clock
from rota.ports.journal import Chunk, Journal
from rota.ports.metadata import Metadata
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.time import SECOND_US

PUSH = "push/"
CHUNK_BYTES = 4_000_000
"""Bytes of the journal that are brought online, or into the table, in one step."""
AHEAD_US = 60 * SECOND_US
"""How far a pushed row may lie ahead of the platform's clock: clocks differ a little, the future is not known."""
encoded = msgspec.msgpack.Encoder().encode
"""A pushed row as an entry of the journal."""
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True)
class Stores:
    """The repositories that pushed rows pass through."""

    metadata: Metadata
    tables: Tables
    online: Online
    journal: Journal
    clock: Clock


@dataclass(frozen=True, slots=True)
class PushStream:
    """The stream of one source."""

    stores: Stores
    source: Source

    @property
    def name(self) -> str:
        """The journal's name of the stream."""
        return PUSH + self.source.name

    def ends(self) -> dict[str, int]:
        """How far each segment is online, as byte offsets."""
        return applied(self.stores.online.read([applied_key(self.source.name)])[0])

    def waiting(self) -> Iterator[Chunk]:
        """What is journalled and not online yet."""
        return self.stores.journal.read(self.name, self.ends(), max_bytes=CHUNK_BYTES)

    def writer(self, segment: str) -> str:
        """The name under which a segment's rows are appended to the table."""
        return f"{self.name}/{segment}"

    def carried(self, segment: str) -> int:
        """How far a segment is in the table, as a byte offset."""
        return max(0, self.stores.tables.sequence(source_table.table(self.source), self.writer(segment)))

    def uncarried(self) -> Iterator[Chunk]:
        """What is journalled and not in the table yet."""
        return self.stores.journal.read(self.name, {segment: self.carried(segment) for segment in self.ends()}, max_bytes=CHUNK_BYTES)

    def require_catalog(self, version: int) -> None:
        """From now on nothing is brought online by a process that knows an older catalog than `version`, and so perhaps not all views."""
        self.stores.online.update([(applied_key(self.source.name), version.to_bytes(8, "big"))], with_version)


def pushed_rows(chunk: Chunk) -> list[PushedRow]:
    """The rows of a journal range."""
    return [PushedRow(*_decode(payload)) for payload in chunk.payloads]
