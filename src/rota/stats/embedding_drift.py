"""Drift of embeddings: how far the mean of vectors has moved, day by day, and a classifier that tries to tell two samples apart.

Mean shift. Of n vectors x in d dimensions with mean m, against a reference with mean c and total variance v = E|x - c|^2 (the trace of the
covariance matrix), the squared distance |m - c|^2 is v/n too large where the vectors are drawn independently: E|m - E m|^2 = v/n. So

    shift^2 = max(0, |m - c|^2 / v - 1/n)

estimates |E m - c|^2 / v, in units of the typical distance of a vector from the mean, whatever n is. The mean embedding is the statistic of
Rabanser, Guennemann and Lipton ("Failing Loudly", NeurIPS 2019) with the linear kernel of maximum mean discrepancy (Gretton and others, JMLR
13, 2012, sec. 6); the correction is the difference of its biased and its unbiased estimate.

Rows of one day share their causes, so what is judged is a day: it alarms when the newest `run_needed` days (see `drift`) all lie beyond every
reference day by the factor 1.1, and beyond `LEAST_SHIFT`.

Classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017): a classifier is fitted on half of the rows to tell the samples apart; on the
other half its accuracy is that of a coin if they are of one distribution, N(1/2, 1/(4 n)). The classifier is linear discriminant analysis
with a ridge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.records.schema import VectorMoments
from rota.stats.drift import BEYOND, LEAST_ROWS, reference_needed, run_needed

Floats = NDArray[np.float64]

LEAST_SHIFT = 0.1
"""A mean that moved less, in units of the vectors' spread, is no drift that anyone acts on: an hundredth of the variance."""
LEAST_SAMPLE = 50
"""Rows of each sample that the two-sample test needs."""
RIDGE = 1e-2
"""Of the average variance of a dimension, added to each: more dimensions than rows are no reason to fail."""


def together(one: VectorMoments, other: VectorMoments) -> VectorMoments:
    """The moments of both samples (Chan, Golub and LeVeque, 1983, eq. 2.1, in d dimensions); `InvalidInput` for other dimensions."""
    if not one.count or not other.count:
        return one if one.count else other
    if len(one.mean) != len(other.mean):
        raise InvalidInput(f"vectors of {len(one.mean)} and of {len(other.mean)} dimensions are not of one feature")
    count = one.count + other.count
    apart = np.subtract(other.mean, one.mean)
    mean = np.add(one.mean, apart * (other.count / count))
    squares = one.squares + other.squares + float(apart @ apart) * one.count * other.count / count
    return VectorMoments(count, tuple(mean.tolist()), squares)


def moments(vectors: Floats) -> VectorMoments:
    """The moments of vectors (rows, d); rows with a number that is not finite are left out."""
    whole = vectors[np.isfinite(vectors).all(axis=1)]
    if not len(whole):
        return VectorMoments()
    mean = whole.mean(axis=0)
    return VectorMoments(len(whole), tuple(mean.tolist()), float(((whole - mean) ** 2).sum()))


def mean_shift(reference: VectorMoments, current: VectorMoments) -> float:
    """How far the mean of `current` lies from that of the reference, in units of the reference's spread, free of the bias of few rows.

    Infinite where the reference's vectors are all one and the current mean is another; `InvalidInput` without vectors, or of other dimensions.
    """
    if not reference.count or not current.count:
        raise InvalidInput("a mean shift is one between vectors; give some of both")
    if len(reference.mean) != len(current.mean):
        raise InvalidInput(f"vectors of {len(reference.mean)} and of {len(current.mean)} dimensions are not of one feature")
    apart = np.subtract(current.mean, reference.mean)
    distance = float(apart @ apart)
    if not reference.variance:
        return math.inf if distance else 0.0
    return math.sqrt(max(0.0, distance / reference.variance - 1 / current.count))


@dataclass(frozen=True, slots=True)
class ShiftVerdict:
    """What the newest days show: `shift` is that of the newest day, `limit` what `run_needed` days in a row must pass, `run` how many do.

    A verdict needs `needed` reference `days` of `LEAST_ROWS` vectors, and a newest day with so many. Without them the state is "learning".
    """

    state: Literal["learning", "quiet", "alarm"]
    shift: float = 0.0
    limit: float = 0.0
    run: int = 0
    run_needed: int = 0
    days: int = 0
    needed: int = 0
    rows: int = 0

    @property
    def alarm(self) -> bool:
        return self.state == "alarm"


