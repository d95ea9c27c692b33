"""Drift from the first day and with few rows: the newest days, pooled, against a baseline, by exact tests of shares.

`drift` needs 30 reference slices of 30 rows. Until it has them this test stands in. Pooled are as few of the newest slices as
hold POOLED_ROWS rows, LEAST_SLICES at least, so that one odd day is no drift. Events are each bin and, where bins are ordered, each
"at most this bin" (what a Kolmogorov-Smirnov test looks at). Given how many rows of both samples together fall in an event, the
number among the pooled ones is hypergeometric when all rows are alike (Fisher, 1934), whatever the distribution and however few
they are; its tail, doubled, is the event's p value, and Bonferroni's inequality holds for all events of all features:

    alarm when p * events * features * days_between_false_alarms <= 1

so among independent rows false alarms come at most once in `days_between_false_alarms`. Rows of one day are alike, though. Where
slices of the baseline, or those served before the pooled ones, show that (an event's share spreads between them `deff` times as much
as binomial shares would; Kish, 1965) both samples count for `deff` times fewer rows (Rao and Scott, 1981), and what is beyond 1 is
raised by the square of Student's over the normal quantile, as so few slices know their spread badly. And an alarm needs an effect of
LEAST_EFFECT to the same side in every pooled slice, and of UNSPREAD_EFFECT while no slices show how much days differ: before a week is
served, beside a baseline without moments.
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput
from rota.stats.concept_drift import student_quantile

Floats = NDArray[np.float64]

POOLED_ROWS = 30
LEAST_BASELINE = 30  # rows
LEAST_SLICES, MOST_SLICES = 3, 14
LEAST_EFFECT, UNSPREAD_EFFECT = 0.1, 0.25
DOUBT = 0.05
LEAST_SPREAD_SLICES = 7  # baseline slices from which the spread between slices is estimated
MEDIAN_OF_SQUARE = 0.4549  # median of chi squared with one degree of freedom, the square of a standard normal
MOST_ROWS = 5_000  # rows of either sample beyond these are scaled down, which costs power that so many rows do not need


@dataclass(frozen=True, slots=True)
class EarlyVerdict:
    """What the newest `slices`, pooled to `rows`, show against `baseline_rows`.

    `effect` is in percentage points: so many of 100 rows lie elsewhere in the event that differs most, bin `worst_bin` (or up to
    it: `cumulative`), which had `share_before` and has `share_now`. It alarms when `p_value` is at most `p_needed`. It is undecided when
    that is not so and an event is still rarer than chance among independent rows explains (DOUBT), so that a drift which lasts is not
    called over because of one odd day. Where the state is "learning" there were too few rows to judge.
    """

    state: Literal["learning", "quiet", "undecided", "alarm"]
    p_value: float = 1.0
    p_needed: float = 0.0
    effect: float = 0.0
    worst_bin: int = 0
    cumulative: bool = False
    share_before: float = 0.0
    share_now: float = 0.0
    slices: int = 0
    rows: int = 0
    baseline_rows: int = 0

    @property
    def alarm(self) -> bool:
        return self.state == "alarm"


def early_drift(baseline: ArrayLike, newest: ArrayLike, *, ordered: bool, features: int, days_between_false_alarms: float) -> EarlyVerdict:
    """Judge the newest slices (k, B), oldest first, against baseline slices (R, B); both are bin counts, bin 0 holding nulls.

    A baseline whose rows have no moments is one slice. Give as many served slices as there are, up to 30. `features` share the budget
    of false alarms. Raises `InvalidInput` for counts on different bins.
    """
    past, now = np.atleast_2d(np.asarray(baseline, dtype=np.float64)), np.atleast_2d(np.asarray(newest, dtype=np.float64))
    if past.shape[1] != now.shape[1] or features < 1 or not days_between_false_alarms > 0:
        raise InvalidInput(
            f"baseline counts have shape {past.shape}, newest ones {now.shape}, features={features}, "
            f"days_between_false_alarms={days_between_false_alarms}: give (R, B) and (k, B) on the same bins and positive numbers"
        )
    past, now = past[past.sum(axis=1) > 0], now[now.sum(axis=1) > 0]
    pooled = _pooled(now)
    if not len(pooled) or past.sum() < LEAST_BASELINE:
        kept = now[-MOST_SLICES:]
        return EarlyVerdict("learning", slices=len(kept), rows=int(kept.sum()), baseline_rows=int(past.sum()))
    events = _events(past.shape[1], ordered=ordered)
    before, after, earlier = past @ events.T, pooled @ events.T, now[: -len(pooled)]
    share_before, share_now = before.sum(axis=0) / past.sum(), after.sum(axis=0) / pooled.sum()
    p_needed = 1 / (len(events) * features * days_between_false_alarms)
    deff = np.maximum(_spread_of_all(before, past, p_needed), _spread_in_a_row(earlier @ events.T, earlier, p_needed))
    hits = list(zip(after.sum(axis=0), before.sum(axis=0), deff, strict=True))
    p_values = np.array([_p_value((now_hits, pooled.sum()), (past_hits, past.sum()), each) for now_hits, past_hits, each in hits])
    as_rows = min(_p_value((now_hits, pooled.sum()), (past_hits, past.sum()), 1.0) for now_hits, past_hits, _ in hits)
    telling = _telling(after, pooled, share_before, UNSPREAD_EFFECT if max(len(past), len(earlier)) < LEAST_SPREAD_SLICES else LEAST_EFFECT)
    worst = int(np.lexsort((-np.abs(share_now - share_before), p_values, ~telling))[0])
    alarm, doubt = telling[worst] and p_values[worst] <= p_needed, as_rows * len(events) <= DOUBT
    return EarlyVerdict(
        state="alarm" if alarm else "undecided" if doubt else "quiet",
        p_value=float(p_values[worst]),
        p_needed=p_needed,
        effect=100 * float(abs(share_now[worst] - share_before[worst])),
        worst_bin=int(np.flatnonzero(events[worst])[-1]),
        cumulative=bool(events[worst].sum() > 1),
        share_before=float(share_before[worst]),
        share_now=float(share_now[worst]),
        slices=len(pooled),
        rows=int(pooled.sum()),
        baseline_rows=int(past.sum()),
    )


def _pooled(now: Floats) -> Floats:
    """As few of the newest slices as are enough; none when MOST_SLICES are not."""
    for count in range(LEAST_SLICES, min(len(now), MOST_SLICES) + 1):
        if now[-count:].sum() >= POOLED_ROWS:
            return now[-count:]
    return now[:0]


def _events(bins: int, *, ordered: bool) -> Floats:
    """Rows of 0 and 1 over the bins: each bin, and each run of bins from the first value on, without the whole."""
    single = np.eye(bins)
    return np.vstack([single, np.tril(np.ones((bins, bins)))[2:-1] * (np.arange(bins) > 0)]) if ordered and bins > 3 else single


def _telling(after: Floats, pooled: Floats, share_before: Floats, least: float) -> NDArray[np.bool_]:
    """Events whose share moved far enough in every pooled slice, to the same side."""
    moved = after / pooled.sum(axis=1, keepdims=True) - share_before
    return np.asarray((moved >= least).all(axis=0) | (moved <= -least).all(axis=0))


def _p_value(newest: tuple[float, float], baseline: tuple[float, float], deff: float) -> float:
    """Fisher's exact p value of an event, (hits, rows) of both samples scaled down to the rows that they count for."""
    counts = [round(value * min(1 / deff, MOST_ROWS / sample[1])) for sample in (newest, baseline) for value in sample]
    return fisher(counts[0], max(1, counts[1]), counts[2], max(1, counts[3]))


