"""Slices: a day's values of every feature as counts on frozen bins, and what the newest days show against those before.

Gate 1 cuts the slices out of a dataset, monitoring out of the prediction log; both ask the same question here, so that a
feed which alarms the monitor also stops the training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.records.data import Bins
from rota.records.time import DAY_US, Micros
from rota.stats.bins import count
from rota.stats.drift import DriftVerdict, drift
from rota.stats.faults import Fault, known_fault, known_text_fault

FAULT_DAYS = 2
FAULT_REFERENCE_DAYS = 30
SAMPLE = 500

Counts = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Days:
    """Counts of each feature in each day, and a sample of each number's values in the newest days; days ascend."""

    starts_us: tuple[Micros, ...]
    counts: Mapping[str, np.ndarray]
    values: Mapping[str, tuple[np.ndarray, ...]]

    def without(self, days: Mapping[str, frozenset[Micros]], feature: str) -> list[int]:
        """Positions of the days that may serve as a feature's reference."""
        left_out = days.get(feature, frozenset())
        return [position for position, start in enumerate(self.starts_us) if start not in left_out]


@dataclass(frozen=True, slots=True)
class Window:
    """How the newest days are compared: against `reference` days that end `gap` days before now."""

    reference: int = 90
    gap: int = 7
    days_between_false_alarms: float = 90.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one feature's newest days show."""

    feature: str
    drift: DriftVerdict
    fault: Fault | None


def day_of(at_us: Micros) -> Micros:
    """The start of the UTC day of a moment."""
    return at_us - at_us % DAY_US


def cut(rows: pl.DataFrame, at: str, bins: Sequence[Bins], *, newest: int = FAULT_DAYS + FAULT_REFERENCE_DAYS) -> Days:
    """Cut rows into days: counts of every day, values of the `newest` days (at most SAMPLE a day, evenly spread)."""
    with_day = rows.with_columns((pl.col(at) - pl.col(at) % DAY_US).alias("_day")).sort(at, maintain_order=True)
    parts = {int(key[0]): part for key, part in with_day.partition_by("_day", as_dict=True, maintain_order=True).items()}
    starts = tuple(sorted(parts))
    present = [b for b in bins if b.name in rows.columns]
    counts = {b.name: np.stack([count(b, parts[start][b.name]) for start in starts]) for b in present} if starts else {}
    values = {b.name: tuple(sample(parts[start][b.name]) for start in starts[-newest:]) for b in present if b.type != "string"}
    return Days(starts, counts, values)


def sample(values: pl.Series) -> np.ndarray:
    """At most SAMPLE values of a number, evenly spread over the rows, NaN = null."""
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    step = max(1, len(numbers) // SAMPLE)
    return np.asarray(numbers[::step][:SAMPLE])


def examine(bins: Sequence[Bins], days: Days, window: Window, *, left_out: Mapping[str, frozenset[Micros]] | None = None) -> list[Finding]:
    """One finding for each feature: drift against the trailing reference, and a known fault in the newest two days.

    `left_out` names days of a feature that must not serve as reference, because a fault was seen in them.
    """
    return [_finding(b, days, window, left_out or {}, features=len(bins)) for b in bins if b.name in days.counts]


def _finding(bins: Bins, days: Days, window: Window, left_out: Mapping[str, frozenset[Micros]], *, features: int) -> Finding:
    counts = days.counts[bins.name]
    usable = days.without(left_out, bins.name)
    newest = range(max(0, len(days.starts_us) - window.gap), len(days.starts_us))
    reference = [position for position in usable if position < newest.start][-window.reference :]
    verdict = drift(
        counts[reference],
        counts[list(newest)],
        ordered=bins.type != "string",
        features=features,
        days_between_false_alarms=window.days_between_false_alarms,
    )
    return Finding(bins.name, verdict, _fault(bins, days, usable))


def _fault(bins: Bins, days: Days, usable: Sequence[int]) -> Fault | None:
    total = len(days.starts_us)
    before = [position for position in usable if position < total - FAULT_DAYS][-FAULT_REFERENCE_DAYS:]
    if bins.type == "string":
        counts = days.counts[bins.name]
        return known_text_fault(bins, counts[before], counts[-FAULT_DAYS:])
    values = days.values[bins.name]
    first = total - len(values)
    return known_fault(bins.name, [values[position - first] for position in before if position >= first], list(values[-FAULT_DAYS:]))
