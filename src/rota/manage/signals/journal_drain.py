"""Moving acknowledged journal entries into a table, each exactly once, whatever dies on the way.

The offset reached in each segment is stored by the table in the same transaction as the rows, so there is no cursor that
could disagree with them; a segment is removed once it is in the table and its writer is gone.
"""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from rota.ports.journal import Chunk, Journal
from rota.ports.tables import Tables

COMPACT_EVERY = 25
"""Appends between two compactions: each scan opens every file, and a file costs about 0.2 ms."""


def drain(journal: Journal, tables: Tables, name: str, frame_of: Callable[[Sequence[bytes]], pl.DataFrame]) -> int:
    """Append the new entries of stream `name` to table `name` and return how many rows that were.

    One drainer at a time is enough: two at once lose nothing but may store a row twice, which readers de-duplicate anyway.
    """
    rows = 0
    reached: dict[str, int] = {}
    for chunk in _new_chunks(journal, tables, name, reached):
        frame = frame_of(chunk.payloads)
        tidy(tables, name, tables.append(name, frame, batch=(chunk.segment, chunk.end)))
        rows += frame.height
    for segment, end in reached.items():
        journal.drop(name, segment, end)
    return rows


def tidy(tables: Tables, name: str, version: int) -> None:
    """Put a table's small files together now and then, so that reading it stays as quick as it was."""
    if version and version % COMPACT_EVERY == 0:
        tables.compact(name)


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
