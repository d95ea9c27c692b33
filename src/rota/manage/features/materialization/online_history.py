"""Which views have their history online, and what the others lack: what the online store says, compared with what was ingested."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from rota.errors import Unavailable
from rota.manage.features.materialization.push_stream import PushStream
from rota.manage.features.materialization.stream_state import HistoryMark, StreamState
from rota.manage.features.online.reader import StoredView, stored_view
from rota.manage.features.online.view_history import Histories, ViewHistory
from rota.manage.features.rows import source_table
from rota.ports.metadata import Metadata
from rota.records.data import FeatureService, FeatureView
from rota.records.intake import Ingestion
from rota.records.time import Micros

_MOST_INGESTIONS = 100
LOOK_S = 1.0


def current(mark: HistoryMark | None, version: int | None, now_us: Micros) -> bool:
    """Whether a view has all rows of a version of its source's table that are not dated later than now."""
    return mark is not None and mark.whole and mark.version == version and not _is_due(mark, now_us)


def of_source(stream: PushStream, views: Iterable[StoredView]) -> dict[bytes, ViewHistory]:
    """How far each of some views over a source is online, by the first bytes of its keys. Reads no rows."""
    state, now_us = stream.state(), stream.stores.clock.now_us()
    ingested = _ingestions(stream.stores.metadata, stream.source.name)
    is_empty = not state.ends and stream.stores.tables.version(source_table.table(stream.source)) is None
    return {view.prefix: _of_view(view, state, ingested, is_empty=is_empty, now_us=now_us) for view in views}


def _of_view(view: StoredView, state: StreamState, ingested: Sequence[Ingestion], *, is_empty: bool, now_us: Micros) -> ViewHistory:
    mark, name, source = state.history.get(view.prefix), view.view.name, view.view.source.name
    reached = -1 if mark is None or mark.version is None else mark.version
    waiting = sum(each.rows_out for each in ingested if (each.version or 0) > reached)
    if is_empty:  # a mark is missing only while the online store could not be told of the view
        return ViewHistory(name, source, "empty")
    if mark is None or not mark.whole or (reached < 0 and waiting):
        return ViewHistory(name, source, "not online", waiting)
    due_us = mark.due_us if _is_due(mark, now_us) else None
    return ViewHistory(name, source, "online" if due_us is None and not waiting else "behind", waiting, due_us)


def _is_due(mark: HistoryMark, now_us: Micros) -> bool:
    return mark.due_us is not None and now_us >= mark.due_us


def _ingestions(metadata: Metadata, source: str) -> list[Ingestion]:
    """The newest finished ingestions that brought rows."""
    return [
        each
        for each in metadata.page(Ingestion, {"source": source, "status": "done"}, order="-number", limit=_MOST_INGESTIONS).items
        if each.rows_out
    ]


class ServiceHistory:
    """How far the stored views of a service are online, looked up at most once per `refresh_s`. Thread-safe.

    While a store is away the last answer stays: what cannot be read answers for itself.
    """

    def __init__(self, stream_of: Callable[[FeatureView], PushStream], service: FeatureService, *, refresh_s: float = LOOK_S) -> None:
        self._stream_of = stream_of
        self._views = [stored_view(view) for view in service.stored_views]
        self._refresh_s = refresh_s
        self._looked_s = float("-inf")
        self._lock = threading.Lock()
        self._found: Histories = {}

    def __call__(self) -> Histories:
        """The views that are not whole online, by the first bytes of their keys."""
        if time.monotonic() - self._looked_s >= self._refresh_s and self._lock.acquire(blocking=False):
            try:
                self.look()
            finally:
                self._lock.release()
        return self._found

    def latest(self) -> Histories:
        """What was found the last time: for who must not wait."""
        return self._found

    def look(self) -> Histories:
        """The same, looked up now."""
        self._looked_s = time.monotonic()
        by_source: dict[str, list[StoredView]] = {}
        for view in self._views:
            by_source.setdefault(view.view.source.name, []).append(view)
        try:
            found = [of_source(self._stream_of(views[0].view), views) for views in by_source.values()]
        except Unavailable:
            return self._found
        self._found = {prefix: each for histories in found for prefix, each in histories.items() if not each.is_whole}
        return self._found
