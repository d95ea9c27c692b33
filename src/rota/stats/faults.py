"""Known data faults: does a broken feed explain a change, rather than the world?

A fault is named only when its inverse heals the newest slices completely: unconverted they lie further from the slices just
before them than any reference slice ever did from its own past (by a factor of two), converted back they lie no further
than reference slices did, and so in every newest slice. Our own rule, conservative on purpose: a named fault blocks
retraining. A cold front moves the temperature far too, but no unit conversion puts it back to where it was yesterday.

Slices are arrays of values, oldest first, NaN = null; a few hundred rows of each, or its quantiles, do as well as all.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.records.schema import Bins

Floats = NDArray[np.float64]

LEAST_REFERENCE = 28  # slices; with 14 of them one dry day of 2013 passed for a change of units, with 28 or more none did
LEAST_NEWEST = 2  # slices; one foggy day of 2013 passed for another unit, no two in a row did
LEAST_VALUES = 20  # in a slice
BASE = 3  # newest reference slices that stand for "just before"
FAR = 2.0
DECILES = np.arange(1, 10) / 10
STUCK_MORE, NULLS_MORE, SHARE_MORE = 0.3, 0.05, 0.01


@dataclass(frozen=True, slots=True)
class Fault:
    """A named data fault: kind is "unit", "scale", "sign", "stuck", "nulls", "renamed" or "new_value"."""

    kind: str
    name: str
    message: str
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A fault that changes every value; `undo` turns what arrives into what was expected.

    A `factor` is judged on the logarithm, where it is a shift and where skewed features behave; its slices must be positive.
    """

    kind: str
    name: str
    undo: Callable[[Floats], Floats]
    factor: bool


def _factor(kind: str, name: str, arriving_per_expected: float) -> Conversion:
    return Conversion(kind, name, lambda values: values / arriving_per_expected, factor=True)


# "A read as B": the column means A, but B arrives. 70 F in Celsius is 70 feet in metres, so others that heal are told too.
CONVERSIONS: tuple[Conversion, ...] = (
    Conversion("unit", "Fahrenheit read as Celsius", lambda values: values * 1.8 + 32, factor=False),
    Conversion("unit", "Celsius read as Fahrenheit", lambda values: (values - 32) / 1.8, factor=False),
    Conversion("unit", "Celsius read as Kelvin", lambda values: values - 273.15, factor=False),
    Conversion("unit", "Kelvin read as Celsius", lambda values: values + 273.15, factor=False),
    Conversion("sign", "sign flipped", lambda values: -values, factor=False),
    _factor("unit", "miles read as kilometres", 1.609344),
    _factor("unit", "kilometres read as miles", 1 / 1.609344),
    _factor("unit", "feet read as metres", 0.3048),
    _factor("unit", "metres read as feet", 1 / 0.3048),
    _factor("unit", "miles per hour read as metres per second", 0.44704),
    _factor("unit", "metres per second read as miles per hour", 1 / 0.44704),
    _factor("unit", "miles per hour read as knots", 0.868976),
    _factor("unit", "knots read as miles per hour", 1 / 0.868976),
    _factor("unit", "inches of mercury read as hectopascals", 33.8639),
    _factor("unit", "hectopascals read as inches of mercury", 1 / 33.8639),
    *(_factor("scale", f"values multiplied by {factor}", factor) for factor in (10, 100, 1_000)),
    *(_factor("scale", f"values divided by {factor}", 1 / factor) for factor in (10, 100, 1_000)),
)


def known_fault(name: str, reference: Sequence[ArrayLike], current: Sequence[ArrayLike]) -> Fault | None:
    """The data fault that explains every slice of `current` of a numeric feature, or None.

    `reference` are the slices before it, at least 28, the last of them just before `current`: no gap, as "just before" is
    what a fault is told from the weather by. Give the two newest slices as `current`, never fewer: a fault is named on its second day.
    """
    past, now = [_floats(values) for values in reference], [_floats(values) for values in current]
    now = [values for values in now if len(values) >= LEAST_VALUES]
    past = [values for values in past if len(values) >= LEAST_VALUES]
    if len(now) < LEAST_NEWEST or len(past) < LEAST_REFERENCE:
        return None
    return _null_flood(name, past, now) or _stuck(name, past, now) or _converted(name, past, now)


