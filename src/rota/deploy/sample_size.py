"""How many rows of the candidate an analysis needs until it decides, from the rule that decides and what the stable version does.

The number is that at which the rule decides on counts that are as unfavourable as one in five: of all hits K of both arms the candidate's
share is binomial, and its quantile at POWER is taken by the normal approximation. An anytime-valid test that decides on these counts has
decided by then with probability POWER at least; `benchmarks/rollouts/plan.py` holds the numbers against simulated rollouts.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

from rota.deploy.decision_rules import ALPHA, SLICES_TUNED_FOR, SLOW, judged_errors, judged_slow
from rota.records.check import Judgement
from rota.records.release import Analysis
from rota.stats import sequential
from rota.stats.count_evidence import ArmCounts

POWER = 0.8
MOST = 1_000_000_000
"""Rows beyond which an analysis never decides."""


@lru_cache(maxsize=1_024)
def to_clear_errors(analysis: Analysis, *, rate: float, times: float) -> int | None:
    """Predictions of a candidate that fails as often as the stable version, share `rate` of it, until it passes; None: never.

    `times` is how many predictions of the stable version there are to one of the candidate's.
    """
    return _least(lambda rows: _errors(analysis, rows, rate, rate, times, unfavourable=1) == "pass")


@lru_cache(maxsize=1_024)
def to_find_errors(analysis: Analysis, *, rate: float, times: float, factor: float = 2.0) -> int | None:
    """Predictions of a candidate that fails `factor` times as often as is allowed, until it fails its analysis; None: never."""
    bad = min(1.0, factor * max(analysis.ratio * rate + analysis.bound, rate))
    return _least(lambda rows: _errors(analysis, rows, bad, rate, times, unfavourable=-1) == "fail")


@lru_cache(maxsize=1_024)
def to_clear_latency(*, slow: float, times: float) -> int | None:
    """Answers of a candidate that is as quick as the stable version until it passes; None: never.

    `slow` is the share of the stable version's answers that take longer than the allowed multiple of its 95th percentile.
    """
    return _least(lambda rows: judged_slow([_counts(rows, slow, SLOW, times, unfavourable=1)]) == "pass")


@lru_cache(maxsize=1_024)
def to_find_latency(*, slow: float, times: float) -> int | None:
    """Answers of a candidate of which the share `slow` takes longer than is allowed, until it fails its analysis; None: never."""
    return _least(lambda rows: judged_slow([_counts(rows, slow, SLOW, times, unfavourable=-1)]) == "fail")


@lru_cache(maxsize=1_024)
def to_clear_loss(analysis: Analysis, *, spread: float) -> int | None:
    """Hours with labels until a candidate passes that is as good as the stable version; `spread` is the standard deviation of the differences."""
    z = NormalDist().inv_cdf(POWER)
    level = sequential.Level(ALPHA / 2, SLICES_TUNED_FOR)
    hours = _least(lambda n: spread * (sequential.half_width(n, level) + z / math.sqrt(n)) <= analysis.bound)
    return None if hours is None else max(hours, sequential.LEAST_ROWS)


def _errors(analysis: Analysis, rows: int, ours: float, theirs: float, times: float, *, unfavourable: int) -> Judgement:
    counts = _counts(rows, ours, theirs, times, unfavourable=unfavourable)
    return judged_errors(analysis, counts, [counts])[0]


def _counts(rows: int, ours: float, theirs: float, times: float, *, unfavourable: int) -> ArmCounts:
    """Hits of both arms as they come, with the candidate's higher (1) or lower (-1) than four in five."""
    stable_rows = max(1, round(rows * times))
    both = round(rows * ours + stable_rows * theirs)
    share = rows * ours / (rows * ours + stable_rows * theirs) if both else 0.0
    hits = both * share + unfavourable * NormalDist().inv_cdf(POWER) * math.sqrt(both * share * (1 - share))
    candidate = min(rows, max(0, math.ceil(hits) if unfavourable > 0 else math.floor(hits)))
    return ArmCounts(candidate, rows, min(stable_rows, max(0, both - candidate)), stable_rows)


def _least(decides: Callable[[int], bool]) -> int | None:
    """The least number of rows, within a twentieth, from which on the rule decides."""
    low, high = 1, sequential.LEAST_ROWS
    while not decides(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
