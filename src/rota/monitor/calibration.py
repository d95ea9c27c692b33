"""Calibrate a monitor before it is enabled: false alarms on a team's own days in shuffled order, and the smallest change that each feature shows.

Judged is drift, by the rules and with the budget of the monitor. Known faults and structure have fixed rules; performance needs labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import daily_slices, schemas, slice_checks
from rota.manage.datasets.daily_slices import Days
from rota.manage.repositories import Repositories
from rota.monitor.slice_history import SliceHistory
from rota.records.calibration import ChangeFound, FeatureCalibration, MonitorCalibration, RaisedAlarm
from rota.records.check import CheckState
from rota.records.schema import Bins, Type
from rota.records.signal import Monitor, MonitorSlice
from rota.records.time import DAY_US
from rota.stats import drift, shift_power, sketches
from rota.stats.bins import choose_bins
from rota.stats.calendar_features import follows_calendar
from rota.stats.shift_power import DriftRules
from rota.stats.summarize import type_of

SHUFFLES = 5
LEAST_DAYS = 14
MOST_DAYS = 400
"""Newest days that are looked at."""
_SCOPE = "drift alone: known faults and structure have fixed rules, and performance needs labels"


@dataclass(frozen=True, slots=True)
class CalibrationDays:
    """Days to calibrate on, the bins they were counted in, and where they came from."""

    name: str
    bins: tuple[Bins, ...]
    days: Days
    notes: tuple[str, ...] = ()


def of_table(name: str, table: pl.DataFrame, timestamp: str) -> CalibrationDays:
    """Days of a table with a column of moments; the bins are chosen on all of it."""
    if timestamp not in table.columns:
        raise InvalidInput(f"{name} has no column {timestamp!r} to be the timestamp; it has {table.columns[:50]}", column=timestamp)
    table = sketches.replaced(table.with_columns(pl.selectors.date().cast(pl.Datetime("us"))))
    if not isinstance(table.schema[timestamp], pl.Datetime):
        raise InvalidInput(f"column {timestamp!r} of {name} holds {table.schema[timestamp]}; give times", column=timestamp)
    table = table.drop_nulls(timestamp).with_columns(pl.col(timestamp).dt.epoch("us"))
    types: dict[str, Type] = {
        column: kind
        for column, dtype in table.schema.items()
        if column != timestamp and (kind := type_of(dtype)) in ("float", "int", "bool", "string")
    }
    left = [column for column in table.columns if column not in types and column != timestamp]
    notes = (f"left out, as they are no numbers, conditions or texts: {', '.join(left)}",) if left else ()
    bins = tuple(choose_bins(column, kind, table[column]) for column, kind in types.items())
    return CalibrationDays(name, bins, daily_slices.cut(table, timestamp, bins, newest=0), notes)


def of_endpoint(repositories: Repositories, endpoint: str) -> tuple[CalibrationDays, Monitor]:
    """Days of the training data and the served days of an endpoint, on the bins of its model's schema."""
    metadata = repositories.metadata
    monitor = metadata.get(Monitor, endpoint)
    if monitor is None:
        raise NotFound(f"endpoint {endpoint!r} has no monitor; add a rota.Monitor, or calibrate on a file with --timestamp", endpoint=endpoint)
    schema = schemas.serving(metadata, monitor.endpoint.model)
    if schema is None:
        raise NotFound(f"model {monitor.endpoint.model!r} has no schema yet; train it, or calibrate on a file", model=monitor.endpoint.model)
    served = metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=MOST_DAYS).items[::-1]
    history = SliceHistory(repositories)
    first = served[0].start_us if served else 1 << 62
    before = [each for each in history.trained(endpoint, schema) if each.start_us < first]
    slices = [*before, *served][-MOST_DAYS:]
    if not slices:
        raise InvalidInput(
            f"endpoint {endpoint!r} has no days yet: its baseline has no timestamps and no day was served; give a file with --timestamp"
        )
    return CalibrationDays(endpoint, schema.bins, history.days(endpoint, schema, slices)), monitor


