"""By which counts a candidate fails or passes: the rules that the judge applies to what was logged, and plans to what is expected."""

import math
from collections.abc import Sequence

from rota.records.check import Judgement
from rota.records.release import Analysis
from rota.stats import count_evidence, sequential
from rota.stats.count_evidence import ArmCounts

ALPHA = 0.05
"""How often `fail` and `pass` may each be wrong, over the whole rollout."""
ROWS_TUNED_FOR = 2_000
SLICES_TUNED_FOR = 72
SLOW = 0.05


def judged_errors(analysis: Analysis, total: ArmCounts, periods: Sequence[ArmCounts]) -> tuple[Judgement, sequential.Interval]:
    """The outcome on errors by now, and the difference from what `ratio` alone allows, with its bounds.

    Two tests share ALPHA: one of counts, which is sharp where errors are rare and gets most of it, and one of the difference, which also tells
    where the stable version never fails. For the counts the allowed difference is a multiple of the stable version's rate as it was seen.
    """
    interval = count_evidence.share_difference(periods, sequential.Level(ALPHA / 5, ROWS_TUNED_FOR), ratio=analysis.ratio)
    most = analysis.ratio + analysis.bound * (total.stable_rows + 2) / (total.stable_hits + 1)
    worse = interval.lower > analysis.bound or count_evidence.log_evidence(periods, most, "above") >= _ENOUGH
    fine = interval.upper <= analysis.bound or count_evidence.log_evidence(periods, most, "below") >= _ENOUGH
    if worse == fine or (worse and total.candidate_hits < analysis.at_least):
        return "inconclusive", interval
    return "fail" if worse else "pass", interval


def judged_slow(counts: Sequence[ArmCounts]) -> Judgement:
    """The outcome on slow answers by counts alone; proving a candidate fast enough has half of ALPHA, for the judge has a second test of it."""
    if count_evidence.log_evidence(counts, 1.0, "above") >= math.log(1 / ALPHA):
        return "fail"
    return "pass" if count_evidence.log_evidence(counts, 1.0, "below") >= math.log(2 / ALPHA) else "inconclusive"


def judged_loss(bound: float, interval: sequential.Interval) -> Judgement:
    """The outcome on a difference of losses by its bounds."""
    return "fail" if interval.lower > bound else "pass" if interval.upper <= bound else "inconclusive"


_ENOUGH = math.log(1 / (ALPHA - ALPHA / 5))