def known_text_fault(bins: Bins, reference: ArrayLike, current: ArrayLike) -> Fault | None:
    """The same for a text feature by its bin counts, (R, B) before and (k, B) newest slices: a renamed or a new value, or nulls.

    A value is renamed when it vanished and unseen values took over its share; new when unseen values hold at least one
    percentage point more than ever before. Both in every newest slice.
    """
    past, now = _rows(reference), _rows(current)
    if len(now) < LEAST_NEWEST or len(past) < LEAST_REFERENCE:
        return None
    unseen, unseen_before = float(now[:, -1].min()), float(past[:, -1].max())
    nulls, nulls_before = float(now[:, 0].min()), float(past[:, 0].max())
    if nulls > 2 * nulls_before + NULLS_MORE:
        return _nulls(bins.name, nulls_before, nulls)
    if unseen <= unseen_before + SHARE_MORE:
        return None
    renamed = _vanished(bins, past, now)
    evidence = {"unseen_share": unseen, "unseen_share_before": unseen_before}
    if renamed:
        message = f"{bins.name}: value {renamed!r} arrives under a name never seen in training ({unseen:.1%} of rows)"
        return Fault("renamed", f"{renamed!r} renamed", message, evidence)
    message = f"{bins.name}: {unseen:.1%} of rows hold values never seen in training, at most {unseen_before:.1%} before"
    return Fault("new_value", "new value", message, evidence)


