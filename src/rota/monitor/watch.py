"""The monitor run: the newest days of the prediction log, counted, compared and measured; what breaks becomes an alert.

Collect (journals become tables) -> examine (a slice a day, its breaches, its measured performance) -> alerts raised, touched
or resolved, all in the step's one commit. A day is examined once; days missed while nothing ran are caught up.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl
from msgspec.structs import replace

from rota.durable.workflow import Context, Work
from rota.errors import NotFound
from rota.manage.adoption import baselines
from rota.manage.datasets import daily_slices, schemas
from rota.manage.features.writer import Feed
from rota.manage.models import model_aliases
from rota.manage.repositories import Repositories
from rota.manage.signals import alerts, business_outcomes, labels, prediction_log
from rota.monitor import breaches, measure
from rota.monitor.slice_history import SliceHistory
from rota.ports.metadata import Metadata
from rota.records.schema import Schema
from rota.records.signal import Alert, Event, Monitor, MonitorSlice
from rota.records.time import DAY_US, Micros, iso

MATURING_DAYS = 3
"""Days before a slice whose performance is measured again, for labels that came since."""
REMEMBERED_DAYS = 120
"""Days of slices that a day is compared with, at most."""


class MonitorWorkflow:
    """Examines an endpoint's complete days that were not examined yet."""

    def __init__(self, repositories: Repositories, feed: Feed) -> None:
        self.repositories = repositories
        self.feed = feed
        self._history = SliceHistory(repositories)

    def __call__(self, context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = str(arguments["endpoint"])
        context.step("collect", lambda work: self._collect(work, endpoint))
        days = context.step("days", lambda work: self._days(work, endpoint))
        raised: list[str] = []
        for day in days:
            raised += context.step(f"examine {iso(day)[:10]}", partial(self._examine, endpoint, day))
        return {"days": len(days), "alerts": raised}

    def _collect(self, work: Work, endpoint: str) -> dict[str, int]:
        """Move what was acknowledged into the tables and say so."""
        repositories = self.repositories
        moved = {"predictions": prediction_log.flush(repositories.journal, repositories.tables, endpoint)}
        moved["labels"] = labels.flush(repositories.journal, repositories.tables, endpoint)
        if moved["labels"]:
            work.batch.event(Event("label.arrived", endpoint, work.now_us, {"rows": moved["labels"]}))
        moved["outcomes"] = business_outcomes.flush(repositories.journal, repositories.tables, endpoint)
        return moved | self.feed.pushes.flush_all()

    def _days(self, work: Work, endpoint: str) -> list[Micros]:
        """Complete UTC days with predictions that have no slice yet, oldest first."""
        if not self._knows_normal(work, endpoint):
            return []
        newest = self.repositories.metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=1).items
        start_us = newest[0].end_us if newest else 0
        logged = prediction_log.read(self.repositories.tables, endpoint, start_us, daily_slices.day_of(work.now_us), features=False)
        return sorted({daily_slices.day_of(at_us) for at_us in logged["at_us"].to_list()})

    def _knows_normal(self, work: Work, endpoint: str) -> bool:
        """Whether the model has a schema. One that was not trained here, and was given no baseline, learns it from its first served days."""
        metadata = self.repositories.metadata
        monitor = metadata.get(Monitor, endpoint)
        if monitor is None or schemas.serving(metadata, monitor.endpoint.model) is not None or _is_trained_here(metadata, monitor.endpoint.model):
            return True
        learnt = baselines.learnt(self.repositories, work.batch, endpoint, monitor.endpoint.model, run=work.run.id, now_us=work.now_us)
        return learnt is not None

    def _examine(self, endpoint: str, day: Micros, work: Work) -> list[str]:
        metadata = self.repositories.metadata
        monitor = metadata.get(Monitor, endpoint)
        if monitor is None:
            raise NotFound(f"endpoint {endpoint!r} has no monitor; declare rota.Monitor in the project and `rota apply`", endpoint=endpoint)
        schema = self._schema(monitor.endpoint.model)
        rows = self._rows(endpoint, day, work.now_us)
        today = rows.filter(pl.col("at_us") >= day)
        slice_ = replace(measure.day_slice(endpoint, day, today, schema.bins, run=work.run.id), schema=schema.version)
        work.batch.put(slice_)
        past = self._past(endpoint, schema, day)
        days = self._history.days(endpoint, schema, [*past, slice_])
        faulty = breaches.faulty_days(metadata.find(Alert, {"endpoint": endpoint, "kind": breaches.FAULT}))
        seen = breaches.of_schema(schema, today) + breaches.of_distribution(monitor, schema, days, day, faulty)
        again = self._measured_again(work, endpoint, day, rows)
        seen += breaches.of_performance(monitor, past, again)
        self._link(work, monitor, day)
        return alerts.settle(work.batch, metadata, endpoint, seen, now_us=work.now_us, run=work.run.id, reason=f"no longer seen on {iso(day)[:10]}")

    def _schema(self, model: str) -> Schema:
        found = schemas.serving(self.repositories.metadata, model)
        if found is None:
            raise NotFound(f"model {model!r} has no schema yet; the first training run freezes one, `rota models baseline` too", model=model)
        return found

    def _rows(self, endpoint: str, day: Micros, now_us: Micros) -> pl.DataFrame:
        """Answered log rows of a day and of those before it whose labels may still have been on their way."""
        rows = labels.joined(self.repositories.tables, endpoint, day - MATURING_DAYS * DAY_US, day + DAY_US, known_until_us=now_us)
        return rows.filter((pl.col("role") != "shadow") & (pl.col("error") == "")).sort("at_us")

    def _past(self, endpoint: str, schema: Schema, day: Micros) -> list[MonitorSlice]:
        """Slices before a day, oldest first; before the first served day, those of the data that the schema came from."""
        found = self.repositories.metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=REMEMBERED_DAYS).items
        served = sorted((s for s in found if s.start_us < day), key=lambda s: s.start_us)
        if len(served) >= REMEMBERED_DAYS - MATURING_DAYS:
            return served
        until_us = served[0].start_us if served else day
        return [s for s in self._history.trained(endpoint, schema) if s.start_us < until_us] + served

    def _measured_again(self, work: Work, endpoint: str, day: Micros, rows: pl.DataFrame) -> list[MonitorSlice]:
        """The newest slices again with the labels that came since; labels need days to arrive."""
        again = []
        for start in (day - back * DAY_US for back in range(MATURING_DAYS, 0, -1)):
            before = self.repositories.metadata.get(MonitorSlice, endpoint, start)
            if before is not None:
                inside = rows.filter((pl.col("at_us") >= start) & (pl.col("at_us") < start + DAY_US))
                fresh = measure.with_newer_labels(before, inside, run=work.run.id)
                work.batch.put(fresh)
                again.append(fresh)
        return again

    def _link(self, work: Work, monitor: Monitor, day: Micros) -> None:
        """The slice came from this run and speaks about the champion of the day."""
        node = f"monitor_slice:{monitor.endpoint.name}@{day}"
        work.made(node)
        champion = model_aliases.aliased_version(self.repositories.metadata, monitor.endpoint.model)
        if champion is not None:
            work.batch.link(node, [f"model_version:{champion.id}"], work.now_us)


def _is_trained_here(metadata: Metadata, model: str) -> bool:
    champion = model_aliases.aliased_version(metadata, model)
    return champion is not None and champion.run != ""
