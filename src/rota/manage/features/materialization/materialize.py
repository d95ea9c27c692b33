"""Materialization: rows of the offline table brought into the online rows of a view, all of them or what the store lacks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rota.errors import InvalidInput, Unavailable
from rota.manage.features.definitions import references, registration, versions
from rota.manage.features.materialization import backfill, freshness, online_comparison, online_extent
from rota.manage.features.materialization.freshness import ViewStatus
from rota.manage.features.materialization.materialization_log import record
from rota.manage.features.materialization.online_comparison import OnlineComparison
from rota.manage.features.materialization.online_history import current, of_source
from rota.manage.features.materialization.push import Pushes
from rota.manage.features.materialization.push_stream import PushStream, Stores
from rota.manage.features.materialization.source_plans import SourcePlan, SourcePlans
from rota.manage.features.materialization.stream_state import FILLING, HistoryMark
from rota.manage.features.materialization.window_rebuild import WindowRebuild
from rota.manage.features.online.reader import StoredView, merge
from rota.manage.features.online.row_codec import RowView, prefix
from rota.manage.features.online.view_history import ViewHistory
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows import source_table
from rota.records.data import FeatureView

_log = logging.getLogger("rota.manage")
Progress = Callable[[float, int], None]
"""Called with the share of the work that is done (0..1) and the keys written so far."""
_ROWS_A_COMMIT = 100_000
_TRIES = 20


class Materializer:
    """Brings the history of sources online. Thread-safe, and right beside pushes from any process."""

    def __init__(self, stores: Stores, plans: SourcePlans, pushes: Pushes) -> None:
        self._stores = stores
        self._plans = plans
        self._pushes = pushes

    def materialize(self, view: str, *, progress: Progress | None = None) -> int:
        """Bring all rows up to now into the online rows of a view, and of every other view over its source; returns how many keys.

        "view@v2" is that version alone (windowed: with the other windowed views of the source, whose de-duplication index it shares).
        Right whatever was pushed before or is pushed meanwhile: rows without ids merge, the newest stays; window tiles and rows with ids
        are replaced in one transaction that also adds what was pushed since. Rows dated later than now are left for a
        later call. Raises `NotFound` for an unknown view, `InvalidInput` for an on-demand view, of which nothing is stored.
        """
        return self._materialize(view, progress, incremental=False)

    def materialize_incremental(self, view: str, *, progress: Progress | None = None) -> int:
        """As `materialize`, but only what the online store lacks is written, and nothing is read where no row came since the last time.

        Returns how many keys were written. Rows that came out of files or databases reach the online store this way.
        """
        return self._materialize(view, progress, incremental=True)

    def bring_online(self, source: str, *, progress: Progress | None = None) -> int:
        """Bring online what the views over a source lack (see `online_history`); returns how many keys were written.

        Nothing is read where they lack nothing; rows that only pushes brought do not count, for they are online already.
        """
        plan = self._plans.refresh(source)
        stream = PushStream(self._stores, plan.source)
        self._begin_anew(plan, online_comparison.compare(stream).broken)
        states = of_source(stream, plan.views)
        lacking = [view for view in plan.views if not states[view.prefix].is_whole]
        return self._bring_online(plan, lacking, progress, incremental=True) if lacking else 0

    def sources(self) -> list[str]:
        """The sources of all views."""
        return sorted({view.source.name for view in registration.every_view(self._stores.metadata)})

    def compare(self, source: str) -> tuple[OnlineComparison, list[ViewHistory]]:
        """The online rows of a source compared with what they are made of, and its views that lack rows.

        What is journalled and not online is applied first: that is quicker than to tell of it.
        """
        plan = self._plans.refresh(source)
        stream = PushStream(self._stores, plan.source)
        comparison = online_comparison.compare(stream)
        if comparison.waiting:
            with self._pushes.turn:
                self._pushes.catch_up(source)
            comparison = online_comparison.compare(stream)
        if not comparison.broken and not stream.state().store and stream.state().history:
            online_extent.count(stream)  # a platform of before had no count, nor has a new source
        return comparison, [each for each in of_source(stream, plan.views, comparison).values() if not each.is_whole]

    def status(self, view: str) -> ViewStatus:
        """How fresh a view ("view" or "view@v2") is."""
        definition = self._definition(view)
        plan = self._plans.refresh(definition.source.name)
        return freshness.status(view, PushStream(self._stores, plan.source), self._plans.stored(definition))

    def forget(self, view: FeatureView) -> int:
        """Remove the online rows of one definition of a view that no model reads any more; returns how many."""
        stream = PushStream(self._stores, view.source)
        stream.require_catalog(registration.catalog(self._stores.metadata))
        stream.unmark(prefix(view))
        return self._stores.online.delete(prefix(view))

    def _materialize(self, reference: str, progress: Progress | None, *, incremental: bool) -> int:
        definition = self._definition(reference)
        plan = self._plans.refresh(definition.source.name)
        views = [self._plans.stored(definition)] if "@v" in reference else plan.views
        return self._bring_online(plan, views, progress, incremental=incremental)

    def _begin_anew(self, plan: SourcePlan, broken: str) -> None:
        """Forget the online rows of a source that cannot be those of its history."""
        if not broken:
            return
        _log.warning("online rows are brought online anew: %s", broken, extra={"action": "begin_anew", "source": plan.source.name})
        prefixes = [*(view.prefix for view in plan.views), *plan.index.prefixes]
        stream, online = PushStream(self._stores, plan.source), self._stores.online
        with self._pushes.turn:
            online_extent.begin_anew(stream, plan.catalog_version, lambda: [online.delete(each) for each in prefixes])

    def _bring_online(self, plan: SourcePlan, views: Sequence[StoredView], progress: Progress | None, *, incremental: bool) -> int:
        job = _Job(PushStream(self._stores, plan.source), plan, incremental, progress)
        self._begin_anew(plan, online_comparison.compare(job.stream).broken)
        job.stream.require_catalog(plan.catalog_version)
        self._pushes.catch_up(plan.source.name)  # the store may have been emptied: then it has to know the journal's segments again
        windowed = any(isinstance(view, WindowView) for view in views)
        together = [view for view in plan.index.rebuilt if view in views or (windowed and isinstance(view, WindowView))]
        filled = [*(view for view in views if isinstance(view, RowView) and view not in together), *together]
        known = job.stream.state().history
        if new := {view.prefix: FILLING for view in filled if view.prefix not in known}:
            job.stream.mark(new)  # what is pushed from here on is added by pushes; what was pushed before is flushed, and read
        self._pushes.flush(plan.source.name)
        written = sum(_rows(job, view) for view in views if isinstance(view, RowView) and view not in together)
        if together:
            with self._pushes.turn:
                written += self._rebuilt(job, together)
        return written

    def _rebuilt(self, job: "_Job", views: Sequence[StoredView]) -> int:
        """Replace what stands of views that are rebuilt together, all in one transaction; returns how many keys were written."""
        source = job.plan.source
        for _ in range(_TRIES):
            self._pushes.flush(source.name)
            version = self._stores.tables.version(source_table.table(source))
            now_us = self._stores.clock.now_us()
            state = job.stream.state()
            if job.incremental and all(current(state.history.get(view.prefix), version, now_us) for view in views):
                return 0
            rebuild = WindowRebuild(job.stream, job.plan.index, views, job.plan.catalog_version)
            if not rebuild.prepare(version, lambda: self._pushes.catch_up(source.name)):
                continue
            due_us = backfill.due(self._stores.tables, source, version=version, after_us=now_us)
            written = rebuild.commit(HistoryMark(version, due_us), changed_only=job.incremental)
            if written is not None:
                for view in views:
                    record(self._stores.metadata, [view], version, now_us, rebuild.keys(view))
                job.report(1.0, written)
                return written
        raise Unavailable(f"other processes kept flushing source {source.name!r} while its windows were rebuilt; try again", source=source.name)

    def _definition(self, reference: str) -> FeatureView:
        name, number = versions.named(reference) if "@v" in reference else (reference, None)
        view = references.view(self._stores.metadata, name, number)
        if not isinstance(view, FeatureView):
            raise InvalidInput(f"view {reference!r} is computed from the request; nothing of it is stored", view=reference)
        return view


@dataclass(frozen=True, slots=True)
class _Job:
    """One materialization of a source's views."""

    stream: PushStream
    plan: SourcePlan
    incremental: bool
    progress: Progress | None

    def report(self, share: float, keys: int) -> None:
        if self.progress is not None:
            self.progress(share, keys)


