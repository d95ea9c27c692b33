"""Which views have their history online, and what the others lack: what the online store says, compared with what was ingested."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial

from rota.errors import Corrupt, Unavailable
from rota.manage.features.ingestion import ingestion_log
from rota.manage.features.materialization import online_comparison, online_extent
from rota.manage.features.materialization.online_comparison import OnlineComparison
from rota.manage.features.materialization.push_stream import PushStream
from rota.manage.features.materialization.stream_state import HistoryMark, StreamState
from rota.manage.features.online.reader import StoredView, stored_view
from rota.manage.features.online.view_history import Histories, ViewHistory
from rota.manage.features.rows import source_table
from rota.records.data import FeatureService, FeatureView
from rota.records.time import Micros

LOOK_S = 1.0


def current(mark: HistoryMark | None, version: int | None, now_us: Micros) -> bool:
    """Whether a view has all rows of a version of its source's table that are not dated later than now."""
    return mark is not None and mark.whole and mark.version == version and not _is_due(mark, now_us)


def of_source(stream: PushStream, views: Iterable[StoredView], comparison: OnlineComparison | None = None) -> dict[bytes, ViewHistory]:
    """How far each of some views over a source is online, by the first bytes of its keys. Reads no rows.

    With a `comparison` of the source it goes by that; otherwise it compares only what metadata knows of the store, which is quick.
    """
    state, problem = online_extent.compared(stream)
    if comparison is not None:
        problem = comparison.broken
    rows_since = cache(partial(ingestion_log.rows_since, stream.stores.metadata, stream.source.name))
    found = {view.prefix: _of_view(view, stream, state, rows_since) for view in views}
    if problem:
        found = {prefix: replace(each, state="not online", reason=problem) for prefix, each in found.items()}
    elif comparison is not None and comparison.waiting:
        found = {prefix: replace(each, state="behind") if each.is_whole else each for prefix, each in found.items()}
    return found


def _of_view(view: StoredView, stream: PushStream, state: StreamState, rows_since: Callable[[int], int]) -> ViewHistory:
    mark, name, source = state.history.get(view.prefix), view.view.name, view.view.source.name
    reached = -1 if mark is None or mark.version is None else mark.version
    if not state.ends and stream.stores.tables.version(source_table.table(stream.source)) is None:
        is_empty = not any(stream.stores.journal.segments(stream.name).values())
        # a mark is missing only while the online store could not be told of the view, or knows nothing of what is journalled
        return ViewHistory(name, source, "empty" if is_empty else "behind")
    waiting = rows_since(reached)
    if mark is None or not mark.whole or (reached < 0 and waiting):
        return ViewHistory(name, source, "not online", waiting)
    due_us = mark.due_us if _is_due(mark, stream.stores.clock.now_us()) else None
    return ViewHistory(name, source, "online" if due_us is None and not waiting else "behind", waiting, due_us)


def _is_due(mark: HistoryMark, now_us: Micros) -> bool:
    return mark.due_us is not None and now_us >= mark.due_us


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
        self._compared: tuple[str, str] | None = None

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
            found = self._looked_up(by_source.values())
        except (Unavailable, Corrupt):  # a damaged store is set aside when it is asked for its report the next time
            self._compared = None
            return self._found
        self._found = {prefix: each for histories in found for prefix, each in histories.items() if not each.is_whole}
        return self._found

    def _looked_up(self, sources: Iterable[list[StoredView]]) -> list[dict[bytes, ViewHistory]]:
        """Of the views by source; compared closely at first, after the store was exchanged or started again, and until all is well."""
        streams = [(self._stream_of(views[0].view), views) for views in sources]
        told = {(report.identity, report.losses) for report in (stream.stores.online.report() for stream, _ in streams[:1])}
        if told == {self._compared}:
            return [of_source(stream, views) for stream, views in streams]
        comparisons = [online_comparison.compare(stream) for stream, _ in streams]
        well = not any(each.broken or each.waiting for each in comparisons)
        self._compared = told.pop() if well and told else None
        return [of_source(stream, views, comparison) for (stream, views), comparison in zip(streams, comparisons, strict=True)]
