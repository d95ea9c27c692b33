"""One column of two tables: profiles side by side, distances, and whether it drifted, for rows that are independent of each other.

A column drifted when the change is large and no chance: `effect` of 100 rows lie elsewhere (Kolmogorov-Smirnov of numbers, the largest change of
a text's share, the change of the share of nulls) and the p value is below the level, divided by all tests of the comparison
(Bonferroni). A column that did not is well only where rows are many enough to have shown a change of MUST_SEE; else it is inconclusive.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.records.check import CheckResult
from rota.records.comparison import SIDES, ColumnComparison, ColumnRole
from rota.records.profile import ColumnProfile, Histogram, Role
from rota.records.schema import Bins, Type
from rota.stats.bins import as_numbers
from rota.stats.column_profile import BARS, IDENTITY_LEAST, IDENTITY_SHARE, REST, TOP, shortened
from rota.stats.distances import jensen_shannon, l_infinity, psi, shares
from rota.stats.slice_statistics import QUANTILES
from rota.stats.table_summary import ColumnSummary
from rota.stats.two_samples import SortedSamples, chi_square, ks_found, ks_p_value, pooled, sort_samples

DRIFT = "drift"
MUST_SEE = 0.3
"""A change of this share of the rows must be within reach for a column without drift to count as well."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a column drifted: a share of `least_effect` of the rows at least, at the level `p_needed` of each test."""

    least_effect: float
    p_needed: float


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was looked for: its size as a share of the rows, p value, the smallest size that shows, and a sentence about it."""

    effect: float
    p_value: float
    found_from: float
    message: str


@dataclass(frozen=True, slots=True)
class TwoColumns:
    """A column of both tables with what was counted in them on the `bins` of the reference."""

    name: str
    type: Type
    role: ColumnRole
    reference: pl.Series
    current: pl.Series
    seen_reference: ColumnSummary
    seen_current: ColumnSummary
    bins: Bins

    @property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bin counts of both without nulls."""
        found = (self.seen_reference.counts, self.seen_current.counts)
        return tuple(np.zeros(self.bins.size - 1, dtype=np.int64) if each is None else each[1:] for each in found)  # type: ignore[return-value]


def compare_column(columns: TwoColumns, rule: Rule) -> ColumnComparison:
    """Compare a column of a type that Rota knows; both tables have at least a row."""
    return (_compare_texts if columns.type == "string" else _compare_numbers)(columns, rule)


def not_compared(columns: TwoColumns, check: CheckResult) -> ColumnComparison:
    """A column with its profiles alone."""
    profiles = [_profile(columns, seen, 0) for seen in (columns.seen_reference, columns.seen_current)]
    return ColumnComparison(columns.name, columns.role, columns.type, profiles[0], profiles[1], check)


def _compare_numbers(columns: TwoColumns, rule: Rule) -> ColumnComparison:
    known = [numbers[~np.isnan(numbers)] for numbers in (as_numbers(columns.name, values) for values in (columns.reference, columns.current))]
    samples = sort_samples(*known) if all(map(len, known)) else None
    ordered = [_finite(values) for values in ((samples.reference, samples.current) if samples else map(np.sort, known))]
    profiles = [_number_profile(columns, seen, values) for seen, values in zip((columns.seen_reference, columns.seen_current), ordered, strict=True)]
    histogram = _number_histogram(*ordered) if all(map(len, ordered)) else None
    if columns.type == "timestamp":
        check = CheckResult(DRIFT, "inconclusive", "not compared: moments move on by their nature", columns.name, "moments move on", "off")
        return ColumnComparison(columns.name, columns.role, columns.type, profiles[0], profiles[1], check, histogram=histogram)
    distances, changes = _binned(columns), [_of_nulls(columns, rule)]
    if samples:
        distances |= {"ks": samples.ks}
        if not any(profile.infinite for profile in profiles):
            std, wasserstein = profiles[0].std, samples.wasserstein
            distances |= {"wasserstein": wasserstein, **({"wasserstein_std": wasserstein / std} if std else {})}
        changes.append(_of_numbers(samples, profiles, rule))
    return _judged(columns, profiles, histogram, distances, changes, rule)


def _compare_texts(columns: TwoColumns, rule: Rule) -> ColumnComparison:
    sides = (columns.seen_reference, columns.seen_current)
    profiles = [_text_profile(columns, seen) for seen in sides]
    if all(each.distinct > max(IDENTITY_SHARE * each.count, IDENTITY_LEAST) for each in profiles):
        check = CheckResult(DRIFT, "inconclusive", "not compared: nearly every value is another one, it names things", columns.name, "names", "off")
        return ColumnComparison(columns.name, columns.role, columns.type, profiles[0], profiles[1], check)
    distances, changes = _binned(columns), [_of_nulls(columns, rule)]
    before, after = columns.counts
    if before.sum() and after.sum():
        tested = chi_square(*pooled(before, after))
        distances |= {"chi_square": tested.statistic, "l_infinity": l_infinity(before, after)}
        changes.append(_of_texts(columns, tested.p_value, rule))
    return _judged(columns, profiles, _text_histogram(*sides), distances, changes, rule)


