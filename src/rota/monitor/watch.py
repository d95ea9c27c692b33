"""The monitor run: the newest days of the prediction log, counted, compared and measured; what breaks becomes an alert.

Collect (journals become tables) -> examine (a slice a day and its breaches) -> late labels (slices whose labels changed, measured
again) -> judge (performance, and the results of all checks). Alerts are raised, touched or resolved in each step's one commit. A day
is examined once; days missed while nothing ran are caught up. The run's result says what could not be judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import polars as pl
from msgspec.structs import replace

from rota.durable.workflow import Context, StepWork
from rota.errors import NotFound
from rota.manage.adoption import baselines
from rota.manage.datasets import daily_slices, schemas, slice_checks
from rota.manage.features.writer import Feed
from rota.manage.models import model_aliases
from rota.manage.models.own_metrics import TOO_LONG, PartMeasured, TeamMetrics
from rota.manage.repositories import Repositories
from rota.manage.signals import alerts, business_outcomes, label_domain, labels, prediction_log
from rota.manage.signals.label_domain import DeclaredProblem
from rota.monitor import answer_drift, breaches, late_labels, measure, status, switched_off, vectors
from rota.monitor.breaches import Checked
from rota.monitor.slice_history import SliceHistory
from rota.ports.metadata import Metadata
from rota.problems.problem_type import ScoredRows
from rota.records.check import CheckResult
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode, plain
from rota.records.schema import Schema
from rota.records.signal import Alert, Cursor, Event, Monitor, MonitorSlice
from rota.records.time import DAY_US, Micros, iso
from rota.stats import sketches

REMEMBERED_DAYS = 120
"""Days of slices that a day is compared with, at most."""


class MonitorWorkflow:
    """Examines an endpoint's complete days that were not examined yet, and measures those again whose labels changed."""

    def __init__(
        self,
        repositories: Repositories,
        feed: Feed,
        own_metrics: Callable[[str, Callable[[], bool]], TeamMetrics | None] = lambda _model, _stopped: None,
    ) -> None:
        self.repositories = repositories
        self.feed = feed
        self._own_metrics = own_metrics
        self._history = SliceHistory(repositories)

    def __call__(self, context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = str(arguments["endpoint"])
        context.step("collect", lambda work: self._collect(work, endpoint))
        days = context.step("days", lambda work: self._days(work, endpoint))
        raised: list[str] = []
        seen: list[Any] | None = None
        slow: set[str] = set()
        for day in days:
            found = context.step(f"examine {iso(day)[:10]}", partial(self._examine, endpoint, day, day == days[-1], frozenset(slow)))
            told = {"alerts": found} if isinstance(found, list) else found  # a list: this step was finished by an older release
            raised += told["alerts"]
            seen = told.get("checks", [])
            slow |= set(told.get("slow", []))
        late = context.step("late labels", lambda work: self._measured_again(work, endpoint, frozenset(slow)))
        judged = context.step("judge", lambda work: self._judge(work, endpoint, seen))
        results = msgspec.convert(judged["checks"], tuple[CheckResult, ...])
        return {"days": len(days), "alerts": raised + judged["alerts"], "measured_again": len(late["days"]), **status.summary(results)}

    def _collect(self, work: StepWork, endpoint: str) -> dict[str, int]:
        """Move what was acknowledged into the tables and say so."""
        repositories = self.repositories
        moved = {"predictions": prediction_log.flush(repositories.journal, repositories.tables, endpoint)}
        moved["labels"] = labels.flush(repositories.journal, repositories.tables, endpoint)
        if moved["labels"]:
            work.batch.event(Event("label.arrived", endpoint, work.now_us, {"rows": moved["labels"]}))
        moved["outcomes"] = business_outcomes.flush(repositories.journal, repositories.tables, endpoint)
        return moved | self.feed.pushes.flush_all()

    def _days(self, work: StepWork, endpoint: str) -> list[Micros]:
        """Complete UTC days with predictions that have no slice yet, oldest first."""
        if not self._knows_normal(work, endpoint):
            return []
        newest = self.repositories.metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=1).items
        start_us = newest[0].end_us if newest else 0
        logged = prediction_log.read(self.repositories.tables, endpoint, start_us, daily_slices.day_of(work.now_us), features=False)
        return sorted({daily_slices.day_of(at_us) for at_us in logged["at_us"].to_list()})

    def _knows_normal(self, work: StepWork, endpoint: str) -> bool:
        """Whether the model has a schema. One that was not trained here, and was given no baseline, learns it from its first served days."""
        metadata = self.repositories.metadata
        monitor = metadata.get(Monitor, endpoint)
        if monitor is None or schemas.serving(metadata, monitor.endpoint.model) is not None or _is_trained_here(metadata, monitor.endpoint.model):
            return True
        learnt = baselines.learnt(self.repositories, work.batch, endpoint, monitor.endpoint.model, run=work.run.id, now_us=work.now_us)
        return learnt is not None

    def _examine(self, endpoint: str, day: Micros, last: bool, slow: frozenset[str], work: StepWork) -> dict[str, Any]:
        """Count and compare a day. The metrics `slow` took too long on a day before, and are not called again in this run."""
        metadata = self.repositories.metadata
        monitor, schema = self._watched(endpoint)
        rows = self._rows(endpoint, day, day + DAY_US, work.now_us)
        problem = self._problem(monitor, rows)
        own = OwnOfRun(self._own_metrics(monitor.endpoint.model, work.stopped), set(slow))
        measured = measure.day_slice(endpoint, day, rows, schema.bins, run=work.run.id, problem=problem, own=own)
        known = self._served(endpoint, before=day)
        answering = answer_drift.busiest(measure.answered(rows))
        answering_problem = self._problem_of(monitor.endpoint.model, answering) or problem
        answers = answer_drift.answers_of(measure.answered(rows), answering, answering_problem)
        slice_ = answer_drift.counted(replace(measured, schema=schema.version), answers, known)
        work.batch.put(slice_)
        served = [*known, slice_]
        before = self._before(endpoint, schema, served)
        days = self._history.days(endpoint, schema, [*before, *served])
        faulty = breaches.faulty_days(metadata.find(Alert, {"endpoint": endpoint, "kind": breaches.FAULT}))
        baseline = self._history.baseline(endpoint, schema, served)
        asked = prediction_log.with_features(measure.answered(rows), self._features_of(rows))
        found = breaches.of_schema(schema, asked) + breaches.of_distribution(monitor, schema, days, day, faulty, baseline)
        found += answer_drift.check(monitor, served, answering_problem, columns=answers.columns)
        found += vectors.of_day(monitor, schema, vectors.VectorDays(self._history.trained(endpoint, schema), served, baseline.undated), day=day)
        off = dict(switched_off.of_calendar(monitor, schema, days)) | dict(switched_off.of_definition(monitor))
        found = switched_off.apply(found, off) + Checked(tuple(switched_off.unknown(monitor, schema, found.results)))
        self._link(work, monitor, day)
        raised = self._settle(work, endpoint, found, _found_well(found.results, schema), f"no longer seen on {iso(day)[:10]}")
        return {"alerts": raised, "checks": plain(found.results) if last else [], "slow": sorted(own.slow)}

    def _problem_of(self, model: str, number: int) -> DeclaredProblem | None:
        """What a version's bundle declares; None where it has none."""
        version = self.repositories.metadata.get(ModelVersion, model, number)
        if version is None or not version.bundle or not self.repositories.blobs.exists(version.bundle):
            return None
        return label_domain.of_bundle(decode(self.repositories.blobs.get(version.bundle), ModelBundle))

    def _features_of(self, rows: pl.DataFrame) -> list[str]:
        """The features that the versions of some predictions read."""
        metadata, blobs = self.repositories.metadata, self.repositories.blobs
        found: dict[str, None] = {}
        for model, number in rows.select("model", "number").unique().sort("model", "number").iter_rows():
            version = metadata.get(ModelVersion, model, number)
            if version is not None and version.bundle:
                found |= dict.fromkeys(decode(blobs.get(version.bundle), ModelBundle).features.feature_names)
        return list(found)

    def _measured_again(self, work: StepWork, endpoint: str, slow: frozenset[str]) -> dict[str, Any]:
        """The slices whose labels changed since the last run, measured again: labels may be of any age."""
        metadata, tables = self.repositories.metadata, self.repositories.tables
        monitor = metadata.get(Monitor, endpoint)
        before = late_labels.cursor(metadata, endpoint)
        slices = late_labels.changed_slices(metadata, tables, endpoint, since_us=before.position)
        again = []
        own = OwnOfRun(self._own_metrics(monitor.endpoint.model, work.stopped) if monitor is not None and slices else None, set(slow))
        for group in late_labels.together(slices):
            assert monitor is not None  # a slice is stored by a monitor, and monitors stay
            rows = self._rows(endpoint, group[0].start_us, group[-1].end_us, work.now_us, features=False)
            problem = self._problem(monitor, rows)
            for slice_ in group:
                inside = rows.filter((pl.col("at_us") >= slice_.start_us) & (pl.col("at_us") < slice_.end_us))
                fresh = measure.with_newer_labels(slice_, inside, run=work.run.id, problem=problem, now_us=work.now_us, own=own)
                if fresh is not slice_:
                    work.batch.put(fresh, replacing=slice_)
                    again.append(iso(slice_.start_us)[:10])
        work.batch.put(Cursor(before.consumer, work.now_us), replacing=before if before.position else None)
        return {"days": again}

    def _judge(self, work: StepWork, endpoint: str, seen: Sequence[Any] | None) -> dict[str, Any]:
        """Performance on all measured days, and every check's newest result: of this run, or of the run before when no day was new."""
        metadata = self.repositories.metadata
        monitor = metadata.get(Monitor, endpoint)
        if monitor is None:
            return {"alerts": [], "checks": []}
        served = self._served(endpoint)
        newest = served[-1] if served else None
        carried = status.results(self.repositories, endpoint) if seen is None else msgspec.convert(seen, tuple[CheckResult, ...])
        own = (status.TRAFFIC, breaches.PERFORMANCE, status.BASELINE)
        others = [result for result in carried if result.check not in own]
        traffic = breaches.of_traffic(newest, complete=daily_slices.day_of(work.now_us) - DAY_US)
        if not served and (missing := self._unlearnt(monitor, endpoint, work.now_us)):
            others.append(CheckResult(status.BASELINE, "inconclusive", f"nothing is compared yet: {missing}", "", missing, "learning"))
        team = self._own_metrics(monitor.endpoint.model, work.stopped)
        unexamined = 0 if any(s.labelled for s in served) else self._unexamined_labels(endpoint, newest, work.now_us)
        found = breaches.of_performance(monitor, served, self._problem(monitor, None).problem, unexamined=unexamined)
        found += breaches.of_own_metrics(monitor, served, team.metrics if team is not None else ())
        found = switched_off.apply(found, switched_off.of_definition(monitor))
        raised = self._settle(work, endpoint, found, _performed(found.results), "no longer seen")
        return {"alerts": raised, "day": iso(newest.start_us)[:10] if newest else "", "checks": plain([traffic, *others, *found.results])}

    def _unexamined_labels(self, endpoint: str, newest: MonitorSlice | None, now_us: Micros) -> int:
        """Labels of answered predictions later than the newest slice: of the day that is not over, or of days that were not examined yet."""
        rows = self._rows(endpoint, newest.end_us if newest is not None else 0, now_us + 1, now_us, features=False)
        return int(measure.answered(rows)["label_at_us"].count())

    def _settle(self, work: StepWork, endpoint: str, found: Checked, found_well: Callable[[Alert], bool], reason: str) -> list[str]:
        metadata = self.repositories.metadata
        return alerts.settle(
            work.batch, metadata, endpoint, found.breaches, found_well=found_well, now_us=work.now_us, run=work.run.id, reason=reason
        )

    def _watched(self, endpoint: str) -> tuple[Monitor, Schema]:
        monitor = self.repositories.metadata.get(Monitor, endpoint)
        if monitor is None:
            raise NotFound(f"endpoint {endpoint!r} has no monitor; declare rota.Monitor in the project and `rota apply`", endpoint=endpoint)
        model = monitor.endpoint.model
        found = schemas.serving(self.repositories.metadata, model)
        if found is None:
            raise NotFound(f"model {model!r} has no schema yet; the first training run freezes one, `rota models baseline` too", model=model)
        return monitor, found

    def _problem(self, monitor: Monitor, rows: pl.DataFrame | None) -> DeclaredProblem:
        """The problem that the model declares. Where no version has a bundle, what was measured first decides, and stays."""
        metadata = self.repositories.metadata
        declared = label_domain.declared(metadata, self.repositories.blobs, monitor.endpoint.model)
        if declared is not None:
            return declared
        measured = [s for s in self._served(monitor.endpoint.name) if measure.ALL in s.performance]
        if measured:
            return _CLASSIFICATION if "brier" in measured[0].performance[measure.ALL] else _REGRESSION
        known = rows.filter(pl.col("label_at_us").is_not_null() & (pl.col("error") == "")) if rows is not None else None
        if known is None or known.is_empty():
            return _CLASSIFICATION
        return _CLASSIFICATION if label_domain.measured(known, _CLASSIFICATION)[0].height == known.height else _REGRESSION

    def _unlearnt(self, monitor: Monitor, endpoint: str, now_us: Micros) -> str:
        """How far the days reach that are taken for normal where nothing else says what is; "" for a model with a schema."""
        if schemas.serving(self.repositories.metadata, monitor.endpoint.model) is not None:
            return ""
        logged = self._rows(endpoint, 0, daily_slices.day_of(now_us), now_us, features=False)
        days = measure.answered(logged).select((pl.col("at_us") // DAY_US).n_unique()).item()
        return f"{days} of {baselines.LEARNING_DAYS} complete served days that are taken for normal (`rota models baseline` gives others)"

    def _rows(self, endpoint: str, start_us: Micros, end_us: Micros, now_us: Micros, *, features: bool = True) -> pl.DataFrame:
        """Log rows of a time as callers got them, failed ones among them, with the labels known now."""
        rows = labels.joined(self.repositories.tables, endpoint, start_us, end_us, known_until_us=now_us, features=features)
        return rows.filter(pl.col("role") != "shadow").sort("at_us")

    def _served(self, endpoint: str, *, before: Micros | None = None) -> list[MonitorSlice]:
        """The newest REMEMBERED_DAYS slices of an endpoint (before a day), oldest first."""
        found = self.repositories.metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=REMEMBERED_DAYS).items
        return sorted((s for s in found if before is None or s.start_us < before), key=lambda s: s.start_us)

    def _before(self, endpoint: str, schema: Schema, served: Sequence[MonitorSlice]) -> list[MonitorSlice]:
        """Slices of the data that the schema came from, from before the first served day, unless served days are enough."""
        if len(served) >= REMEMBERED_DAYS:
            return []
        return [s for s in self._history.trained(endpoint, schema) if s.start_us < served[0].start_us]

    def _link(self, work: StepWork, monitor: Monitor, day: Micros) -> None:
        """The slice came from this run and speaks about the champion of the day."""
        node = f"monitor_slice:{monitor.endpoint.name}@{day}"
        work.made(node)
        champion = model_aliases.aliased_version(self.repositories.metadata, monitor.endpoint.model)
        if champion is not None:
            work.batch.link(node, [f"model_version:{champion.id}"], work.now_us)


_CLASSIFICATION, _REGRESSION = DeclaredProblem("classification"), DeclaredProblem("regression")


def _found_well(results: Sequence[CheckResult], schema: Schema) -> Callable[[Alert], bool]:
    """Whether an alert's breach was looked for on this day and found well; that of a feature which is watched no more is over too."""
    known = {(result.check, result.subject): "pass" if result.state == "off" else result.outcome for result in results}
    watched = {b.name for b in schema.bins} | {result.subject for result in results if result.check == slice_checks.DRIFT}
    watched |= {*sketches.vector_names({b.name for b in schema.bins})}
    structure = known[breaches.SCHEMA, ""] != "inconclusive"

    def is_well(alert: Alert) -> bool:
        if alert.kind in (slice_checks.DRIFT, slice_checks.FAULT):
            return alert.subject not in watched or known.get((alert.kind, alert.subject)) == "pass"
        return structure if alert.kind in (breaches.SCHEMA, "gate") else False

    return is_well


def _performed(results: Sequence[CheckResult]) -> Callable[[Alert], bool]:
    """A metric of the team's own speaks for its own alert; the loss for that of any name that is watched no more."""
    passed = {result.subject: result.passed or result.state == "off" for result in results}
    return lambda alert: alert.kind == breaches.PERFORMANCE and passed.get(alert.subject, passed.get("", False))


@dataclass(slots=True)
class OwnOfRun:
    """The metrics of a team's own in one run of a monitor; `slow` ones, which took too long once, are not called again in it."""

    team: TeamMetrics | None
    slow: set[str]

    def __call__(self, parts: Sequence[ScoredRows]) -> Sequence[PartMeasured]:
        if self.team is None:
            return measure.no_own_metrics(parts)
        found = self.team.each(parts, but=self.slow)
        self.slow |= {name for part in found for name, reason in part.failed.items() if reason.startswith(TOO_LONG)}
        return found


def _is_trained_here(metadata: Metadata, model: str) -> bool:
    champion = model_aliases.aliased_version(metadata, model)
    return champion is not None and champion.run != ""