def shift_of_days(
    reference: VectorMoments, before: Sequence[VectorMoments], newest: Sequence[VectorMoments], *, features: int, days_between_false_alarms: float
) -> ShiftVerdict:
    """Judge the newest days, oldest first, against the days `before` them; all are compared with the reference's mean.

    `features` share the budget of false alarms: at most one in `days_between_false_alarms` over all of them, as long as days are
    exchangeable. Days of fewer than `LEAST_ROWS` vectors are left out.
    """
    if features < 1 or not days_between_false_alarms > 0:
        raise InvalidInput(f"features={features}, days_between_false_alarms={days_between_false_alarms}: both must be positive")
    known = [mean_shift(reference, day) for day in before if day.count >= LEAST_ROWS] if reference.count else []
    budget = 1 / days_between_false_alarms
    needed, wanted = run_needed(len(known), tests=features, budget=budget), reference_needed(tests=features, budget=budget)
    rows = newest[-1].count if newest else 0
    if needed is None or rows < LEAST_ROWS:
        return ShiftVerdict("learning", days=len(known), needed=wanted, rows=rows, run_needed=needed or 0)
    shifts = [mean_shift(reference, day) for day in newest if day.count >= LEAST_ROWS]
    limit = max(BEYOND * max(known), LEAST_SHIFT)
    run = next((place for place, shift in enumerate(reversed(shifts)) if shift <= limit), len(shifts))
    state: Literal["quiet", "alarm"] = "alarm" if run >= needed else "quiet"
    return ShiftVerdict(state, shifts[-1], limit, run, needed, len(known), wanted, rows)


@dataclass(frozen=True, slots=True)
class TwoSampleVerdict:
    """How well a classifier told two samples apart: `accuracy` on `rows` it was not fitted on (half of each class), and the probability
    `p_value` of at least that if both were of one distribution. "cannot" with fewer than `LEAST_SAMPLE` rows of one of them."""

    state: Literal["cannot", "same", "different"]
    accuracy: float = math.nan
    p_value: float = math.nan
    rows: int = 0


def two_sample_test(reference: Floats, current: Floats, *, level: float = 0.001, seed: int = 0) -> TwoSampleVerdict:
    """Whether a linear classifier can tell vectors (rows, d) of one sample from those of another; deterministic for a seed.

    The larger sample is thinned to the size of the smaller, so that a coin is right half of the time. Rows that are not finite are left out.
    """
    random = np.random.default_rng(seed)
    samples = [each[np.isfinite(each).all(axis=1)] for each in (reference, current)]
    size = min(map(len, samples))
    if size < LEAST_SAMPLE:
        return TwoSampleVerdict("cannot", rows=size)
    drawn = [each[random.permutation(len(each))[:size]] for each in samples]
    half = size // 2
    direction, middle = _discriminant(drawn[0][:half], drawn[1][:half])
    projected = [each[half:] @ direction > middle for each in drawn]
    tested = 2 * (size - half)
    accuracy = float((~projected[0]).sum() + projected[1].sum()) / tested
    p_value = 0.5 * math.erfc((accuracy - 0.5) * 2 * math.sqrt(tested) / math.sqrt(2))
    return TwoSampleVerdict("different" if p_value < level else "same", accuracy, p_value, tested)


def _discriminant(one: Floats, other: Floats) -> tuple[Floats, float]:
    """Fisher's direction, and the middle between both means on it (Hastie, Tibshirani and Friedman, 2009, eq. 4.9, shrunk by a ridge)."""
    means = one.mean(axis=0), other.mean(axis=0)
    apart = np.concatenate([one - means[0], other - means[1]])
    width = apart.shape[1]
    average = float((apart**2).sum()) / (len(apart) * width) or 1.0
    within = apart.T @ apart / len(apart) + RIDGE * average * np.eye(width)
    direction = np.linalg.solve(within, means[1] - means[0])
    return direction, float(direction @ (means[0] + means[1]) / 2)