def _judged(
    columns: TwoColumns, profiles: list[ColumnProfile], histogram: Histogram | None, distances: dict[str, float], changes: list[Change], rule: Rule
) -> ColumnComparison:
    """The verdict by the change that is most surely one; without values in both tables only the share of nulls is one."""
    moved = [each for each in changes if each.effect >= rule.least_effect and each.p_value <= rule.p_needed]
    worst = max(moved or changes[-1:], key=lambda each: each.effect)
    distances |= {"p_value": worst.p_value}
    rows = min(columns.seen_reference.present, columns.seen_current.present)
    missing, needed = "", None
    if not moved and len(changes) == 1:
        missing = "no value in " + " and ".join(
            side for side, seen in zip(SIDES, (columns.seen_reference, columns.seen_current), strict=True) if not seen.present
        )
    elif not moved and worst.found_from > MUST_SEE:
        needed = math.ceil(math.log(2 / rule.p_needed) / MUST_SEE**2)
        missing = f"{rows} values, about {needed} needed in each table: so few show a change of {100 * worst.found_from:.0f} of 100 rows at the least"
    message = f"could not be judged: {missing}" if missing else worst.message
    check = CheckResult(
        DRIFT,
        "inconclusive" if missing else "fail" if moved else "pass",
        message,
        columns.name,
        missing,
        "cannot" if missing else "watching",
        observed=worst.effect,
        bound=rule.least_effect,
        rows=columns.seen_current.rows,
        seen=rows if needed else None,
        needed=needed,
        counted="values" if needed else "",
    )
    return ColumnComparison(columns.name, columns.role, columns.type, profiles[0], profiles[1], check, distances, histogram)


def _binned(columns: TwoColumns) -> dict[str, float]:
    """Distances by bins, and the change of the share of nulls."""
    before, after = columns.counts
    nulls = columns.seen_current.nulls / columns.seen_current.rows - columns.seen_reference.nulls / columns.seen_reference.rows
    found = {"psi": psi(before, after), "jensen_shannon": jensen_shannon(before, after)} if before.sum() and after.sum() else {}
    return found | {"nulls": nulls}


def _of_nulls(columns: TwoColumns, rule: Rule) -> Change:
    before, after = ((seen.nulls, seen.present) for seen in (columns.seen_reference, columns.seen_current))
    p_value = chi_square(np.array(before), np.array(after)).p_value
    share_before, share_now = before[0] / sum(before), after[0] / sum(after)
    message = f"{share_now:.1%} of the values are missing, {share_before:.1%} before (p {p_value:.1g})"
    return Change(abs(share_now - share_before), p_value, _share_found(rule.p_needed, sum(before), sum(after)), message)


def _of_numbers(samples: SortedSamples, profiles: list[ColumnProfile], rule: Rule) -> Change:
    n, m, distance = len(samples.reference), len(samples.current), samples.ks
    p_value = ks_p_value(distance, n, m)
    before, after = (_shown(profile) for profile in profiles)
    message = f"{100 * distance:.0f} of 100 values lie elsewhere (KS {distance:.3f}, p {p_value:.1g}): {after}, {before} before"
    return Change(distance, p_value, ks_found(rule.p_needed, n, m), message)


def _shown(profile: ColumnProfile) -> str:
    if profile.type == "bool" and profile.mean is not None:
        return f"{profile.mean:.1%} true"
    return f"median {profile.quantiles[3]:.4g}" if profile.quantiles else "no finite value"


def _of_texts(columns: TwoColumns, p_value: float, rule: Rule) -> Change:
    before, after = columns.counts
    old, new = shares(before), shares(after)
    worst = int(np.argmax(np.abs(new - old)))
    kept = columns.bins.values
    name = repr(shortened(kept[worst])) if worst < len(kept) else "rare values" if worst == len(kept) else "values that the reference does not have"
    verb = "has" if worst < len(kept) else "have"
    message = f"{name} {verb} {new[worst]:.1%} of the rows, {old[worst]:.1%} before (p {p_value:.1g})"
    return Change(float(abs(new - old).max()), p_value, _share_found(rule.p_needed, int(before.sum()), int(after.sum())), message)


def _share_found(p_needed: float, reference_rows: int, current_rows: int) -> float:
    """The smallest change of a share about one half that shows at a level."""
    return NormalDist().inv_cdf(1 - p_needed / 2) * math.sqrt(0.25 * (1 / reference_rows + 1 / current_rows))


