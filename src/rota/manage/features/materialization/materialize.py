"""Materialization: rows of the offline table brought into the online rows of a view, all of them or what the store lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rota.errors import Unavailable
from rota.manage.features.materialization import backfill as history
from rota.manage.features.materialization.online_update import Ids, applied_key, with_stamp
from rota.manage.features.materialization.push_stream import Stream
from rota.manage.features.materialization.window_rebuild import Exchange
from rota.manage.features.online.reader import merge
from rota.manage.features.online.row_codec import RowView
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows import source_table
from rota.ports.metadata import ANYTHING, Batch
from rota.records.intake import ViewMaterialization
from rota.records.time import Micros

Progress = Callable[[float, int], None]
"""Called with the share of the work that is done (0..1) and the keys written so far."""
_ROWS_A_COMMIT = 100_000
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Work:
    """One view to materialize, or all windowed views of a source, which share the remembered ids."""

    stream: Stream
    ids: Ids
    stamp: int
    incremental: bool = False
    progress: Progress | None = None

    def tell(self, share: float, keys: int) -> None:
        if self.progress is not None:
            self.progress(share, keys)


def rows(work: Work, view: RowView) -> int:
    """Bring the newest row of each entity online; returns how many keys were written.

    Pushes may go on: rows merge, the newest stays. A kill leaves some of the rows there, which is harmless.
    """
    stream = work.stream
    version = stream.stores.tables.version(source_table.table(stream.source))
    now_us = stream.stores.clock.now_us()
    written = keys = 0
    if not (work.incremental and _done(stream, view, version)):
        for share, pairs in history.newest(stream.stores.tables, view, version=version, now_us=now_us):
            keys += len(pairs)
            for start in range(0, len(pairs), _ROWS_A_COMMIT):
                part = pairs[start : start + _ROWS_A_COMMIT]
                if work.incremental:
                    part = _lacking(stream, part)
                if part:
                    stream.stores.online.update(part, merge)
                written += len(part)
                work.tell(share * min(1.0, (start + _ROWS_A_COMMIT) / len(pairs)), written)
        _remember(stream, [view], version, now_us, keys)
    work.tell(1.0, written)
    return written


def tiles(work: Work, views: Sequence[WindowView], flush: Callable[[], int], catch_up: Callable[[], int]) -> int:
    """Exchange the tiles of all windowed views of the source, all in one transaction; returns how many keys were written."""
    stream = work.stream
    for _ in range(_TRIES):
        flush()
        version = stream.stores.tables.version(source_table.table(stream.source))
        if work.incremental and all(_done(stream, view, version) for view in views):
            return 0
        now_us = stream.stores.clock.now_us()
        exchange = Exchange(stream, work.ids, views, work.stamp)
        if not exchange.prepare(version, catch_up):
            continue
        written = exchange.commit(changed_only=work.incremental)
        if written is not None:
            _remember(stream, views, version, now_us, exchange.keys)
            work.tell(1.0, written)
            return written
    name = stream.source.name
    raise Unavailable(f"other processes kept flushing source {name!r} while its windows were rebuilt; try again", source=name)


def last(stream: Stream, view: RowView | WindowView) -> ViewMaterialization | None:
    """When and from what a definition of a view was last materialized."""
    return stream.stores.metadata.get(ViewMaterialization, view.view.name, view.prefix.hex())


def mark(stream: Stream, stamp: int) -> None:
    """From now on nothing is brought online by a process that knows an older catalog, and so perhaps not all views."""
    stream.stores.online.update([(applied_key(stream.source.name), stamp.to_bytes(8, "big"))], with_stamp)


def _lacking(stream: Stream, pairs: history.Pairs) -> history.Pairs:
    """The rows that are newer than what the store has."""
    stored = stream.stores.online.read([key for key, _ in pairs])
    return [(key, new) for (key, new), old in zip(pairs, stored, strict=True) if old is None or merge(old, new) != old]


def _done(stream: Stream, view: RowView | WindowView, version: int | None) -> bool:
    known = last(stream, view)
    return known is not None and known.version == version


def _remember(stream: Stream, views: Sequence[RowView | WindowView], version: int | None, at_us: Micros, keys: int) -> None:
    batch = Batch()
    for view in views:
        batch.put(ViewMaterialization(view.view.name, view.prefix.hex(), at_us, version, keys), replacing=ANYTHING)
    stream.stores.metadata.commit(batch)