def _converted(name: str, past: list[Floats], now: list[Floats]) -> Fault | None:
    """Ask first which conversion heals best, then whether what arrived was far enough outside to need healing."""
    before, arrived = _deciles(past), _deciles(now)
    if np.isnan(before).any() or np.isnan(arrived).any() or not _is_far(before, arrived):
        return None
    trials = [trial for conversion in CONVERSIONS if (trial := _try(conversion, before, arrived)) is not None]
    healing = sorted((trial for trial in trials if trial.heals), key=lambda trial: trial.off)
    if not healing or healing[0].arrived <= FAR * healing[0].usual:
        return None
    best = healing[0]
    middle, healed = float(arrived[-1, 4]), float(best.conversion.undo(arrived)[-1, 4])
    usual = float(before[-BASE:, 4].mean())
    message = (
        f"{name}: {best.conversion.name}: the newest median is {middle:.4g} after {usual:.4g}; converted back it is {healed:.4g}, "
        f"within the usual distance of the slices before"
    ) + "".join(f"; or {other.conversion.name}" for other in healing[1:])
    evidence = {"median": middle, "median_before": usual, "median_converted": healed, "distance": best.arrived}
    evidence |= {"distance_converted": best.converted, "distance_usual": best.usual}
    return Fault(best.conversion.kind, best.conversion.name, message, evidence)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One conversion tried: distances to the slices just before, of what arrived (least) and of it converted back (largest).

    `usual` is the largest such distance of a reference slice. These are in the conversion's own scale; `off` is the
    converted distance in the feature's unit, by which trials compare.
    """

    conversion: Conversion
    arrived: float
    converted: float
    usual: float
    natural_width: bool
    off: float

    @property
    def heals(self) -> bool:
        return self.converted <= self.usual and self.natural_width


def _is_far(before: Floats, arrived: Floats) -> bool:
    """Whether what arrived is outside in either scale; mostly it is not, and no conversion needs to be tried."""
    views = [(before, arrived)]
    if min(before.min(), arrived.min()) > 0:
        views.append((np.log(before), np.log(arrived)))
    for past, now in views:
        outside = float(np.abs(now - past[-BASE:].mean(axis=0)).mean(axis=1).min())
        if outside > FAR * _largest_own_distance(past, lags=len(now)):
            return True
    return False


def _try(conversion: Conversion, before: Floats, arrived: Floats) -> _Trial | None:
    """Compare deciles: of the newest slices to those just before, and of each reference slice to those as long before it."""
    back = np.sort(conversion.undo(arrived), axis=1)
    off = float(np.abs(back - before[-BASE:].mean(axis=0)).mean())
    if conversion.factor:
        if min(before.min(), arrived.min()) <= 0:
            return None
        before, arrived, back = np.log(before), np.log(arrived), np.log(back)
    base, width, width_back = before[-BASE:].mean(axis=0), before[:, -1] - before[:, 0], back[:, -1] - back[:, 0]
    outside, inside = (np.abs(deciles - base).mean(axis=1) for deciles in (arrived, back))
    rounding = 1e-9 * float(1 + np.abs(base).max())  # so that a constant feature can be healed too
    natural = bool(width_back.min() >= width.min() / 1.1 - rounding and width_back.max() <= width.max() * 1.1 + rounding)
    usual = max(_largest_own_distance(before, lags=len(arrived)), rounding)
    return _Trial(conversion, float(outside.min()), float(inside.max()), usual, natural, off)


def _largest_own_distance(before: Floats, *, lags: int) -> float:
    """How far a reference slice lay at most from the mean of the BASE slices that ended 1 .. `lags` slices before it."""
    bases = np.lib.stride_tricks.sliding_window_view(before, BASE, axis=0).mean(axis=-1)
    return max(float(np.abs(before[BASE - 1 + lag :] - bases[:-lag]).mean(axis=1).max()) for lag in range(1, lags + 1))


def _null_flood(name: str, past: list[Floats], now: list[Floats]) -> Fault | None:
    before, share = max(_null_share(values) for values in past), min(_null_share(values) for values in now)
    return _nulls(name, before, share) if share > 2 * before + NULLS_MORE else None


def _nulls(name: str, before: float, share: float) -> Fault:
    message = f"{name}: {share:.1%} of the values are missing, at most {before:.1%} before"
    return Fault("nulls", "null flood", message, {"null_share": share, "null_share_before": before})


def _stuck(name: str, past: list[Floats], now: list[Floats]) -> Fault | None:
    """One value takes 30 points more of each newest slice than any value ever took of a reference slice, and always the same value."""
    before = max(_mode(values)[1] for values in past)
    modes = [_mode(values) for values in now]
    share = min(mode[1] for mode in modes)
    if share < before + STUCK_MORE or len({mode[0] for mode in modes}) > 1:
        return None
    message = f"{name}: the value {modes[-1][0]:.6g} makes up {share:.0%} of the rows, no value more than {before:.0%} before: the feed is stuck"
    return Fault("stuck", "stuck value", message, {"value": modes[-1][0], "share": share, "share_before": before})


def _vanished(bins: Bins, past: Floats, now: Floats) -> str:
    """The value that held a steady share and has none now, while unseen values hold about that share; "" if there is none."""
    values = slice(1, len(bins.values) + 1)
    gone = (past[:, values].min(axis=0) > 0) & (now[:, values].max(axis=0) == 0)
    usual, gained = past[:, values].mean(axis=0), now[:, -1].mean() - past[:, -1].mean()
    fits = gone & (np.abs(usual - gained) <= 0.25 * usual)
    return bins.values[int(np.flatnonzero(fits)[0])] if fits.sum() == 1 else ""


def _deciles(slices: list[Floats]) -> Floats:
    """Nine deciles of each slice's finite values, shape (slices, 9); NaN for a slice without any."""
    finite = (np.sort(values[np.isfinite(values)]) for values in slices)
    empty = np.full(len(DECILES), math.nan)
    # By hand, as numpy's quantile costs five times as much on slices of this size; the same linear interpolation.
    return np.stack([np.interp(DECILES * (len(values) - 1), np.arange(len(values)), values) if len(values) else empty for values in finite])


def _null_share(values: Floats) -> float:
    return float(np.isnan(values).mean())


def _mode(values: Floats) -> tuple[float, float]:
    known, sizes = np.unique(values[~np.isnan(values)], return_counts=True)
    return (float(known[sizes.argmax()]), float(sizes.max() / len(values))) if len(known) else (math.nan, 0.0)


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _rows(counts: ArrayLike) -> Floats:
    """Shares of each slice that has enough rows."""
    table = np.asarray(counts, dtype=np.float64)
    table = table[table.sum(axis=1) >= LEAST_VALUES]
    return np.asarray(table / table.sum(axis=1, keepdims=True))