def _number_profile(columns: TwoColumns, seen: ColumnSummary, ordered: Floats) -> ColumnProfile:
    facts: dict[str, object] = {}
    if len(ordered):
        scale = max(1.0, abs(float(ordered[0])), abs(float(ordered[-1])))
        unit = scale if scale > 1e150 else 1.0  # whose squares would overflow
        facts = {
            "mean": float((ordered / unit).mean()) * unit,
            "std": float((ordered / unit).std()) * unit,
            "minimum": float(ordered[0]),
            "maximum": float(ordered[-1]),
            "quantiles": _quantiles(ordered, QUANTILES),
            "zeros": int(np.searchsorted(ordered, 0.0, "right") - np.searchsorted(ordered, 0.0, "left")),
        }
    distinct = int(np.count_nonzero(np.diff(ordered))) + 1 if len(ordered) else 0
    return _profile(columns, seen, distinct, infinite=seen.present - len(ordered), **facts)


def _text_profile(columns: TwoColumns, seen: ColumnSummary) -> ColumnProfile:
    top = tuple((shortened(text), rows) for text, rows in seen.ranked[:TOP])
    return _profile(columns, seen, seen.distinct or len(seen.ranked), top=top)


def _profile(columns: TwoColumns, seen: ColumnSummary, distinct: int, **facts: object) -> ColumnProfile:
    complete = seen.present / seen.rows if seen.rows else 1.0
    role: Role = "feature" if columns.role == "feature" else "label" if columns.role == "label" else "field"
    return ColumnProfile(columns.name, role, columns.type, seen.rows, seen.nulls, distinct, completeness=complete, **facts)  # type: ignore[arg-type]


def _number_histogram(reference: Floats, current: Floats) -> Histogram:
    """A bar for each value where both have few, else bars of equal width over the middle 98 % of both; what lies outside is in the end bars."""
    sides = dict(zip(SIDES, (reference, current), strict=True))
    few = np.unique(np.concatenate([_some_distinct(values) for values in sides.values()]))
    if len(few) <= BARS:
        counts = _each(sides, lambda values: np.searchsorted(values, few, "right") - np.searchsorted(values, few, "left"))
        return Histogram(counts, labels=tuple(f"{value:.12g}" for value in few))
    ends = [_quantiles(values, (0.01, 0.99)) for values in sides.values()]
    low, high = min(each[0] for each in ends), max(each[1] for each in ends)
    low, high = (low, high) if high > low else (min(float(v[0]) for v in sides.values()), max(float(v[-1]) for v in sides.values()))
    edges = 2 * np.linspace(low / 2, high / 2, BARS + 1)  # the halves of any two doubles lie within a double of each other
    counts = _each(sides, lambda values: np.diff(np.concatenate([[0], np.searchsorted(values, edges[1:-1], "left"), [len(values)]])))
    return Histogram(counts, edges=tuple(edges.tolist()))


def _some_distinct(ordered: Floats) -> Floats:
    """The distinct values, or the first ones of many."""
    starts = np.flatnonzero(np.diff(ordered, prepend=np.nan) != 0)
    return ordered[starts[: BARS + 1]]


def _each(sides: Mapping[str, Floats], count: Callable[[Floats], NDArray[np.int64]]) -> dict[str, tuple[int, ...]]:
    return {side: tuple(int(each) for each in count(values)) for side, values in sides.items()}


def _text_histogram(reference: ColumnSummary, current: ColumnSummary) -> Histogram | None:
    """The commonest texts of both tables together, and all others as one bar."""
    sides = {side: dict(seen.ranked) for side, seen in zip(SIDES, (reference, current), strict=True)}
    if not any(sides.values()):
        return None
    weight = {side: 1 / max(1, sum(counts.values())) for side, counts in sides.items()}
    ranked = sorted({*sides["reference"], *sides["current"]}, key=lambda text: (-sum(sides[s].get(text, 0) * weight[s] for s in SIDES), text))
    shown = ranked[:TOP]
    rest = [REST] if len(ranked) > TOP else []
    counted = {s: [sides[s].get(text, 0) for text in shown] for s in SIDES}
    present = {"reference": reference.present, "current": current.present}
    counts = {s: tuple(counted[s] + ([present[s] - sum(counted[s])] if rest else [])) for s in SIDES}
    return Histogram(counts, labels=(*(shortened(text) for text in shown), *rest))


def _finite(ordered: Floats) -> Floats:
    return ordered if not len(ordered) or np.isfinite(ordered[[0, -1]]).all() else ordered[np.isfinite(ordered)]


def _quantiles(ordered: Floats, at: Sequence[float]) -> tuple[float, ...]:
    """Linear interpolation between order statistics (Hyndman and Fan, 1996, definition 7), as numpy's default, of numbers that are sorted."""
    places = np.asarray(at) * (len(ordered) - 1)
    below = places.astype(np.int64)
    left, right, share = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)], places - below
    return tuple(np.where(left == right, left, (1 - share) * left + share * right).tolist())
