"""When each view was last materialized, and from which version of its source's table."""

from collections.abc import Sequence

from rota.manage.features.online.reader import StoredView
from rota.ports.metadata import ANYTHING, Batch, Metadata
from rota.records.record import Record
from rota.records.signal import Cursor
from rota.records.time import Micros


class Materialized(Record, frozen=True):
    """The last time that a view was materialized: when, from which version of the source's table (-1: there was none), and how many keys it had."""

    at_us: Micros
    version: int
    keys: int


def last(metadata: Metadata, view: StoredView) -> Materialized | None:
    """The last materialization of a definition of a view."""
    cursors = [metadata.get(Cursor, name) for name in _cursors(view)]
    return None if any(cursor is None for cursor in cursors) else Materialized(*[cursor.position for cursor in cursors if cursor is not None])


def unchanged(metadata: Metadata, view: StoredView, version: int | None) -> bool:
    """Whether a view was last materialized from this very version of the table."""
    known = last(metadata, view)
    return known is not None and known.version == (-1 if version is None else version)


def record(metadata: Metadata, views: Sequence[StoredView], version: int | None, at_us: Micros, keys: int) -> None:
    """Record a materialization of views."""
    batch = Batch()
    for view in views:
        for name, position in zip(_cursors(view), (at_us, -1 if version is None else version, keys), strict=True):
            batch.put(Cursor(name, position), replacing=ANYTHING)
    metadata.commit(batch)


def _cursors(view: StoredView) -> list[str]:
    return [f"materialized-{part}/{view.view.name}/{view.prefix.hex()}" for part in ("at", "version", "keys")]
