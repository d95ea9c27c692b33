"""Daily slices: counts of every feature on frozen bins, and drift and known faults in the newest days.

Gate 1 cuts the slices out of a dataset, monitoring out of the prediction log; both ask the same question here, so that a
feed which alarms the monitor also stops the training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.records.schema import Bins
from rota.records.time import DAY_US, Micros
from rota.stats.bins import as_numbers, place
from rota.stats.drift import DriftVerdict, drift
from rota.stats.faults import Fault, known_fault, known_text_fault

FAULT_DAYS = 2
FAULT_REFERENCE_DAYS = 30
VALUE_DAYS = FAULT_DAYS + 2 * FAULT_REFERENCE_DAYS
"""Days whose values are kept: with fewer, the days that a lasting fault leaves out would soon leave too few to judge it by."""
SAMPLE = 500


@dataclass(frozen=True, slots=True)
class Days:
    """Counts (days, bins) of each feature in each day, ascending, and a sample of each number's values in the newest days."""

    starts_us: tuple[Micros, ...]
    counts: Mapping[str, np.ndarray]
    values: Mapping[str, tuple[np.ndarray, ...]]

    def usable(self, left_out: frozenset[Micros]) -> list[int]:
        """Positions of the days that may serve as reference."""
        return [position for position, start in enumerate(self.starts_us) if start not in left_out]


@dataclass(frozen=True, slots=True)
class Window:
    """How the newest days are compared: against `reference` days that end `gap` days before now."""

    reference: int = 90
    gap: int = 7
    days_between_false_alarms: float = 90.0


@dataclass(frozen=True, slots=True)
class FeatureFinding:
    """What one feature's newest days show."""

    feature: str
    drift: DriftVerdict
    fault: Fault | None


def day_of(at_us: Micros) -> Micros:
    """The start of the UTC day of a moment."""
    return at_us - at_us % DAY_US


def cut(rows: pl.DataFrame, at: str, bins: Sequence[Bins], *, newest: int = VALUE_DAYS) -> Days:
    """Cut rows into days: counts of every day, and values of the `newest` days."""
    rows = rows.sort(at, maintain_order=True)
    days = rows[at].to_numpy() // DAY_US
    starts = np.unique(days)
    present = [b for b in bins if b.name in rows.columns]
    counts = {b.name: _counted(b, rows[b.name], np.searchsorted(starts, days), len(starts)) for b in present}
    values = sampled(rows, days, present, starts[-newest:] if newest else starts[:0])
    return Days(tuple(int(start) * DAY_US for start in starts), counts, values)


def sampled(rows: pl.DataFrame, days: np.ndarray, bins: Sequence[Bins], wanted: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
    """For each number at most SAMPLE values of each wanted day, evenly spread over its rows, NaN = null; `days` ascend."""
    edges = [(int(np.searchsorted(days, day)), int(np.searchsorted(days, day, side="right"))) for day in wanted]
    picked = [slice(start, end, max(1, (end - start) // SAMPLE)) for start, end in edges]
    numbers = {b.name: as_numbers(b.name, rows[b.name]) for b in bins if b.type != "string" and b.name in rows.columns}
    return {name: tuple(column[part][:SAMPLE] for part in picked) for name, column in numbers.items()}


def _counted(bins: Bins, values: pl.Series, day: np.ndarray, days: int) -> np.ndarray:
    cells = day * bins.size + place(bins, values)
    return np.bincount(cells, minlength=days * bins.size).reshape(days, bins.size)


def examine(bins: Sequence[Bins], days: Days, window: Window, *, left_out: Mapping[str, frozenset[Micros]] | None = None) -> list[FeatureFinding]:
    """One finding for each feature: drift against the trailing reference, and a known fault in the newest two days.

    `left_out` names days of a feature that must not serve as reference, because a fault was seen in them.
    """
    return [_finding(b, days, window, left_out or {}, features=len(bins)) for b in bins if b.name in days.counts]


def spoiled(bins: Sequence[Bins], days: Days) -> dict[str, frozenset[Micros]]:
    """Days of each feature in which a known fault is seen when the days are walked through in their order.

    A fault is named on its second day, by the days just before it; on its third these would be faulty themselves. So the days
    found to be faulty serve as reference no more, as the monitor leaves out the days of its alerts. The walk covers the days
    whose values are kept.
    """
    found = {b.name: frozenset(_spoiled(b, days)) for b in bins if b.name in days.counts}
    return {name: faulty for name, faulty in found.items() if faulty}


def _spoiled(bins: Bins, days: Days) -> set[Micros]:
    faulty: set[Micros] = set()
    for end in range(FAULT_DAYS + 1, len(days.starts_us)):  # the newest days are the business of `examine`
        part = _until(days, bins.name, end)
        if _fault(bins, part, part.usable(frozenset(faulty))) is not None:
            faulty.update(part.starts_us[-FAULT_DAYS:])
    return faulty


def _until(days: Days, name: str, end: int) -> Days:
    """The first `end` days of one feature; of a number as many values as fall into them."""
    values = days.values.get(name, ())
    kept = values[: max(0, len(values) - (len(days.starts_us) - end))]
    return Days(days.starts_us[:end], {name: days.counts[name][:end]}, {name: kept} if kept else {})


def _finding(bins: Bins, days: Days, window: Window, left_out: Mapping[str, frozenset[Micros]], *, features: int) -> FeatureFinding:
    counts = days.counts[bins.name]
    usable = days.usable(left_out.get(bins.name, frozenset()))
    newest = range(max(0, len(days.starts_us) - window.gap), len(days.starts_us))
    reference = [position for position in usable if position < newest.start][-window.reference :]
    verdict = drift(
        counts[reference],
        counts[list(newest)],
        ordered=bins.type != "string",
        features=features,
        days_between_false_alarms=window.days_between_false_alarms,
    )
    return FeatureFinding(bins.name, verdict, _fault(bins, days, usable))


def _fault(bins: Bins, days: Days, usable: Sequence[int]) -> Fault | None:
    total = len(days.starts_us)
    before = [position for position in usable if position < total - FAULT_DAYS][-FAULT_REFERENCE_DAYS:]
    if bins.type == "string":
        counts = days.counts[bins.name]
        return known_text_fault(bins, counts[before], counts[-FAULT_DAYS:])
    values = days.values.get(bins.name, ())
    if len(values) < FAULT_DAYS:
        return None
    first = total - len(values)
    return known_fault(bins.name, [values[position - first] for position in before if position >= first], list(values[-FAULT_DAYS:]))
