"""Sequential tests, valid at every look: confidence sequences and an e-process.

A confidence sequence covers the truth at every look at once with probability 1 - alpha, so a verdict may be taken the moment
an interval allows it. The ones here are asymptotic: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central
limit theory and asymptotic confidence sequences" (2021), theorem 2.2 (two-sided) and its one-sided companion,

    mean +- std * sqrt(2 (n rho^2 + 1) / (n^2 rho^2) * log(sqrt(n rho^2 + 1) / alpha))            two-sided
    mean  - std * sqrt(2 (n rho^2 + 1) / (n^2 rho^2) * log(1 + sqrt(n rho^2 + 1) / (2 alpha)))    one-sided

and say nothing (infinite bounds) below 30 rows an arm, where the asymptotics do not hold.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput

Side = Literal["both", "lower", "upper"]
LEAST_ROWS = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bounds, valid at every look; a bound that was not asked for is infinite. `n` counts the rows."""

    estimate: float
    lower: float
    upper: float
    n: int


@dataclass(frozen=True, slots=True)
class Level:
    """The error level `alpha`, the rows (of both arms together) where the sequence is narrowest, and which bound is wanted."""

    alpha: float = 0.05
    tuned_for: int = 2_000
    side: Side = "both"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or self.tuned_for < 1:
            raise InvalidInput(f"alpha={self.alpha}, tuned_for={self.tuned_for}: alpha lies between 0 and 1, tuned_for is at least 1 row")


def mean_interval(mean: float, std: float, n: int, level: Level = Level()) -> Interval:
    """Confidence sequence of a mean out of n rows with this mean and standard deviation."""
    if n < LEAST_ROWS:
        return Interval(mean if n else math.nan, -math.inf, math.inf, n)
    radius = std * half_width(n, level)
    return Interval(mean, -math.inf if level.side == "upper" else mean - radius, math.inf if level.side == "lower" else mean + radius, n)


def half_width(n: int, level: Level) -> float:
    """Half the width of the sequence for standard deviation 1 (one-sided: the distance of the bound from the mean)."""
    rho_squared = _rho_squared(level)
    grown = n * rho_squared + 1
    log = math.log(math.sqrt(grown) / level.alpha) if level.side == "both" else math.log1p(math.sqrt(grown) / (2 * level.alpha))
    return math.sqrt(2 * grown / (n * n * rho_squared) * log)


def paired_difference(candidate: ArrayLike, stable: ArrayLike, level: Level = Level()) -> Interval:
    """Mean of candidate minus stable on the same rows; what makes a row hard for both cancels."""
    differences = np.asarray(candidate, dtype=np.float64) - np.asarray(stable, dtype=np.float64)
    if not len(differences):
        return Interval(math.nan, -math.inf, math.inf, 0)
    return mean_interval(float(differences.mean()), float(differences.std()), len(differences), level)


def share_slower(candidate: ArrayLike, stable: ArrayLike, *, ratio: float, quantile: float = 0.95, level: Level = Level()) -> Interval:
    """Share of candidate latencies above `ratio` times the stable 95th percentile; p95 is worse than allowed iff it exceeds 0.05.

    The stable percentile is itself uncertain: half of alpha goes to a confidence sequence of it (the values whose empirical
    share above stays within the half width of 1 - quantile, as in Howard and Ramdas, 2022), half to the candidate's share
    above its least favourable end. So lower > 0.05 proves a slow candidate, upper < 0.05 a fast enough one.
    """
    slow, usual = np.asarray(candidate, dtype=np.float64), np.asarray(stable, dtype=np.float64)
    n = len(slow)
    if min(n, len(usual)) < LEAST_ROWS:
        return Interval(math.nan, 0.0, 1.0, n)
    half = Level(level.alpha / 2, level.tuned_for, level.side)
    tail = 1 - quantile
    width = math.sqrt(tail * quantile) * half_width(len(usual), half)
    estimate = float(np.mean(slow > ratio * np.quantile(usual, quantile)))
    lower, upper = 0.0, 1.0
    if level.side != "upper" and width < tail:
        lower = max(0.0, _share_above(slow, ratio * float(np.quantile(usual, quantile + width, method="higher")), half).lower)
    if level.side != "lower" and width < quantile:
        upper = min(1.0, _share_above(slow, ratio * float(np.quantile(usual, quantile - width, method="lower")), half).upper)
    return Interval(estimate, lower, upper, n)


def e_process(differences: ArrayLike) -> NDArray[np.float64]:
    """Evidence, slice by slice, that paired differences (champion's loss minus challenger's) tend above zero.

    Under the null that every difference is as likely to have either sign, whatever its size (sign-flip null), the process
    ever reaches 1 / alpha with probability at most alpha (Ville, 1939). exp(g x - g^2 x^2 / 2) is a supermartingale factor
    for symmetric x (de la Pena, 1999, lemma 6.1); we mix g over a half-normal of scale RHO, with x the difference divided by
    the root mean square of the differences so far, so the unit of the loss does not matter. One challenger, days as slices.
    """
    values = np.asarray(differences, dtype=np.float64)
    scale = np.sqrt(np.cumsum(values**2) / np.arange(1, len(values) + 1))
    scaled = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    return mixture_evidence(np.cumsum(scaled), np.cumsum(scaled**2))


RHO = 0.5


def mixture_evidence(total: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half-normal mixture over g > 0 of exp(g total - g^2 squares / 2), in closed form."""
    grown = 1 + RHO**2 * squares
    place = RHO * total / np.sqrt(grown)
    below = np.array([NormalDist().cdf(value) for value in np.atleast_1d(place)]).reshape(np.shape(place))
    return np.asarray(2 / np.sqrt(grown) * np.exp(np.minimum(place**2 / 2, 700.0)) * below)


def _rho_squared(level: Level) -> float:
    """The rho that makes the sequence narrowest at `tuned_for` rows (Waudby-Smith et al., 2021, appendix B.2); one-sided with 2 alpha."""
    doubled = -2 * math.log(min(level.alpha * (1 if level.side == "both" else 2), 0.999))
    return (doubled + math.log(doubled + 1)) / level.tuned_for


def _share_above(values: NDArray[np.float64], threshold: float, level: Level) -> Interval:
    hits, n = int(np.sum(values > threshold)), len(values)
    smooth = (hits + 1) / (n + 2)
    return mean_interval(hits / n, math.sqrt(smooth * (1 - smooth)), n, level)
