"""The monitor run: the newest days of the prediction log, counted, compared and measured; what breaks becomes an alert.

Collect (journals become tables) -> examine (a slice a day, its findings, its measured performance) -> alerts raised, touched
or resolved, all in the step's one commit. A day is examined once; days missed while nothing ran are caught up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from msgspec.structs import replace

from rota.durable.workflow import Context, Work
from rota.errors import NotFound
from rota.manage.adoption import baselines
from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices, schemas
from rota.manage.datasets.schema_inference import as_model_sees
from rota.manage.features.writer import Feed
from rota.manage.models import model_aliases
from rota.manage.repositories import Repositories
from rota.manage.signals import alerts, business_outcomes, labels, prediction_log
from rota.manage.signals.alerts import Breach
from rota.monitor import measure
from rota.ports.metadata import Metadata
from rota.records.record import plain
from rota.records.schema import SERVING, Schema
from rota.records.signal import Alert, AlertKind, Event, Monitor, MonitorSlice
from rota.records.time import DAY_US, Micros, iso
from rota.stats import concept_drift
from rota.stats.schema_validation import validate

MATURING_DAYS = 3
RECENT_DAYS = 14
REMEMBERED_DAYS = 120
FAULT: AlertKind = "distribution_skew"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What this process need not read again: slices of the training data, and sampled values of each day it has seen."""

    trained: tuple[MonitorSlice, ...]
    values: dict[Micros, dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class MonitorWorkflow:
    """Examines an endpoint's complete days that were not examined yet."""

    repositories: Repositories
    feed: Feed
    remembered: dict[tuple[str, str, int], Remembered] = field(default_factory=dict)

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
        return moved | self.feed.flush_all()

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
        monitor = self.repositories.metadata.get(Monitor, endpoint)
        if monitor is None:
            raise NotFound(f"endpoint {endpoint!r} has no monitor; declare rota.Monitor in the project and `rota apply`", endpoint=endpoint)
        schema = self._schema(monitor.endpoint.model)
        rows = self._rows(endpoint, day, work.now_us)
        today = rows.filter(pl.col("at_us") >= day)
        slice_ = replace(measure.day_slice(endpoint, day, today, schema.bins, run=work.run.id), schema=schema.version)
        work.batch.put(slice_)
        past = self._past(endpoint, schema, day)
        days = self._days_of(endpoint, schema, [*past, slice_])
        breaches = self._schema_breaches(schema, today) + self._distribution_breaches(monitor, schema, days, day)
        measured = self._measured_again(work, endpoint, day, rows)
        breaches += self._performance_breaches(monitor, past, measured)
        self._link(work, monitor, day)
        return self._settle_alerts(work, endpoint, breaches, day)

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
        return [s for s in self._remembered(endpoint, schema).trained if s.start_us < until_us] + served

    def _remembered(self, endpoint: str, schema: Schema) -> Remembered:
        key = (endpoint, schema.name, schema.version)
        if key not in self.remembered:
            rows = self._training_rows(schema)
            days = daily_slices.cut(rows, datasets.AT, schema.bins)
            trained = tuple(
                MonitorSlice(endpoint, start, start + DAY_US, 0, 0, {n: tuple(c[i].tolist()) for n, c in days.counts.items()}, {}, {})
                for i, start in enumerate(days.starts_us)
            )
            newest = days.starts_us[-daily_slices.VALUE_DAYS :]
            values = {start: {name: column[i] for name, column in days.values.items()} for i, start in enumerate(newest)}
            self.remembered[key] = Remembered(trained, values)
        return self.remembered[key]

    def _training_rows(self, schema: Schema) -> pl.DataFrame:
        """The rows that a schema was inferred from; none where these were a file, which cannot be read again."""
        name, _, number = schema.dataset.partition("@")
        if not number.isdecimal():
            return pl.DataFrame(schema={datasets.AT: pl.Int64})
        return datasets.read(self.repositories.tables, datasets.get(self.repositories.metadata, name, int(number)))

    def _days_of(self, endpoint: str, schema: Schema, past: Sequence[MonitorSlice]) -> daily_slices.Days:
        """Stored counts of every day and sampled values of the newest, in one value; only days not seen yet are read."""
        starts = tuple(s.start_us for s in past)
        newest = starts[-daily_slices.VALUE_DAYS :]
        known = self._remembered(endpoint, schema).values
        served = [start for start in newest if start not in known]
        if served:
            rows = prediction_log.read(self.repositories.tables, endpoint, served[0], served[-1] + DAY_US)
            rows = rows.filter((pl.col("role") != "shadow") & (pl.col("error") == "")).sort("at_us")
            sampled = daily_slices.sampled(rows, rows["at_us"].to_numpy() // DAY_US, schema.bins, np.array(served) // DAY_US)
            known.update({start: {name: column[i] for name, column in sampled.items()} for i, start in enumerate(served)})
        for old in [start for start in known if start < newest[0]]:
            del known[old]
        numbers = [b.name for b in schema.bins if b.type != "string" and all(b.name in known[start] for start in newest)]
        counts = self._counts(schema, past)
        return daily_slices.Days(starts, counts, {name: tuple(known[start][name] for start in newest) for name in numbers})

    def _counts(self, schema: Schema, past: Sequence[MonitorSlice]) -> dict[str, np.ndarray]:
        """Counts of each feature in each day; a day that was counted on other bins, or before the feature, counts no rows."""
        versions = {s.schema for s in past} - {0, schema.version}
        others = {v: found.bins for v in versions if (found := self.repositories.metadata.get(Schema, schema.name, v)) is not None}
        other_bins = {v: {b.name for b in schema.bins if b not in bins} for v, bins in others.items()}
        counts = {}
        for b in schema.bins:
            days = [() if b.name in other_bins.get(s.schema, ()) else s.counts.get(b.name, ()) for s in past]
            if any(len(day) == b.size for day in days):
                counts[b.name] = np.array([day if len(day) == b.size else (0,) * b.size for day in days])
        return counts

    def _schema_breaches(self, schema: Schema, today: pl.DataFrame) -> list[Breach]:
        """Structure first: vanished, new or retyped features, and too many nulls."""
        columns = [name for name in today.columns if "__" in name]
        found = validate(schema, as_model_sees(today.select(columns)), environment=SERVING) if today.height else ()
        return [
            Breach("schema_skew", a.feature, "critical", a.message, {"anomaly": a.kind, "observed": a.observed, "threshold": a.threshold})
            for a in found
            if a.severity == "fail"
        ]

    def _distribution_breaches(self, monitor: Monitor, schema: Schema, days: daily_slices.Days, day: Micros) -> list[Breach]:
        window = daily_slices.Window(monitor.reference_days, monitor.gap_days, monitor.expected_days_between_false_alarms)
        left_out = self._faulty_days(monitor.endpoint.name)
        breaches = []
        for finding in daily_slices.examine(schema.bins, days, window, left_out=left_out):
            if finding.fault is not None:
                evidence = {"fault": finding.fault.name, "day_us": day, **finding.fault.evidence}
                breaches.append(Breach(FAULT, finding.feature, "critical", finding.fault.message, evidence))
            elif finding.drift.alarm:
                message = f"{finding.feature}: {finding.drift.effect:.0f} of 100 rows lie elsewhere than in the {finding.drift.slices} days before"
                breaches.append(Breach("drift", finding.feature, "warning", message, {"day_us": day, **_plain_verdict(finding.drift)}))
        return breaches

    def _faulty_days(self, endpoint: str) -> dict[str, frozenset[Micros]]:
        """Days of each feature in which a fault was seen: they must not become the reference of what is normal."""
        found: dict[str, set[Micros]] = {}
        for alert in self.repositories.metadata.find(Alert, {"endpoint": endpoint, "kind": FAULT}):
            first = int(alert.evidence["day_us"]) - (daily_slices.FAULT_DAYS - 1) * DAY_US
            last = daily_slices.day_of(alert.last_seen_us)
            found.setdefault(alert.subject, set()).update(range(first, last, DAY_US))
        return {feature: frozenset(days) for feature, days in found.items()}

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

    def _performance_breaches(self, monitor: Monitor, past: Sequence[MonitorSlice], again: Sequence[MonitorSlice]) -> list[Breach]:
        """Does the endpoint err more than the difficulty of its rows explains? Judged on days whose labels have matured."""
        newest = {s.start_us: s for s in (*past, *again)}
        served = [newest[start].performance["all"] for start in sorted(newest) if newest[start].performance]
        series = [p["excess"] for p in served if "excess" in p and p["labelled"] >= measure.LEAST_LABELLED]
        recent, reference = series[-RECENT_DAYS:], series[:-RECENT_DAYS][-monitor.reference_days :]
        verdict = concept_drift.performance_alarm(reference, recent, days_between_false_alarms=monitor.expected_days_between_false_alarms)
        if not verdict.alarm:
            return []
        message = (
            f"{monitor.endpoint.name} errs more than its rows are hard: excess Brier loss {verdict.excess:+.4f} above usual in the newest "
            f"{concept_drift.NEWEST_DAYS} days (t {verdict.t:.1f} of {verdict.t_needed:.1f}, "
            f"evidence {verdict.evidence:.0f} of {verdict.evidence_needed:.0f})"
        )
        return [Breach("performance", "brier", "critical", message, _plain_verdict(verdict))]

    def _link(self, work: Work, monitor: Monitor, day: Micros) -> None:
        """The slice came from this run and speaks about the champion of the day."""
        node = f"monitor_slice:{monitor.endpoint.name}@{day}"
        work.made(node)
        champion = model_aliases.aliased_version(self.repositories.metadata, monitor.endpoint.model)
        if champion is not None:
            work.batch.link(node, [f"model_version:{champion.id}"], work.now_us)

    def _settle_alerts(self, work: Work, endpoint: str, breaches: Sequence[Breach], day: Micros) -> list[str]:
        """Raise what is new, touch what goes on, resolve what is over."""
        metadata = self.repositories.metadata
        seen = {(breach.kind, breach.subject) for breach in breaches}
        raised = []
        for breach in breaches:
            alert = alerts.raise_or_touch(work.batch, metadata, endpoint, breach, now_us=work.now_us, run=work.run.id)
            if alert is not None:
                raised.append(alert.id)
        for alert in alerts.open_alerts(metadata, endpoint):
            if alert.kind == "gate":
                over = not any(other.severity == "critical" and other.kind != "gate" for other in alerts.open_alerts(metadata, endpoint))
            else:
                over = (alert.kind, alert.subject) not in seen
            if over and alert.last_seen_us < work.now_us:
                alerts.resolve(work.batch, alert, now_us=work.now_us, actor=work.run.id, reason=f"no longer seen on {iso(day)[:10]}")
        return raised


def _is_trained_here(metadata: Metadata, model: str) -> bool:
    champion = model_aliases.aliased_version(metadata, model)
    return champion is not None and champion.run != ""


def _plain_verdict(verdict: Any) -> dict[str, Any]:
    return {name: value for name, value in plain(verdict).items() if not (isinstance(value, float) and not np.isfinite(value))}
