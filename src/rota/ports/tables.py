"""Tables: versioned columnar tables for datasets, feature history and the prediction log."""

from collections.abc import Collection, Sequence
from typing import Protocol

import polars as pl

from rota.records.time import Micros


class Tables(Protocol):
    """Append-only tables with numbered immutable versions.

    Law:
    - `append` adds the rows atomically and returns the new version (first = 0). A missing table is created with the
      frame's schema. `batch` = (writer, sequence): an append whose sequence is not above the last one of that writer is
      already there, changes nothing, and returns the newest version: a replay after a crash is harmless.
    - Columns new in the frame are added (older rows: null); a column of another type raises `InvalidInput` naming it.
    - `scan` reads one version lazily (default: newest) and raises `NotFound` for an unknown table or version. Row order
      is not promised. `version` is the newest version, or None where there is no table.
    - `compact` rewrites small files without changing any row and keeps every version readable. Many small appends between compactions
      rewrite each row a number of times that grows with the logarithm of their count.
    - `vacuum` frees what is needed by no version but these: the newest, those that were newest at `before_us` or later (by the clock of
      whoever stores the table), and the older ones in `keep`; it returns the bytes freed, 0 for a missing table. A version that was given up raises
      `NotFound` for ever, also when a kill left some of its files. A scan that was opened before of such a version may fail.
    - Bytes that are not what was stored raise `Corrupt` naming the file, for this table alone; nothing that cannot be had again is deleted.
    - `drop` removes a table with all its versions (a scan that was opened before may fail); a missing table is a no-op.
    - Two writers at once are both stored (retry inside); a kill in the middle leaves the old version.
    - Names are slash-separated safe names ("sources/flights"); anything else raises `InvalidInput`.
    """

    def append(self, table: str, rows: pl.DataFrame, *, batch: tuple[str, int] | None = None) -> int: ...

    def scan(self, table: str, *, version: int | None = None, columns: Sequence[str] | None = None) -> pl.LazyFrame: ...

    def version(self, table: str) -> int | None: ...

    def sequence(self, table: str, writer: str) -> int:
        """The last sequence that `writer` appended, or -1."""
        ...

    def compact(self, table: str) -> int: ...

    def vacuum(self, table: str, *, keep: Collection[int] = (), before_us: Micros) -> int: ...

    def drop(self, table: str) -> None: ...

    def tables(self, prefix: str = "") -> list[str]: ...
