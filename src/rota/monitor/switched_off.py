"""Checks that are off: those that a monitor's definition switches off, and drift of features that follow the calendar."""

from collections.abc import Mapping, Sequence

from rota.manage.datasets import slice_checks
from rota.manage.datasets.daily_slices import Days
from rota.monitor.breaches import Checked
from rota.records.check import CheckResult
from rota.records.schema import Schema
from rota.records.signal import Monitor
from rota.stats.calendar_features import follows_calendar

OFF = "off"
BY_DEFINITION = "the monitor's definition switches it off"
CALENDAR = "all rows of a day have the same value, as calendar features have; watch_calendar=True of the monitor watches it"

Reasons = Mapping[tuple[str, str], str]
"""Why a check is off, by (check, feature); the feature is "" where the whole kind is."""


def of_definition(monitor: Monitor) -> Reasons:
    """What `Monitor.off` names."""
    parted = (name.partition(":") for name in monitor.off)
    return {(kind, feature): BY_DEFINITION for kind, _, feature in parted}


def of_calendar(monitor: Monitor, schema: Schema, days: Days) -> Reasons:
    """Drift of the features that follow the calendar, by all days that it looks at but the newest."""
    if monitor.watch_calendar:
        return {}
    start = max(0, len(days.starts_us) - monitor.gap_days - monitor.reference_days)
    names = [b.name for b in schema.bins if b.name in days.counts and follows_calendar(days.counts[b.name][start:-1])]
    return {(slice_checks.DRIFT, name): CALENDAR for name in names}


def apply(found: Checked, reasons: Reasons) -> Checked:
    """The same without the breaches of checks that are off; their results say why."""
    if not reasons:
        return found
    results = tuple(_off(result, why) if (why := _reason(reasons, result.check, result.subject)) else result for result in found.results)
    return Checked(results, tuple(breach for breach in found.breaches if not _reason(reasons, breach.kind, breach.subject)))


def unknown(monitor: Monitor, schema: Schema, results: Sequence[CheckResult] = ()) -> Sequence[CheckResult]:
    """What the definition switches off though no feature has that name and no check that subject: a typing error would leave a check on."""
    known = {column.name for column in schema.columns} | {result.subject for result in results}
    named = [(name, feature) for name, _, feature in ((each, *each.partition(":")[1:]) for each in monitor.off) if feature]
    return [
        CheckResult(OFF, "inconclusive", f"off names {name!r}: {missing}", feature, missing, "cannot")
        for name, feature in named
        if feature not in known and (missing := f"the model has no feature {feature!r}")
    ]


def _reason(reasons: Reasons, check: str, subject: str) -> str:
    return reasons.get((check, "")) or reasons.get((check, subject), "")


def _off(result: CheckResult, why: str) -> CheckResult:
    return CheckResult(result.check, "inconclusive", f"not judged: {why}", result.subject, why, "off", rows=result.rows)
