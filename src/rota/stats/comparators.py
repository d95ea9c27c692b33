"""Skew and drift comparators: is a column distributed as it was in given statistics, by a threshold that its schema declares?

Unlike `drift`, which learns from many days what is usual, this is TFDV's rule: one distance, one limit, two histograms.
Both are over the schema's bins without the nulls, where TFDV takes all values of a text and ten equal-width buckets of a number.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rota.records.schema import Anomaly, Comparator, DatasetConstraints, Statistics
from rota.stats.bins import Counts
from rota.stats.distances import jensen_shannon, l_infinity


def divergence(reference: Counts, current: Counts) -> float:
    """Jensen-Shannon divergence in bits, 0..1: the square of the distance (Lin, 1991, eq. 4.1)."""
    return jensen_shannon(reference, current) ** 2


_MEASURES: Sequence[tuple[str, str, str, Callable[[Counts, Counts], float]]] = (
    ("infinity_norm", "COMPARATOR_L_INFTY_HIGH", "the largest change of a value's share", l_infinity),
    ("jensen_shannon_divergence", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH", "the Jensen-Shannon divergence", divergence),
)


def compare(name: str, limits: Comparator, current: Counts | None, control: Statistics, against: str) -> Iterator[Anomaly]:
    """Anomalies of one column's counts against those in `control`, named `against` in messages; of default severity."""
    counted = next((np.asarray(column.counts, dtype=np.int64) for column in control.columns if column.name == name), None)
    if counted is None or current is None or len(counted) != len(current) or not counted[1:].sum():
        reason = "has no values there" if counted is None or not counted.size else "was not counted on the same bins, or is all null there"
        message = f"column {name!r} cannot be compared with {against}: it {reason}"
        yield Anomaly(name, "COMPARATOR_CONTROL_DATA_MISSING", message, "warn")
        return
    if not current[1:].sum():
        return  # all null: presence tells
    for field, kind, words, measure in _MEASURES:
        threshold = getattr(limits, field)
        observed = 0.0 if threshold is None else measure(counted[1:], current[1:])
        if threshold is not None and observed > threshold:
            message = f"column {name!r}: {words} against {against} is {observed:.3g}, at most {threshold:g} is expected"
            yield Anomaly(name, kind, message, "warn", observed, threshold, {"against": against})


def compare_rows(limits: DatasetConstraints, rows: int, previous: Statistics) -> Iterator[Anomaly]:
    """Anomalies of the number of rows against that of the data before."""
    if not rows or not previous.rows:
        return
    fraction = rows / previous.rows
    words = f"the data have {rows} rows, {fraction:.3g} times the {previous.rows} before"
    if limits.min_fraction is not None and fraction < limits.min_fraction:
        message = f"{words}; at least {limits.min_fraction:g} times as many are expected"
        yield Anomaly("", "COMPARATOR_LOW_NUM_EXAMPLES", message, "warn", fraction, limits.min_fraction)
    if limits.max_fraction is not None and fraction > limits.max_fraction:
        message = f"{words}; at most {limits.max_fraction:g} times as many are expected"
        yield Anomaly("", "COMPARATOR_HIGH_NUM_EXAMPLES", message, "warn", fraction, limits.max_fraction)
