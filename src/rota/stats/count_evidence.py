"""Which of two arms is hit more often, errors or slow answers: an e-process on counts that needs four integers a period, valid at every look.

Of the hits of a period a share q = t n / (t n + m) is the candidate's, where n and m are the rows of candidate and stable version and t is the
ratio of their rates: the conditional test of two Poisson rates (Przyborowski and Wilenski, 1940), which no common rise or fall of the rates
disturbs. Against "t is at most r" the likelihood of every larger t is mixed, by a half-normal of log(t / r), and divided by that at t = r.
This is a test supermartingale (Robbins, 1970), so it ever reaches 1 / alpha with probability at most alpha (Ville, 1939). The same on the
other side speaks for t below r. The periods are those of a constant split of the traffic.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.stats.sequential import LEAST_ROWS, Interval, Level, mean_interval

Side = Literal["above", "below"]
SCALE = 1.0
"""The standard deviation of log(t / r): a ratio of some e beyond the one that is allowed is what the mixture expects."""
_EDGES = np.concatenate(([0.0], np.geomspace(1e-3, 5.0, 100)))
"""Of the pieces of the mixture, in standard deviations; narrow near r, which large counts tell apart from it."""
_DISTANCES = (_EDGES[1:] + _EDGES[:-1]) / 2
_LOG_WEIGHTS = np.log(np.diff(_EDGES)) - _DISTANCES**2 / 2
_LOG_WEIGHTS -= np.log(np.exp(_LOG_WEIGHTS).sum())
_LOWEST, _HIGHEST = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Hits and rows of both arms in one period."""

    candidate_hits: int
    candidate_rows: int
    stable_hits: int
    stable_rows: int

    def __post_init__(self) -> None:
        if not 0 <= self.candidate_hits <= self.candidate_rows or not 0 <= self.stable_hits <= self.stable_rows:
            raise InvalidInput(f"{self} are no counts: hits lie between 0 and the rows")


@dataclass(frozen=True, slots=True)
class RateRatio:
    """How many times as often the candidate is hit, and bounds that hold at every look; nan, 0 and inf where nothing is known."""

    estimate: float
    lower: float
    upper: float


def log_evidence(periods: Sequence[ArmCounts], ratio: float, side: Side) -> float:
    """The logarithm of the evidence that the candidate is hit more (or less) than `ratio` times as often as the stable version."""
    if not 0 < ratio < math.inf:
        raise InvalidInput(f"ratio={ratio}: a ratio of rates is positive and finite", ratio=ratio)
    counts = [period for period in periods if period.candidate_rows and period.stable_rows and period.candidate_hits + period.stable_hits]
    if not counts:
        return 0.0
    ours, theirs = (np.array(column, dtype=np.float64)[:, None] for column in zip(*((c.candidate_hits, c.stable_hits) for c in counts), strict=True))
    odds = np.array([period.candidate_rows / period.stable_rows for period in counts])[:, None]
    sign = 1.0 if side == "above" else -1.0
    tried = ratio * np.exp(sign * SCALE * _DISTANCES)[None, :]
    gains = (ours * np.log(tried / ratio) + (ours + theirs) * np.log((1 + odds * ratio) / (1 + odds * tried))).sum(axis=0)
    return _log_mean(gains)


def rate_ratio(periods: Sequence[ArmCounts], *, alpha: float) -> RateRatio:
    """The ratio of the rates with a confidence sequence: each bound alone is wrong, at whatever look, with probability at most alpha."""
    wanted = math.log(1 / alpha)
    lower = _largest(lambda ratio: log_evidence(periods, ratio, "above") >= wanted)
    upper = _largest(lambda ratio: log_evidence(periods, ratio, "below") < wanted)
    return RateRatio(_estimate(periods), lower if lower > _LOWEST else 0.0, upper if upper < _HIGHEST else math.inf)


def share_difference(periods: Sequence[ArmCounts], level: Level, *, ratio: float = 1.0) -> Interval:
    """The candidate's share of hits minus `ratio` times the stable one's, as a confidence sequence; n counts the rows of both arms.

    The differences of the periods are weighed as by Mantel and Haenszel, so a bad hour of both after a change of the split is no difference.
    The variance takes one hit and one miss more than were seen, so an arm without any error is not taken for perfect.
    """
    counts = [period for period in periods if period.candidate_rows and period.stable_rows]
    n = sum(period.candidate_rows + period.stable_rows for period in periods)
    if not counts:
        return Interval(math.nan, -math.inf, math.inf, n)
    hits, rows, misses, asked = (np.array(column, dtype=np.float64) for column in zip(*map(astuple, counts), strict=True))
    weights = rows * asked / (rows + asked)
    weights /= weights.sum()
    estimate = float((weights * (hits / rows - ratio * misses / asked)).sum())
    ours, theirs = (hits + 1) / (rows + 2), (misses + 1) / (asked + 2)
    variance = float((weights**2 * (ours * (1 - ours) / rows + ratio**2 * theirs * (1 - theirs) / asked)).sum())
    if min(rows.sum(), asked.sum()) < LEAST_ROWS:
        return Interval(estimate, -math.inf, math.inf, n)
    return mean_interval(estimate, math.sqrt(n * variance), n, level)


def _estimate(periods: Sequence[ArmCounts]) -> float:
    """Mantel and Haenszel's (1959) ratio over the periods."""
    told = [period for period in periods if period.candidate_rows and period.stable_rows]
    ours = sum(c.candidate_hits * c.stable_rows / (c.candidate_rows + c.stable_rows) for c in told)
    theirs = sum(c.stable_hits * c.candidate_rows / (c.candidate_rows + c.stable_rows) for c in told)
    return ours / theirs if theirs else math.inf if ours else math.nan


def _largest(holds: Callable[[float], bool]) -> float:
    """The ratio up to which something holds, within a ten-thousandth; the lowest one where it never does."""
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(math.exp(middle)) else (low, middle)
    return _LOWEST if low == math.log(_LOWEST) else _HIGHEST if high == math.log(_HIGHEST) else math.exp((low + high) / 2)


def _log_mean(gains: NDArray[np.float64]) -> float:
    """The logarithm of the mean of exp(gains) under the mixture."""
    logs = gains + _LOG_WEIGHTS
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).sum()))