def calibrate(source: CalibrationDays, monitor: Monitor) -> MonitorCalibration:
    """Calibrate on the newest days of a source by the budget and the windows of a monitor. Raises `InvalidInput` for fewer than 14 days."""
    total = len(source.days.starts_us)
    if total < LEAST_DAYS:
        raise InvalidInput(f"{source.name} has {total} days with rows; a calibration needs {LEAST_DAYS} to know how much days differ", days=total)
    counts = {name: np.asarray(each)[-MOST_DAYS:] for name, each in source.days.counts.items()}
    starts = source.days.starts_us[-MOST_DAYS:]
    rules = DriftRules(len(source.bins), monitor.expected_days_between_false_alarms, monitor.reference_days, monitor.gap_days)
    first = drift.LEAST_REFERENCE + rules.gap
    watched = [b for b in source.bins if b.name in counts]
    features = [_feature(b, counts[b.name], rules, monitor, first=first) for b in watched]
    return MonitorCalibration(
        source.name,
        len(starts),
        monitor.expected_days_between_false_alarms,
        sum(each.false_alarms for each in features),
        max((each.judged_days for each in features), default=0),
        tuple(_raised(watched, features, counts, starts, rules, first=first)),
        tuple(features),
        (_SCOPE, *source.notes, *_short(len(starts), first, rules)),
    )


def _feature(bins: Bins, counts: np.ndarray, rules: DriftRules, monitor: Monitor, *, first: int) -> FeatureCalibration:
    rows, ordered = int(np.median(counts.sum(axis=1))), bins.type != "string"
    found = counts[:, 1:-1].sum(axis=0)
    share = None if ordered or not found.sum() else float(found.max() / counts.sum())
    state, missing = _state(bins, counts, rules, monitor)
    if state == "off":
        return FeatureCalibration(bins.name, bins.type, rows, state, missing, share)
    smallest = shift_power.smallest_changes(counts, rules, ordered=ordered)
    random = np.random.default_rng(0)
    walks = [shift_power.begun(counts[random.permutation(len(counts))], rules, ordered=ordered, first=first) for _ in range(SHUFFLES)]
    changes = tuple(ChangeFound(each.change, each.within_2_days, each.within_28_days) for each in smallest)
    begun, judged = sum(walk[0] for walk in walks), sum(walk[1] for walk in walks)
    return FeatureCalibration(bins.name, bins.type, rows, state, missing, share, begun, judged, changes)


def _state(bins: Bins, counts: np.ndarray, rules: DriftRules, monitor: Monitor) -> tuple[CheckState, str]:
    """Whether the feature could be judged by its days on the first day after these."""
    if {"drift", f"drift:{bins.name}"} & set(monitor.off):
        return "off", "the monitor's definition switches it off"
    if not monitor.watch_calendar and follows_calendar(counts):
        return "off", "it follows the calendar"
    verdict = drift.drift(
        counts[: -rules.gap or None][-rules.reference :],
        counts[-max(1, rules.gap) :],
        ordered=bins.type != "string",
        features=rules.features,
        days_between_false_alarms=rules.days_between_false_alarms,
    )
    return slice_checks.lacking(verdict) if verdict.state == "learning" else ("watching", "")


def _raised(
    bins: Sequence[Bins],
    features: Sequence[FeatureCalibration],
    counts: Mapping[str, np.ndarray],
    starts: Sequence[int],
    rules: DriftRules,
    *,
    first: int,
) -> list[RaisedAlarm]:
    """Alarms that would have begun, as the days were."""
    found = []
    for b, feature in zip(bins, features, strict=True):
        before = feature.state == "off"
        for end in range(first, len(starts) if feature.state != "off" else 0):
            now = bool(shift_power.alarms(counts[b.name][: end + 1], rules, ordered=b.type != "string"))
            if now and not before:
                days = f"the {min(rules.reference, end + 1 - rules.gap)} days before"
                found.append(RaisedAlarm(starts[end] + DAY_US, b.name, slice_checks.DRIFT, f"{b.name} would have drifted from {days}"))
            before = now
    return sorted(found, key=lambda each: (each.day_us, each.feature))


def _short(days: int, first: int, rules: DriftRules) -> list[str]:
    notes = []
    if days <= first:
        notes.append(f"{days} days are too few to count false alarms: {first + 1} are needed, so many as a reference takes")
    if days < (wanted := rules.reference + rules.gap + shift_power.LATE):
        notes.append(f"{days} days of {wanted}: days were drawn several times, and what they did not show is missing in the smallest changes too")
    return notes
