"""Exactly-once effects behind an at-least-once journal: rows enter a table once, and the arrival of data is announced once.

`drain` moves acknowledged journal entries into a table. The table stores the offset reached in each segment in the same
transaction as the rows, so there is no cursor that could disagree with them; a segment is removed once it is in the table
and its writer is gone. `arrived` records the event `data.arrived` for rows that a writer brought, under the writer's own
growing number. Either may be killed at any point and repeated by any process.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

import polars as pl

from rota.errors import Corrupt
from rota.ports.journal import Chunk, Journal
from rota.ports.metadata import Batch, Metadata, transact
from rota.ports.tables import Tables
from rota.records.signal import Cursor, Event
from rota.records.time import Micros

logger = logging.getLogger("rota.manage")
UNREAD = "unread"
"""The folder of streams into which entries go that cannot be read, so that they hold back no others."""
COMPACT_EVERY = 25
"""Appends between two compactions: each scan opens every file, and a file costs about 0.2 ms."""


def drain(journal: Journal, tables: Tables, name: str, frame_of: Callable[[Sequence[bytes]], pl.DataFrame]) -> int:
    """Append the new entries of stream `name` to table `name`; returns the number of rows appended.

    One process at a time is enough: two at once lose nothing but may store a row twice, so readers de-duplicate.
    """
    rows = 0
    reached: dict[str, int] = {}
    for chunk in _new_chunks(journal, tables, name, reached):
        frame = _read(journal, name, chunk.payloads, frame_of)
        tidy(tables, name, tables.append(name, frame, batch=(chunk.segment, chunk.end)))
        rows += frame.height
    for segment, end in reached.items():
        journal.drop(name, segment, end)
    for damaged in journal.damaged():
        if damaged.stream == name and damaged.segment not in reached:  # nothing in it could be read
            journal.drop(name, damaged.segment, max(tables.sequence(name, damaged.segment), 0))
    return rows


def tidy(tables: Tables, name: str, version: int) -> None:
    """Compact a table's small files every `COMPACT_EVERY` versions, which keeps its scans as quick as they were."""
    if version and version % COMPACT_EVERY == 0:
        tables.compact(name)


def arrived(metadata: Metadata, source: str, rows: int, *, writer: str, upto: int, now_us: Micros) -> bool:
    """Record that `writer` brought `rows` rows of a source, up to its own growing number `upto`; False when that was recorded before.

    Call it after the rows are durable, and again before the writer's next rows: the event and the cursor that remembers it
    are stored together, so a process that was killed in between, or two that finish the same work, record it once.
    """
    name = f"arrived/{source}/{writer}"

    def record() -> bool:
        cursor = metadata.get(Cursor, name)
        if cursor is not None and cursor.position >= upto:
            return False
        batch = Batch()
        batch.put(Cursor(name, upto), replacing=cursor)
        if rows:
            batch.event(Event("data.arrived", source, now_us, {"rows": rows}))
        metadata.commit(batch)
        return rows > 0

    return transact(record)


def _read(journal: Journal, name: str, payloads: Sequence[bytes], frame_of: Callable[[Sequence[bytes]], pl.DataFrame]) -> pl.DataFrame:
    """The rows of entries. One that cannot be read is set apart, whole and durably, as an entry of the stream `unread/<name>`."""
    try:
        return frame_of(payloads)
    except Corrupt as error:
        first = str(error)
    good, bad = list[bytes](), list[bytes]()
    for payload in payloads:
        try:
            frame_of([payload])
        except Corrupt:
            bad.append(payload)
        else:
            good.append(payload)
    journal.append(f"{UNREAD}/{name}", bad, sync=True)
    logger.error("%d entries of %s were set apart: %s", len(bad), name, first, extra={"action": "unread", "stream": name})
    return frame_of(good)


def _new_chunks(journal: Journal, tables: Tables, name: str, reached: dict[str, int]) -> Iterator[Chunk]:
    """Chunks not yet in the table; segments are met by reading, so each new one may turn out to be stored up to an offset already."""
    known = False
    while not known:
        known = True
        for chunk in journal.read(name, dict(reached)):
            if chunk.segment not in reached:
                reached[chunk.segment] = max(tables.sequence(name, chunk.segment), 0)
                if reached[chunk.segment] > chunk.start:
                    known = False
                    break
            yield chunk
            reached[chunk.segment] = chunk.end
