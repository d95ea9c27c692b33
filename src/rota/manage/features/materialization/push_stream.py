"""One source's stream of pushed rows: the journal that acknowledges them, and how far it is online and in the source's table."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from rota.manage.features.materialization import stream_state
from rota.manage.features.materialization.online_update import PushedRow
from rota.manage.features.materialization.stream_state import HistoryMark, StreamState
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
"""How far a pushed row may lie ahead of the platform's clock, to be dated now: clocks differ a little, the future is not known."""
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

    def state(self) -> StreamState:
        """What the online store says of the source."""
        return stream_state.decoded(self.stores.online.read([stream_state.key(self.source.name)])[0])

    def ends(self) -> dict[str, int]:
        """How far each segment is online, as byte offsets."""
        return dict(self.state().ends)

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
        self.stores.online.update([(stream_state.key(self.source.name), version.to_bytes(8, "big"))], stream_state.with_version)

    def mark(self, marks: Mapping[bytes, HistoryMark]) -> None:
        """Say of views, by the first bytes of their keys, from where on their history is online."""
        self.stores.online.update([(stream_state.key(self.source.name), b"")], lambda old, _: stream_state.with_marks(old, marks))

    def settle(self, prefix: bytes, mark: HistoryMark) -> bool:
        """Say that a view is whole; False when its mark is gone, and so perhaps its rows: the store was emptied meanwhile."""
        settled = False

        def merge(old: bytes | None, _: bytes) -> bytes:
            nonlocal settled
            settled = prefix in stream_state.written(old)
            return stream_state.with_marks(old, {prefix: mark} if settled else {})

        self.stores.online.update([(stream_state.key(self.source.name), b"")], merge)
        return settled

    def unmark(self, prefix: bytes) -> None:
        """From now on pushes are not added to a view: its rows are given up."""
        self.stores.online.update([(stream_state.key(self.source.name), prefix)], stream_state.without_mark)

    def begin(self, prefixes: Collection[bytes]) -> None:
        """Views over a source of which nothing is stored anywhere are whole from their first row on; does nothing otherwise."""
        state = self.state()
        if not state.ends and not state.history.keys() >= set(prefixes) and self.stores.tables.version(source_table.table(self.source)) is None:
            self.stores.online.update([(stream_state.key(self.source.name), b"")], lambda old, _: stream_state.begun(old, prefixes))


def pushed_rows(chunk: Chunk) -> list[PushedRow]:
    """The rows of a journal range."""
    return [PushedRow(*_decode(payload)) for payload in chunk.payloads]
