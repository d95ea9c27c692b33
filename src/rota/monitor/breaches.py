"""Breaches: what a day's rows, its slices and its measured performance say against an endpoint, as functions of records."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from rota.manage.datasets import daily_slices
from rota.manage.datasets.schema_inference import as_model_sees
from rota.manage.signals.alerts import Breach
from rota.monitor import measure
from rota.records.record import plain
from rota.records.schema import SERVING, Schema
from rota.records.signal import Alert, AlertKind, Monitor, MonitorSlice
from rota.records.time import DAY_US, Micros
from rota.stats import concept_drift
from rota.stats.schema_validation import validate

RECENT_DAYS = 14
FAULT: AlertKind = "distribution_skew"


def of_schema(schema: Schema, today: pl.DataFrame) -> list[Breach]:
    """Structure first: vanished, new or retyped features, and too many nulls."""
    columns = [name for name in today.columns if "__" in name]
    found = validate(schema, as_model_sees(today.select(columns)), environment=SERVING) if today.height else ()
    return [
        Breach("schema_skew", a.feature, "critical", a.message, {"anomaly": a.kind, "observed": a.observed, "threshold": a.threshold})
        for a in found
        if a.severity == "fail"
    ]


def of_distribution(monitor: Monitor, schema: Schema, days: daily_slices.Days, day: Micros, faulty: Mapping[str, frozenset[Micros]]) -> list[Breach]:
    """Faults and drift of each feature on `day`, the newest of `days`; `faulty` days of a feature are no reference for it."""
    window = daily_slices.Window(monitor.reference_days, monitor.gap_days, monitor.expected_days_between_false_alarms)
    breaches = []
    for finding in daily_slices.examine(schema.bins, days, window, left_out=faulty):
        if finding.fault is not None:
            evidence = {"fault": finding.fault.name, "day_us": day, **finding.fault.evidence}
            breaches.append(Breach(FAULT, finding.feature, "critical", finding.fault.message, evidence))
        elif finding.drift.alarm:
            message = f"{finding.feature}: {finding.drift.effect:.0f} of 100 rows lie elsewhere than in the {finding.drift.slices} days before"
            breaches.append(Breach("drift", finding.feature, "warning", message, {"day_us": day, **_plain_verdict(finding.drift)}))
    return breaches


def faulty_days(alerts: Collection[Alert]) -> dict[str, frozenset[Micros]]:
    """Days of each feature in which the fault of an alert was seen: they must not become the reference of what is normal."""
    found: dict[str, set[Micros]] = {}
    for alert in alerts:
        first = int(alert.evidence["day_us"]) - (daily_slices.FAULT_DAYS - 1) * DAY_US
        last = daily_slices.day_of(alert.last_seen_us)
        found.setdefault(alert.subject, set()).update(range(first, last, DAY_US))
    return {feature: frozenset(days) for feature, days in found.items()}


def of_performance(monitor: Monitor, past: Sequence[MonitorSlice], again: Sequence[MonitorSlice]) -> list[Breach]:
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


def _plain_verdict(verdict: Any) -> dict[str, Any]:
    return {name: value for name, value in plain(verdict).items() if not (isinstance(value, float) and not np.isfinite(value))}