def _rows(job: _Job, view: RowView) -> int:
    """Bring the newest row of each entity online; returns how many keys were written.

    Pushes may go on: rows merge, the newest stays. A kill leaves some of the rows there and the view marked as not whole; the next
    time goes on with what is lacking.
    """
    stores, source = job.stream.stores, job.plan.source
    version = stores.tables.version(source_table.table(source))
    now_us = stores.clock.now_us()
    mark = job.stream.state().history.get(view.prefix)
    written = keys = 0
    if not (job.incremental and current(mark, version, now_us)):
        for share, pairs in backfill.newest(stores.tables, view, version=version, now_us=now_us):
            keys += len(pairs)
            for start in range(0, len(pairs), _ROWS_A_COMMIT):
                part = pairs[start : start + _ROWS_A_COMMIT]
                if job.incremental:
                    part = _lacking(stores, part)
                if part:
                    stores.online.update(part, merge)
                written += len(part)
                job.report(share * min(1.0, (start + _ROWS_A_COMMIT) / len(pairs)), written)
        due_us = backfill.due(stores.tables, source, version=version, after_us=now_us)
        if not job.stream.settle(view.prefix, HistoryMark(version, due_us)):
            raise Unavailable(f"the online store was emptied while view {view.view.name!r} was brought online; try again", view=view.view.name)
        record(stores.metadata, [view], version, now_us, keys)
    job.report(1.0, written)
    return written


def _lacking(stores: Stores, pairs: backfill.Pairs) -> backfill.Pairs:
    """The rows that are newer than what the online store has."""
    stored = stores.online.read([key for key, _ in pairs])
    return [(key, new) for (key, new), old in zip(pairs, stored, strict=True) if old is None or merge(old, new) != old]
