"""Drift of one feature over time slices: does the newest run of slices differ from every earlier slice?

Rows of one day share their weather, so tests that count rows alarm every day. Here a slice is one observation, and the
threshold is what the reference slices themselves show, each against the others (leave one out). Two statistics are compared:

distance    how far the slice lies from the pooled reference: KS for ordered bins, L-infinity for texts
deviation   the largest |z| of a bin's share, z by that bin's own spread between slices, at least its binomial spread

Three rules share the budget of false alarms equally. T is the number of tests (features times 2 statistics), R of reference slices.

run    k newest slices all beyond the reference maximum (by the factor 1.1). If slices are exchangeable, k given ones are the
       k largest of R + k with probability k! R! / (R + k)! <= k! / (R + 1)^k, whatever the distribution; k is the smallest
       whose T-fold bound fits the budget, and at least 3, as neighbouring slices of real feeds resemble each other.
jump   2 newest slices beyond twice the reference maximum. Assumes a tail no heavier than Pareto's with index 2, by which
       twice the maximum is passed a quarter as often as the maximum: T 2! / (R + 1)^2 / 4^2 must fit the budget.
slow   the sum over starting points of the product of bets 0.35 p^-0.65 (a p-to-e calibrator: Vovk and Wang, 2021, eq. 1) on
       the slices' rank p-values (Vovk, Nouretdinov and Gammerman, 2003), in the manner of Shiryaev and Roberts. Over m
       slices it expects m under exchangeability, so it passes m T / budget with at most the budget's probability (Markov).
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput

Floats = NDArray[np.float64]

LEAST_REFERENCE = 30  # with fewer slices the largest of them says little (7-day windows of a quarter: 2-36 % false months)
LEAST_RUN, LONGEST_RUN = 3, 7
BEYOND, FAR_BEYOND = 1.1, 2.0
LEAST_ROWS = 30
BET = 0.35


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """What one feature's newest slices show; figures are those of the newest slice.

    `effect` is the distance in percentage points of probability: so many of 100 rows lie elsewhere. `run` counts the newest
    slices in a row beyond the limits, `run_needed` how many make an alarm. `worst_bin` had `share_before` and has `share_now`.
    A verdict needs `needed` reference `slices`, and a newest slice, of `needed_rows`; the newest slice has `rows`, the newest ones
    mostly `usual_rows`. Without them the state is "learning".
    """

    state: Literal["learning", "quiet", "alarm"]
    rule: Literal["", "run", "jump", "slow"] = ""
    distance: float = 0.0
    distance_limit: float = 0.0
    deviation: float = 0.0
    deviation_limit: float = 0.0
    run: int = 0
    run_needed: int = 0
    evidence: float = 0.0
    evidence_needed: float = math.inf
    worst_bin: int = 0
    share_before: float = 0.0
    share_now: float = 0.0
    effect: float = 0.0
    slices: int = 0
    rows: int = 0
    needed: int = LEAST_REFERENCE
    usual_rows: float = 0.0
    needed_rows: int = LEAST_ROWS

    @property
    def alarm(self) -> bool:
        return self.state == "alarm"


def drift(
    reference: ArrayLike, current: ArrayLike, *, ordered: bool, features: int, days_between_false_alarms: float, slices_per_day: float = 1.0
) -> DriftVerdict:
    """Judge the newest slices `current` (k, B), oldest first, against reference slices (R, B); both are bin counts.

    `features` is how many features share the budget: over all of them, false alarms come at most once in
    `days_between_false_alarms`, as long as slices are exchangeable. The bins of numbers are `ordered`, bin 0 holding nulls.
    Slices with fewer than 30 rows, or a quarter of the reference's median, are left out. With too few reference slices for
    the budget, or a newest slice that is left out, the state is "learning". Give as many newest slices as there are since the
    reference's end; 3 at least, 14 do.
    """
    if features < 1 or not days_between_false_alarms > 0 or not slices_per_day > 0:
        raise InvalidInput(f"features={features}, days_between_false_alarms={days_between_false_alarms}: both must be positive")
    past, now, least = _usable(reference, current)
    sizes = np.asarray(current, dtype=np.float64).sum(axis=1)
    usual = float(np.median(sizes)) if len(sizes) else 0.0
    budget = 1 / (days_between_false_alarms * slices_per_day) / 3
    tests = 2 * features
    needed = run_needed(len(past), tests=tests, budget=budget)
    newest = int(sizes[-1]) if len(sizes) else 0
    facts = {"needed": reference_needed(tests=tests, budget=budget), "usual_rows": usual, "needed_rows": math.ceil(least), "rows": newest}
    if needed is None or newest < least:
        return DriftVerdict("learning", run_needed=needed or 0, slices=len(past), **facts)  # type: ignore[arg-type]
    seen, new = _distances(past, now, ordered=ordered), _deviations(past, now)
    statistics = (seen, (new[0], new[1]))
    run = max(_newest_in_a_row(values, BEYOND * limits.max()) for limits, values in statistics)
    jump = max(_newest_in_a_row(values, FAR_BEYOND * limits.max()) for limits, values in statistics)
    evidence = max(_slow_evidence(limits, values) for limits, values in statistics)
    evidence_needed = len(now) * tests / budget
    rules = {"run": run >= needed, "jump": jump >= 2 and jump_allowed(len(past), tests=tests, budget=budget), "slow": evidence >= evidence_needed}
    rule = next((name for name, fired in rules.items() if fired), "")
    before, share = past.sum(axis=0) / past.sum(), now[-1] / now[-1].sum()
    worst = int(new[2])
    return DriftVerdict(
        state="alarm" if rule else "quiet",
        rule=rule,  # type: ignore[arg-type]
        distance=float(seen[1][-1]),
        distance_limit=float(seen[0].max()),
        deviation=float(new[1][-1]),
        deviation_limit=float(new[0].max()),
        run=run,
        run_needed=needed,
        evidence=evidence,
        evidence_needed=evidence_needed,
        worst_bin=worst,
        share_before=float(before[worst]),
        share_now=float(share[worst]),
        effect=100 * float(seen[1][-1]),
        slices=len(past),
        **facts,  # type: ignore[arg-type]
    )


def run_needed(slices: int, *, tests: int, budget: float) -> int | None:
    """How many slices in a row make an alarm with so many reference slices; None: too few slices to keep the budget."""
    if slices < LEAST_REFERENCE:
        return None
    fitting = (k for k in range(LEAST_RUN, LONGEST_RUN + 1) if tests * math.factorial(k) / (slices + 1) ** k <= budget)
    return next(fitting, None)


def reference_needed(*, tests: int, budget: float) -> int:
    """The fewest reference slices with which a budget can be kept."""
    return next(slices for slices in itertools.count(LEAST_REFERENCE) if run_needed(slices, tests=tests, budget=budget) is not None)


def jump_allowed(slices: int, *, tests: int, budget: float) -> bool:
    """Whether two slices beyond twice the maximum are rare enough for the budget."""
    return tests * 2 / (slices + 1) ** 2 / FAR_BEYOND**4 <= budget


def _usable(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats, float]:
    """The slices with enough rows, and how many are enough."""
    past, now = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if past.ndim != 2 or now.ndim != 2 or past.shape[1] != now.shape[1]:
        raise InvalidInput(f"reference counts have shape {past.shape} and current ones {now.shape}; give (R, B) and (k, B) on the same bins")
    past = past[past.sum(axis=1) >= LEAST_ROWS]
    least = max(LEAST_ROWS, float(np.median(past.sum(axis=1))) / 4) if len(past) else LEAST_ROWS
    return past[past.sum(axis=1) >= least], now[now.sum(axis=1) >= least], least


def _distances(past: Floats, now: Floats, *, ordered: bool) -> tuple[Floats, Floats]:
    """Distance of each reference slice to all the others pooled, and of each newest slice to the pooled reference."""
    total = past.sum(axis=0)
    others = total - past
    inside = _shares(past) - _shares(others)
    outside = _shares(now) - total / total.sum()
    if ordered:
        inside, outside = np.cumsum(inside, axis=1), np.cumsum(outside, axis=1)
    return np.abs(inside).max(axis=1), np.abs(outside).max(axis=1)


def _deviations(past: Floats, now: Floats) -> tuple[Floats, Floats, int]:
    """Largest |z| of each reference slice against the others, of each newest slice against all, and the newest one's bin."""
    share, count = _shares(past), len(past)
    mean_others = (share.sum(axis=0) - share) / (count - 1)
    spread_others = (np.sum(share**2, axis=0) - share**2) / (count - 1) - mean_others**2
    inside = np.abs(share - mean_others) / _spread(mean_others, spread_others, past)
    mean = share.mean(axis=0)
    outside = np.abs(_shares(now) - mean) / _spread(mean, share.var(axis=0), now)
    return inside.max(axis=1), outside.max(axis=1), int(outside[-1].argmax())


def _spread(mean: Floats, variance: Floats, slices: Floats) -> Floats:
    """Standard deviation of a bin's share: between slices, at least binomial, at least one row (an empty bin has no spread)."""
    rows = slices.sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(np.maximum(np.maximum(variance, mean * (1 - mean) / rows), 1 / rows**2)))


def _shares(counts: Floats) -> Floats:
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _newest_in_a_row(values: Floats, limit: float) -> int:
    below = np.flatnonzero(values <= limit)
    return len(values) - 1 - int(below[-1]) if len(below) else len(values)


def _slow_evidence(reference: Floats, values: Floats) -> float:
    """Shiryaev-Roberts sum of bets on the rank of each slice among the reference and the slices before it."""
    evidence, seen = 0.0, reference
    for value in values:
        seen = np.append(seen, value)
        rank = float(np.sum(seen >= value)) / len(seen)
        evidence = (1 + evidence) * BET * rank ** (BET - 1)
    return evidence
