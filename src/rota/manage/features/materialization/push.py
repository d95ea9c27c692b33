"""Pushes: rows of a source are checked, journalled, brought into every view online, and only then acknowledged.

`flush` carries the journal into the offline tables. Each of these steps may be cut off anywhere and repeated: rows arrive once.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import polars as pl

from rota.errors import InvalidInput, RotaError, Unavailable
from rota.manage.features.ingestion import contracts
from rota.manage.features.materialization import stream_state
from rota.manage.features.materialization.flush import Flush
from rota.manage.features.materialization.live_rows import LiveRows
from rota.manage.features.materialization.online_update import OnlineUpdate, Places, PushedRow
from rota.manage.features.materialization.push_stream import AHEAD_US, PUSH, PushStream, Stores, encoded, pushed_rows
from rota.manage.features.materialization.source_plans import SourcePlan, SourcePlans
from rota.manage.features.rows import coercion, source_table
from rota.records import early_times
from rota.records.data import Source
from rota.records.intake import StreamClaim
from rota.records.time import Micros, iso

_log = logging.getLogger("rota.manage")
FOLDED_AT_ONCE = 1_000_000
"""Rows of a source's history that one push may bring online: some seconds. With more the push returns, and its rows are read later."""
_TRIES = 300
LONGEST_PAUSE_S = 0.05
_LOOKS = 5
Row = dict[str, Any]


