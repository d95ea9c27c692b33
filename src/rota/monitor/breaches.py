"""Checks of a day: what its rows, slices and measured performance say against an endpoint, or what they lack to say anything.

Each function gives `Checked`: a result for everything that was looked for, and a breach for everything found.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from rota.manage.datasets import daily_slices, slice_checks
from rota.manage.datasets.schema_inference import as_model_sees
from rota.manage.datasets.slice_checks import Baseline
from rota.manage.models.own_metrics import UNDEFINED
from rota.manage.signals.alerts import Breach
from rota.monitor import measure
from rota.monitor.status import TRAFFIC
from rota.problems import registry
from rota.problems.problem_type import ProblemType
from rota.records.check import CheckResult, CheckState
from rota.records.own_metric import OwnMetric
from rota.records.record import plain
from rota.records.run import Problem
from rota.records.schema import SERVING, Schema
from rota.records.signal import Alert, AlertKind, Monitor, MonitorSlice
from rota.records.time import DAY_US, Micros, iso
from rota.stats import concept_drift
from rota.stats.schema_validation import validate

SCHEMA: AlertKind = "schema_skew"
FAULT: AlertKind = "distribution_skew"
PERFORMANCE: AlertKind = "performance"


@dataclass(frozen=True, slots=True)
class Checked:
    """Results of checks, and the breaches among them."""

    results: tuple[CheckResult, ...] = ()
    breaches: tuple[Breach, ...] = ()

    def __add__(self, other: "Checked") -> "Checked":
        return Checked(self.results + other.results, self.breaches + other.breaches)


def of_schema(schema: Schema, today: pl.DataFrame) -> Checked:
    """Structure first: vanished, new or retyped features, and too many nulls."""
    if today.is_empty():
        missing = "no answered prediction on the day"
        return Checked((CheckResult(SCHEMA, "inconclusive", f"could not be judged: {missing}", "", missing, "cannot"),))
    columns = [name for name in today.columns if "__" in name]
    broken = [a for a in validate(schema, as_model_sees(today.select(columns), schema=schema), environment=SERVING) if a.severity == "fail"]
    breaches = tuple(
        Breach(SCHEMA, a.feature, "critical", a.message, {"anomaly": a.kind, "observed": a.observed, "threshold": a.threshold}) for a in broken
    )
    message = "; ".join(a.message for a in broken) or f"{len(schema.columns)} features are as the schema says"
    return Checked((CheckResult(SCHEMA, "fail" if broken else "pass", message, rows=today.height),), breaches)


def of_distribution(
    monitor: Monitor, schema: Schema, days: daily_slices.Days, day: Micros, faulty: Mapping[str, frozenset[Micros]], baseline: Baseline
) -> Checked:
    """Faults and drift of each feature on `day`, the newest of `days`; `faulty` days of a feature are no reference for it."""
    window = daily_slices.Window(monitor.reference_days, monitor.gap_days, monitor.expected_days_between_false_alarms)
    watched = slice_checks.watch(schema.bins, days, window, baseline, left_out=faulty)
    breaches = []
    for finding in watched.findings:
        before = watched.early.get(finding.feature)
        if finding.fault is not None:
            evidence = {"fault": finding.fault.name, "day_us": day, **finding.fault.evidence}
            breaches.append(Breach(FAULT, finding.feature, "critical", finding.fault.message, evidence))
        elif finding.drift.alarm or (before is not None and before.alarm):
            message = next(r.message for r in watched.results if (r.check, r.subject) == (slice_checks.DRIFT, finding.feature))
            evidence = {"day_us": day, **plain_verdict(finding.drift)}
            evidence |= {} if before is None else {"rule": "early", **plain_verdict(before)}
            breaches.append(Breach("drift", finding.feature, "warning", f"{finding.feature}: {message}", evidence))
    return Checked(watched.results, tuple(breaches))


def faulty_days(alerts: Collection[Alert]) -> dict[str, frozenset[Micros]]:
    """Days of each feature in which the fault of an alert was seen: they must not become the reference of what is normal."""
    found: dict[str, set[Micros]] = {}
    for alert in alerts:
        first = int(alert.evidence["day_us"]) - (daily_slices.FAULT_DAYS - 1) * DAY_US
        last = daily_slices.day_of(alert.last_seen_us)
        found.setdefault(alert.subject, set()).update(range(first, last, DAY_US))
    return {feature: frozenset(days) for feature, days in found.items()}


def of_performance(monitor: Monitor, served: Sequence[MonitorSlice], problem: Problem, *, unexamined: int = 0) -> Checked:
    """Does the endpoint err more than the difficulty of its rows explains? Judged on the days with enough labels.

    `unexamined` labels are of predictions of days that are not examined yet, which says more than that there were none.
    """
    kind = registry.problem_type(problem)
    measured = [s for s in served if kind.always in s.performance.get(measure.ALL, {})]
    judged = [s for s in measured if "excess" in s.performance[measure.ALL]]
    days = [s for s in judged if s.performance[measure.ALL]["labelled"] >= concept_drift.LEAST_LABELLED]
    series = [s.performance[measure.ALL]["excess"] for s in days]
    recent, reference = series[-concept_drift.RECENT_DAYS :], series[: -concept_drift.RECENT_DAYS][-monitor.reference_days :]
    verdict = concept_drift.performance_alarm(reference, recent, days_between_false_alarms=monitor.expected_days_between_false_alarms)
    apart = sum(s.set_apart for s in served)
    ungrouped = ", or that name no group" if kind.needs_groups else ""
    note = f"; {apart} labelled rows set apart, whose label or answer a {problem} does not allow{ungrouped}" if apart else ""
    rows = int(sum(s.performance[measure.ALL]["labelled"] for s in days[-concept_drift.RECENT_DAYS :]))
    if verdict.state == "learning":
        missing = _unlabelled(served, len(days), unexamined) + _undefined(kind, len(measured) - len(judged))
        state: CheckState = "learning" if unexamined or (days and days[-1] is measured[-1]) else "cannot"
        return Checked((CheckResult(PERFORMANCE, "inconclusive", f"could not be judged: {missing}{note}", "", missing, state, rows=rows),))
    message = (
        f"excess {kind.excess_name} {verdict.excess:+.4f} above usual in the newest "
        f"{concept_drift.NEWEST_DAYS} labelled days, up to {iso(days[-1].start_us)[:10]} (t {verdict.t:.1f} of {verdict.t_needed:.1f}, "
        f"evidence {verdict.evidence:.0f} of {verdict.evidence_needed:.0f}){note}"
    )
    result = CheckResult(PERFORMANCE, "fail" if verdict.alarm else "pass", message, observed=verdict.t, bound=verdict.t_needed, rows=rows)
    if not verdict.alarm:
        return Checked((result,))
    told = f"{monitor.endpoint.name} errs more than its rows are hard: {message}"
    return Checked((result,), (Breach(PERFORMANCE, kind.loss, "critical", told, plain_verdict(verdict)),))


def of_own_metrics(monitor: Monitor, served: Sequence[MonitorSlice], metrics: Sequence[OwnMetric]) -> Checked:
    """Does the endpoint do worse than usual by a metric of the team's own? Judged as the loss is, day by day, but by the metric as it is: how hard
    the rows of a day were is not known to it. The metrics share one budget of false alarms."""
    found = Checked()
    for metric in metrics:
        found += _of_own_metric(monitor, served, metric, shared_by=len(metrics))
    return found


def _of_own_metric(monitor: Monitor, served: Sequence[MonitorSlice], metric: OwnMetric, *, shared_by: int) -> Checked:
    labelled = [s for s in served if s.labelled]
    if labelled and (fault := labelled[-1].not_measured.get(metric.name, "")) and not fault.startswith(UNDEFINED):
        missing = f"on {iso(labelled[-1].start_us)[:10]} the metric {fault}"
        message = f"{metric.name} could not be judged: {missing}"
        return Checked((CheckResult(PERFORMANCE, "inconclusive", message, metric.name, missing, "cannot", rows=labelled[-1].labelled),))
    days = [s for s in labelled if s.labelled >= concept_drift.LEAST_LABELLED and metric.name in s.performance.get(measure.ALL, {})]
    undefined = sum(metric.name in s.not_measured for s in labelled)
    note = f"; on {undefined} labelled days it has no value" if undefined else ""
    sign = -1.0 if metric.higher_is_better else 1.0
    series = [sign * s.performance[measure.ALL][metric.name] for s in days]
    recent, reference = series[-concept_drift.RECENT_DAYS :], series[: -concept_drift.RECENT_DAYS][-monitor.reference_days :]
    budget = monitor.expected_days_between_false_alarms * shared_by
    verdict = concept_drift.performance_alarm(reference, recent, days_between_false_alarms=budget)
    rows = int(sum(s.labelled for s in days[-concept_drift.RECENT_DAYS :]))
    if verdict.state == "learning":
        missing = _unlabelled(served, len(days)) + note
        message = f"{metric.name} could not be judged: {missing}"
        return Checked((CheckResult(PERFORMANCE, "inconclusive", message, metric.name, missing, "learning", rows=rows),))
    now, usual = sign * (verdict.usual + verdict.excess), sign * verdict.usual
    message = (
        f"{metric.name} {now:.4g} in the newest {concept_drift.NEWEST_DAYS} labelled days, up to {iso(days[-1].start_us)[:10]}, {usual:.4g} usually "
        f"(t {verdict.t:.1f} of {verdict.t_needed:.1f}, evidence {verdict.evidence:.0f} of {verdict.evidence_needed:.0f}){note}"
    )
    result = CheckResult(
        PERFORMANCE, "fail" if verdict.alarm else "pass", message, metric.name, observed=verdict.t, bound=verdict.t_needed, rows=rows
    )
    if not verdict.alarm:
        return Checked((result,))
    told = f"{monitor.endpoint.name} does worse than usual by {message}"
    return Checked((result,), (Breach(PERFORMANCE, metric.name, "critical", told, plain_verdict(verdict)),))


def of_traffic(newest: MonitorSlice | None, *, complete: Micros) -> CheckResult:
    """Whether the newest complete day has an answered prediction: without one all other results speak of an older day, or of none."""
    if newest is None or newest.start_us < complete:
        since = f"the newest examined day is {iso(newest.start_us)[:10]}" if newest is not None else "no day was examined yet"
        missing = f"no prediction on {iso(complete)[:10]}; {since}"
        return CheckResult(TRAFFIC, "inconclusive", f"nothing could be seen: {missing}", "", missing, "cannot")
    failed = int(newest.efficiency.get("failed", 0))
    if not newest.rows:
        missing = f"none of {failed} predictions of {iso(newest.start_us)[:10]} was answered"
        return CheckResult(TRAFFIC, "inconclusive", f"nothing could be seen: {missing}", "", missing, "cannot", rows=failed)
    return CheckResult(TRAFFIC, "pass", f"{newest.rows} answered and {failed} failed predictions on {iso(newest.start_us)[:10]}", rows=newest.rows)


def _undefined(kind: ProblemType, days: int) -> str:
    """What is wrong with labelled days on which the loss is not defined."""
    return f"; on {days} labelled days no {kind.excess_name} of a {kind.name} is defined ({kind.undefined})" if days else ""


def _unlabelled(served: Sequence[MonitorSlice], days: int, unexamined: int = 0) -> str:
    """What performance lacks, in labelled days or in labels a day."""
    newest = [s.labelled for s in served[-concept_drift.RECENT_DAYS :]]
    usual = float(np.median(newest)) if newest else 0.0
    needed = f"{days} of {concept_drift.LABELLED_DAYS} days with {concept_drift.LEAST_LABELLED} labels"
    if not any(s.labelled for s in served) and unexamined:
        return f"no labels of an examined day yet, {unexamined} of days that are not over or not examined, which count once their day is; {needed}"
    if not any(s.labelled for s in served):
        return f"no labels yet; {needed}"
    return needed if usual >= concept_drift.LEAST_LABELLED else f"{usual:.0f} labels a day, {concept_drift.LEAST_LABELLED} needed; {needed}"


def plain_verdict(verdict: Any) -> dict[str, Any]:
    """The figures of a verdict that are finite, as evidence keeps them."""
    return {name: value for name, value in plain(verdict).items() if not (isinstance(value, float) and not np.isfinite(value))}