def _spread_of_all(hits: Floats, slices: Floats, p_needed: float) -> Floats:
    """For each event how many times the variance of a slice's share is that of independent rows; 1 where slices are too few to tell."""
    if len(slices) < LEAST_SPREAD_SLICES:
        return np.ones(hits.shape[1])
    rows = slices.sum(axis=1, keepdims=True)
    share = hits.sum(axis=0) / rows.sum()
    spread = ((hits - rows * share) ** 2 / (rows * _variance(share))).sum(axis=0) / (len(slices) - 1)
    return _design_effects(spread, len(slices) - 1, p_needed)


def _spread_in_a_row(hits: Floats, slices: Floats, p_needed: float) -> Floats:
    """The same by the differences of neighbours (von Neumann, 1941), and their median: a drift that lasts must not hide itself as spread."""
    if len(slices) < LEAST_SPREAD_SLICES:
        return np.ones(hits.shape[1])
    rows = slices.sum(axis=1, keepdims=True)
    share = hits.sum(axis=0) / rows.sum()
    steps, expected = np.diff(hits / rows, axis=0) ** 2, _variance(share) * (1 / rows[1:] + 1 / rows[:-1])
    return _design_effects(np.median(steps / expected, axis=0) / MEDIAN_OF_SQUARE, len(slices) - 1, p_needed)


def _design_effects(spread: Floats, degrees: int, p_needed: float) -> Floats:
    badly_known = student_quantile(1 - p_needed / 2, degrees) / NormalDist().inv_cdf(1 - p_needed / 2)
    return np.asarray(1 + np.maximum(spread - 1, 0) * badly_known**2)


def _variance(share: Floats) -> Floats:
    """Binomial variance of one row; infinite where nothing varies."""
    return np.where((share > 0) & (share < 1), share * (1 - share), np.inf)


def fisher(hits: int, rows: int, other_hits: int, other_rows: int) -> float:
    """Exact two-sided p value (the smaller tail doubled) for `hits` of `rows` against `other_hits` of `other_rows`."""
    total, marked = rows + other_rows, hits + other_hits
    possible = np.arange(max(0, marked - other_rows), min(rows, marked) + 1)
    factorial = _log_factorials(total)
    log = factorial[marked] - factorial[possible] - factorial[marked - possible]
    log = log + factorial[total - marked] - factorial[rows - possible] - factorial[total - marked - rows + possible]
    weights = np.exp(log - factorial[total] + factorial[rows] + factorial[total - rows])
    return min(1.0, 2 * min(float(weights[possible >= hits].sum()), float(weights[possible <= hits].sum())))


@lru_cache(maxsize=8)
def _table(size: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])


def _log_factorials(largest: int) -> Floats:
    """Logarithms of 0!, 1!, ... up to `largest` at least."""
    return _table(1 << (largest + 1).bit_length())