class Pushes:
    """Takes pushed rows. Thread-safe; any number of processes may push, and one object is enough for all sources of a process."""

    def __init__(self, stores: Stores, plans: SourcePlans, *, fold_in: Callable[[str], object] = lambda _: None) -> None:
        """`fold_in` brings online what the views over a source lack: a push that meets such a view has short histories folded in at once."""
        self._stores = stores
        self._fold_in = fold_in
        self._plans = plans
        self.turn = threading.RLock()
        """Held by whoever of this process journals rows or applies them."""
        self._ends: dict[str, tuple[str, int]] = {}  # source -> where this process's last push ended
        self._announced: dict[str, dict[str, StreamClaim]] = {}  # source -> segment -> the last range that this process flushed

    def push(self, source: str, events: Sequence[Mapping[str, Any]], *, sync: bool = False) -> int:
        """Take rows of a source, all or none; returns how many. On return they survive kill -9 and can be read online.

        With `sync` they survive a power cut too. A contract refuses rows that break it (`Refused`), or quarantines them: those
        are kept apart and not counted. Rows with an id that was pushed before are corrections (or repetitions, which change
        nothing): what they move leaves nothing behind where it was. A row dated up to a minute ahead of the platform's clock is dated now,
        online and in the history; one further ahead is refused.

        Raises `InvalidInput` naming field, value and row, `NotFound` for an unknown source; after `Unavailable` the same push may
        be repeated (rows without an id may then count twice). Definitions that another process changed are seen at once when it
        could tell the online store, and within a second otherwise.
        """
        checked = self._checked(source, events)
        plan, rows = checked.plan, checked.rows
        kept: Sequence[Mapping[str, Any]] = rows
        if plan.source.contract is not None:
            kept = contracts.kept(self._stores.metadata, self._stores.tables, plan.source, rows, self._stores.clock.now_us())
        if not kept:
            return 0
        with self.turn:
            places = checked.places if len(kept) == len(rows) else plan.index.places(kept)
            pushed = list(map(PushedRow, self._created(plan, places, checked.stored, len(kept)), kept))
            segment, end = self._stores.journal.append(PUSH + source, list(map(encoded, pushed)), sync=sync)
            before, self._ends[source] = self._ends.get(source), (segment, end)
            update = OnlineUpdate(plan.index, plan.views, pushed, plan.catalog_version, history=self._history(plan), places=places)
            whole = len(stream_state.written(checked.stored[plan.index.applied_key])) >= len(plan.views)  # else there may be nothing yet
            if not whole or before is None or before[0] != segment or not update.apply(self._stores.online, segment, before[1], end, checked.stored):
                self.catch_up(source)
        if not whole:
            self._fold_in_history(plan)
        return len(events) - (len(rows) - len(kept))

    def notices(self, source: str, events: Sequence[Mapping[str, Any]]) -> list[early_times.DoubtfulRows]:
        """What is to be said of rows that were pushed although they were taken: times that look like seconds, keys that are null."""
        plan = self._plans.get(source)
        early = early_times.of_rows(plan.source.fields, events, self._stores.clock.now_us())
        lost = _without_key(plan, events)
        return [*map(early_times.DoubtfulTimes, early), *([early_times.DoubtfulRows(lost)] if lost else [])]

    def recover(self) -> int:
        """Bring journal entries that a killed process had not yet applied into the online store; returns how many. Call it on start.

        A source of which this cannot be done is left to housekeeping.
        """
        recovered = 0
        for source in self._sources():
            try:
                with self.turn:
                    recovered += self.catch_up(source)
            except RotaError as error:  # of this source alone; housekeeping looks at it again
                _log.warning("pushed rows not brought online: %s", error, extra={"action": "recover", "source": source})
        return recovered

    def flush(self, source: str) -> int:
        """Carry journal entries into the table `sources/<name>` and drop finished segments; returns how many rows.

        Rows that reach the table are announced by one event `data.arrived` for each journal range.
        """
        stream = PushStream(self._stores, self._plans.get(source).source)
        with self.turn:
            return Flush(stream, lambda: self.catch_up(source), self._announced.setdefault(source, {})).run()

    def flush_all(self) -> dict[str, int]:
        """`flush` every source that has pushed rows waiting; returns how many rows of each. For a worker to call now and then.

        A source that cannot be flushed does not keep the others from it; its error is raised behind them.
        """
        moved: dict[str, int] = {}
        failed: RotaError | None = None
        for source in self._sources():
            try:
                if rows_moved := self.flush(source):
                    moved[source] = rows_moved
            except RotaError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return moved

    def catch_up(self, source: str) -> int:
        """Apply whatever of the journal is not online yet, from where the online store is; returns how many entries."""
        count = 0
        plan = self._plans.get(source)
        for attempt in range(_TRIES):
            stream = PushStream(self._stores, plan.source)
            stream.begin([view.prefix for view in plan.views])
            for chunk in stream.waiting():
                update = OnlineUpdate(
                    plan.index, plan.views, pushed_rows(chunk), plan.catalog_version, history=self._history(plan), cautious=attempt > 0
                )
                keys = update.keys
                buckets = dict(zip(keys, self._stores.online.read(keys), strict=True))
                if not update.apply(self._stores.online, chunk.segment, chunk.start, chunk.end, buckets):
                    break
                count += len(chunk.payloads)
            else:
                return count
            time.sleep(random.random() * min(LONGEST_PAUSE_S, 0.0005 * attempt))  # noqa: S311 - who lost often lets the others through
            plan = self._plans.refresh(source)
        raise Unavailable(f"other processes keep applying the pushes of source {source!r}; try again", source=source)

    def _fold_in_history(self, plan: SourcePlan) -> None:
        """A view without its history has nothing of the push either. A short one is brought online now, a long one by a worker."""
        stream = PushStream(self._stores, plan.source)
        lacking = [view.view.name for view in plan.views if view.prefix not in stream.state().history]
        if not lacking:
            return
        scan = source_table.scan(self._stores.tables, plan.source, columns=[plan.source.timestamp_field])
        if scan.select(pl.len()).collect().item() <= FOLDED_AT_ONCE:
            self._fold_in(plan.source.name)
        else:
            _log.warning("pushed rows wait for the history of views", extra={"action": "push", "source": plan.source.name, "views": lacking})

    def _history(self, plan: SourcePlan) -> LiveRows:
        return LiveRows(PushStream(self._stores, plan.source))

    def _created(self, plan: SourcePlan, places: Places, stored: Mapping[bytes, bytes | None], count: int) -> list[Micros]:
        """When each row is created: now, and a microsecond after what is known of its id, should a clock say otherwise."""
        now_us = self._stores.clock.now_us()
        known = plan.index.created(places, stored)
        return [now_us if last_us is None or last_us < now_us else last_us + 1 for last_us in known] if known else [now_us] * count

    def _sources(self) -> list[str]:
        """The sources whose journal has entries."""
        return [stream.removeprefix(PUSH) for stream in self._stores.journal.streams() if stream.startswith(PUSH)]

    def _checked(self, name: str, events: Sequence[Mapping[str, Any]]) -> "_CheckedRows":
        """The rows checked by a plan that the online store does not know to be old."""
        plan = self._plans.get(name)
        for _ in range(_LOOKS):
            try:
                rows = self._current(plan.source, events)
            except InvalidInput:
                newer = self._plans.refresh(name)
                if newer.source == plan.source:
                    raise
                plan = newer
                continue
            places = plan.index.places(rows)
            keys = plan.index.keys(places)
            stored = self._stores.online.read(keys)
            if stream_state.catalog_version(stored[0]) <= plan.catalog_version:
                return _CheckedRows(plan, rows, places, dict(zip(keys, stored, strict=True)))
            newest, plan = stream_state.catalog_version(stored[0]), self._plans.refresh(name)
        raise Unavailable(
            f"the online store knows change {newest} of the definitions over source {name!r}, the metadata store only {plan.catalog_version}: one of "
            "them was restored or is another platform's; nothing was stored. Empty the online store (HOME/online, or its namespace in Redis), "
            "then `rota features materialize` each view",
            source=name,
        )

    def _current(self, source: Source, events: Sequence[Mapping[str, Any]]) -> list[Row]:
        """The rows checked, the last one of each id, none out of the future: a clock may be a little ahead, but what came in is known now."""
        rows = coercion.check_events(source, events)
        now_us, timestamp = self._stores.clock.now_us(), source.timestamp_field
        newest = max(range(len(rows)), key=list(map(itemgetter(timestamp), rows)).__getitem__, default=0)
        if rows and rows[newest][timestamp] > now_us + AHEAD_US:
            raise InvalidInput(
                f"row {newest}, field {timestamp!r}: {iso(rows[newest][timestamp])} lies after the platform's time {iso(now_us)}; "
                "push a row when its facts are known",
                row=newest,
                field=timestamp,
            )
        if rows and rows[newest][timestamp] > now_us:
            ahead = sorted({row[timestamp] for row in rows if row[timestamp] > now_us}, reverse=True)
            dated = {moment_us: now_us - place for place, moment_us in enumerate(ahead)}  # a microsecond apart: their order stays
            rows = [{**row, timestamp: dated.get(row[timestamp], row[timestamp])} for row in rows]
        return list(dict(zip(map(itemgetter(source.id_field), rows), rows, strict=True)).values()) if source.id_field is not None else rows


def _without_key(plan: SourcePlan, rows: Sequence[Mapping[str, Any]]) -> str:
    """What to say of rows that no view over the source can find, their keys being null; "" when there are none."""
    keys = {tuple(view.view.join_keys) for view in plan.views}
    lost = [i for i, row in enumerate(rows) if keys and all(any(row.get(name) is None for name in each) for each in keys)]
    if not lost:
        return ""
    fields = sorted({name for each in keys for name in each if rows[lost[0]].get(name) is None})
    return (
        f"{len(lost)} of {len(rows)} rows have a null key, row {lost[0]} the first ({', '.join(fields)}): "
        "they are kept in the history, and no view can find them"
    )


@dataclass(frozen=True, slots=True)
class _CheckedRows:
    """Pushed rows ready for the journal: where their ids lie in the de-duplication index, and what its buckets hold."""

    plan: SourcePlan
    rows: list[Row]
    places: Places
    stored: Mapping[bytes, bytes | None]
