"""Distances between two histograms on the same bins, and the skew and drift comparators of a schema that limit them.

A distance accepts counts or shares and is 0 when the shares agree. `compare` applies TFDV's rule, one distance and one limit, to
the schema's bins without the nulls, where TFDV takes all values of a text and ten equal-width buckets of a number; `drift` learns
from many days what is usual instead.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput
from rota.records.schema import Anomaly, Comparator, DatasetConstraints, Statistics
from rota.stats.bins import Counts


def psi(reference: ArrayLike, current: ArrayLike, *, floor: float = 1e-4) -> float:
    """Population stability index: sum (q - p) ln(q / p) (Siddiqi, 2006, p. 136); shares below `floor` count as `floor`."""
    p, q = (np.maximum(shares(counts), floor) for counts in (reference, current))
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen-Shannon distance in 0..1: the root of the divergence in bits (Lin, 1991; Endres and Schindelin, 2003)."""
    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    return math.sqrt(max((_entropy_to(p, middle) + _entropy_to(q, middle)) / 2, 0.0))


def l_infinity(reference: ArrayLike, current: ArrayLike) -> float:
    """The largest difference of a bin's share, in 0..1."""
    return float(np.max(np.abs(shares(reference) - shares(current))))


def ks(reference: ArrayLike, current: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance over ordered bins: the largest difference of the cumulated shares, in 0..1.

    A lower bound of the distance on raw values; the null bin comes first, so a flood of nulls counts fully.
    """
    return float(np.max(np.abs(np.cumsum(shares(reference) - shares(current)))))


def shares(counts: ArrayLike) -> NDArray[np.float64]:
    """Counts divided by their sum; raises `InvalidInput` for a histogram without rows."""
    numbers = np.asarray(counts, dtype=np.float64)
    total = numbers.sum()
    if not total > 0:
        raise InvalidInput("a histogram without rows has no shares; leave empty slices out")
    return np.asarray(numbers / total)


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


def _entropy_to(p: NDArray[np.float64], middle: NDArray[np.float64]) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / middle[some])))
