"""Concept drift: does the model err more than the difficulty of the rows explains?

Each labelled row gives excess = (p - y)^2 - p (1 - p): its Brier loss minus what a calibrated model expects to lose on it.
A storm makes rows harder for everybody and leaves the excess at zero; a changed relation of features and label does not.
The mean excess of a day is one observation, because the rows of a day share their weather. Two rules share the budget:

mean       the newest 7 days against the reference days, Student's t with R - 1 degrees of freedom, one-sided
evidence   Shiryaev-Roberts sum (over starting days) of the self-normalised e-process of `sequential.e_process` on a day's
           excess above the reference; it expects one per day, so a threshold of A days is crossed once in A days at most
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput
from rota.stats.sequential import mixture_evidence

NEWEST_DAYS = 7
LEAST_REFERENCE = 30
RECENT_DAYS = 14
"""Newest days whose evidence is summed up; the reference ends before them."""
LEAST_LABELLED = 20
"""Labels without which a day's mean excess says too little."""
LABELLED_DAYS = RECENT_DAYS + LEAST_REFERENCE
"""Days with LEAST_LABELLED labels before a performance alert can be raised."""


@dataclass(frozen=True, slots=True)
class PerformanceVerdict:
    """`excess` is the newest days' mean above the reference's `usual`; it alarms when `t` or `evidence` reaches what is needed."""

    state: Literal["learning", "quiet", "alarm"]
    excess: float = 0.0
    usual: float = 0.0
    t: float = 0.0
    t_needed: float = math.inf
    evidence: float = 0.0
    evidence_needed: float = math.inf
    reference_days: int = 0
    recent_days: int = 0

    @property
    def alarm(self) -> bool:
        return self.state == "alarm"


def excess_loss(answers: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Brier loss of each row minus the loss its own probability promises; sum it per day. Expects 0 from a calibrated model."""
    p, y = np.asarray(answers, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    return np.asarray((p - y) ** 2 - p * (1 - p))


def performance_alarm(reference_days: ArrayLike, recent_days: ArrayLike, *, days_between_false_alarms: float) -> PerformanceVerdict:
    """Judge the day means of the excess loss since the reference's end, oldest first, against the reference's day means.

    Checked daily, false alarms begin at most once in `days_between_false_alarms` as long as days are independent and their
    excess symmetric; once raised, the evidence stays high for days. With fewer than 30 reference days or 7 recent ones the
    state is "learning". For a regression give day means of squared errors instead.
    """
    if not days_between_false_alarms > 0:
        raise InvalidInput(f"days_between_false_alarms={days_between_false_alarms} must be positive")
    past, recent = np.asarray(reference_days, dtype=np.float64), np.asarray(recent_days, dtype=np.float64)
    if len(past) < LEAST_REFERENCE or len(recent) < NEWEST_DAYS:
        return PerformanceVerdict("learning", reference_days=len(past), recent_days=len(recent))
    usual, spread = float(past.mean()), float(past.std(ddof=1))
    newest = float(recent[-NEWEST_DAYS:].mean()) - usual
    error = spread * math.sqrt(1 / NEWEST_DAYS + 1 / len(past))
    t = newest / error if error else math.copysign(math.inf, newest) if newest else 0.0
    t_needed = student_quantile(1 - 1 / (2 * days_between_false_alarms), len(past) - 1)
    # Centred one standard error above the reference's mean: an error of that mean would else count as evidence every day.
    evidence = _restarted_evidence(recent - usual - spread / math.sqrt(len(past)))
    needed = 2 * days_between_false_alarms
    state: Literal["quiet", "alarm"] = "alarm" if t >= t_needed or evidence >= needed else "quiet"
    return PerformanceVerdict(state, newest, usual, t, t_needed, evidence, needed, len(past), len(recent))


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t by Cornish and Fisher's expansion (Abramowitz and Stegun, 1964, 26.7.5).

    From 29 degrees on its relative error is below 1e-5 up to the probability 0.9999.
    """
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160
    return z + first / degrees + second / degrees**2 + third / degrees**3 + fourth / degrees**4


def _restarted_evidence(values: NDArray[np.float64]) -> float:
    """Sum of e-processes started at each day, each up to the newest day."""
    scale = np.sqrt(np.cumsum(values**2) / np.arange(1, len(values) + 1))
    scaled = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    from_day = np.cumsum(scaled[::-1]), np.cumsum(scaled[::-1] ** 2)
    return float(mixture_evidence(*from_day).sum())
