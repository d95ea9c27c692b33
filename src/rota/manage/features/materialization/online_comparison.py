"""The online rows of a source compared with what they are made of: the journal, the table, and what metadata knows of both.

Cheap enough for each start, each reconnection and each round of housekeeping: positions are compared, no rows are read.
"""

from dataclasses import dataclass

from rota.manage.features.ingestion import ingestion_log
from rota.manage.features.materialization import online_extent
from rota.manage.features.materialization.push_stream import PushStream
from rota.manage.features.materialization.stream_state import StreamState
from rota.manage.features.rows import source_table


@dataclass(frozen=True, slots=True)
class OnlineComparison:
    """What was found of one source; all of it empty when its online rows are where they should be.

    `broken`: why the rows cannot be those of the history, so that they are to be brought online from the beginning. `waiting`: pushed rows
    are journalled or in the table and not online; the journal still has them. `lost`: the table lacks what metadata says it has,
    which nothing here can bring back.
    """

    broken: str = ""
    waiting: bool = False
    lost: str = ""


def compare(stream: PushStream) -> OnlineComparison:
    """Compare one source. Each position is read before those that may run ahead of it, so that what others do meanwhile is no difference."""
    state, problem = online_extent.compared(stream)
    version = stream.stores.tables.version(source_table.table(stream.source))
    broken = problem or _losses(stream, state) or _of_segments(stream, state) or _of_marks(state, version)
    return OnlineComparison(broken, not broken and _waits(stream, state), _lost(stream, version))


def _losses(stream: PushStream, state: StreamState) -> str:
    told = stream.stores.online.report()
    if told.losses in ("", state.losses):
        return ""
    return f"the online store has given up rows by itself ({told.problem or told.losses})"


def _of_segments(stream: PushStream, state: StreamState) -> str:
    there = stream.stores.journal.segments(stream.name)
    for segment, end in state.ends.items():
        size = there.get(segment)
        if size is not None and size < end:
            return f"the online store has {end} bytes of segment {segment} of the journal, which has {size}"
        if size is None and (carried := stream.carried(segment)) != end:
            has = "misses rows that" if carried > end else "has rows that neither the journal nor the table has any more, of those that"
            return f"the online store {has} were pushed in segment {segment}, which was dropped"
    return ""


def _of_marks(state: StreamState, version: int | None) -> str:
    newest = max((mark.version for mark in state.history.values() if mark.version is not None), default=None)
    if newest is None or (version is not None and newest <= version):
        return ""
    return f"the online store has rows of version {newest} of the source's table, which is at version {version}"


def _waits(stream: PushStream, state: StreamState) -> bool:
    """Whether there is something in the journal behind what is online."""
    return next(stream.stores.journal.read(stream.name, dict(state.ends), max_bytes=1), None) is not None


def _lost(stream: PushStream, version: int | None) -> str:
    """What metadata says of the table that the table does not have."""
    newest = ingestion_log.newest_version(stream.stores.metadata, stream.source.name)
    if newest is None or (version is not None and newest <= version):
        return ""
    table = source_table.table(stream.source)
    has = "is not there" if version is None else f"is at version {version}"
    return f"table {table!r} {has}, and an ingestion wrote version {newest} of it: rows of the history are lost; restore the table from a backup"
