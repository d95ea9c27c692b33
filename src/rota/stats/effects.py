"""What a treatment changes: differences of means and of ratios between units assigned at random, with less variance where a covariate tells it.

A figure of a unit is a numerator and a denominator (revenue and predictions; with denominators of 1 a mean). The variance of an arm's ratio R
is the delta method's (Deng, Knoblich and Lu, "Applying the delta method in metric analytics", KDD 2018, equation 3), which is that of the values

    R + (numerator - R denominator) / mean(denominator)

whose mean is R. Units are what was assigned, so the rows of one unit may depend on each other. CUPED (Deng, Xu, Kohavi and Walker, WSDM 2013)
subtracts theta (X - mean X) with theta = cov(value, X) / var(X), X known before the treatment: the variance shrinks by the squared correlation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput
from rota.stats.sequential import Interval, Level, half_width

Floats = NDArray[np.float64]
LEAST_UNITS = 30


@dataclass(frozen=True, slots=True)
class Effect:
    """Treatment minus control, its standard error and both arms' figures; nan where an arm has fewer than two units."""

    estimate: float
    standard_error: float
    control: float
    treatment: float
    units: int

    @property
    def z(self) -> float:
        """The estimate in standard errors; 0 where nothing varies."""
        return self.estimate / self.standard_error if self.standard_error > 0 else 0.0

    @property
    def relative(self) -> float:
        """The effect as a share of the control's figure."""
        return self.estimate / abs(self.control) if self.control else math.nan


def linearized(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """One value a unit, whose mean is the ratio of the sums and whose variance is the delta method's times the number of units."""
    over, under = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if over.shape != under.shape:
        raise InvalidInput(f"{len(over)} numerators and {len(under)} denominators; a unit has one of each")
    if not len(under) or under.sum() == 0:
        return np.empty(0)
    ratio = over.sum() / under.sum()
    return np.asarray(ratio + (over - ratio * under) / under.mean())


def adjusted(arms: Sequence[Floats], covariates: Sequence[ArrayLike]) -> tuple[list[Floats], float]:
    """The values of each arm with what the covariate tells taken out, and its squared correlation with them; a nan covariate tells nothing.

    Theta and the correlation are those within arms, so that the treatment's effect is no part of them.
    """
    known = [np.asarray(each, dtype=np.float64) for each in covariates]
    if [len(each) for each in arms] != [len(each) for each in known]:
        raise InvalidInput("give a covariate for each unit of each arm")
    every = np.concatenate(known) if known else np.empty(0)
    if not np.isfinite(every).any():
        return list(arms), 0.0
    middle = float(np.nanmean(np.where(np.isfinite(every), every, np.nan)))
    filled = [np.where(np.isfinite(each), each, middle) for each in known]
    x = np.concatenate([each - each.mean() for each in filled if len(each)])
    y = np.concatenate([each - each.mean() for each in arms if len(each)])
    if not (x @ x) or not (y @ y):
        return list(arms), 0.0
    theta = float(x @ y / (x @ x))
    return [values - theta * (each - middle) for values, each in zip(arms, filled, strict=True)], float((x @ y) ** 2 / ((x @ x) * (y @ y)))


def difference(treatment: Floats, control: Floats) -> Effect:
    """The effect on values of one unit each (Welch's standard error)."""
    units = len(treatment) + len(control)
    if min(len(treatment), len(control)) < 2:
        return Effect(math.nan, math.nan, math.nan, math.nan, units)
    means = [float(each.mean()) for each in (treatment, control)]
    error = math.sqrt(float(treatment.var(ddof=1)) / len(treatment) + float(control.var(ddof=1)) / len(control))
    return Effect(means[0] - means[1], error, means[1], means[0], units)


def stratified(periods: Sequence[tuple[Floats, Floats]]) -> Effect:
    """The effect on (treatment, control) within each period, then together: weighed by n m / (n + m), as Mantel and Haenszel do.

    A period in which an arm has fewer than two units says nothing.
    """
    found = [(difference(*each), len(each[0]) * len(each[1]) / (len(each[0]) + len(each[1]))) for each in periods if min(map(len, each)) > 1]
    if not found:
        return difference(np.empty(0), np.empty(0))
    total = sum(weight for _, weight in found)
    shares = [weight / total for _, weight in found]
    each = [effect for effect, _ in found]
    return Effect(
        sum(share * effect.estimate for share, effect in zip(shares, each, strict=True)),
        math.sqrt(sum((share * effect.standard_error) ** 2 for share, effect in zip(shares, each, strict=True))),
        sum(share * effect.control for share, effect in zip(shares, each, strict=True)),
        sum(share * effect.treatment for share, effect in zip(shares, each, strict=True)),
        sum(effect.units for effect in each),
    )


def always_valid(effect: Effect, level: Level) -> Interval:
    """A confidence sequence of the effect: the bounds cover it at every look at once; infinite below LEAST_UNITS units or without variance."""
    if effect.units < LEAST_UNITS or not effect.standard_error > 0:
        return Interval(effect.estimate, -math.inf, math.inf, effect.units)
    radius = effect.standard_error * math.sqrt(effect.units) * half_width(effect.units, level)
    lower = -math.inf if level.side == "upper" else effect.estimate - radius
    return Interval(effect.estimate, lower, math.inf if level.side == "lower" else effect.estimate + radius, effect.units)


def without_events(treatment_units: int, control_units: int, level: Level) -> Interval:
    """A confidence sequence of the difference of two shares of units, of which none had the event in either arm.

    Of `n` units without it, the share is above `1 - (a / (n + 1)) ** (1 / n)` at any look with probability `a` at most: the mixture over a
    uniform share is `1 / (n + 1)`, and Ville's inequality bounds its ratio to the likelihood `(1 - share) ** n`. Each bound has half of the error.
    """
    above = [1 - math.exp(math.log(level.alpha / 2 / (n + 1)) / n) if n else 1.0 for n in (treatment_units, control_units)]
    return Interval(0.0, -above[1], above[0], treatment_units + control_units)


def period_weighted(periods: Sequence[Sequence[Floats]]) -> list[tuple[float, float]]:
    """Mean and its variance of each arm, periods weighed alike for all arms: by their units of all arms together.

    Where the split of the traffic changes between periods, a plain mean would give an arm the season of its largest share. `periods` have the
    values of each arm; its variance within periods is one for all of them, for a period may have few. A period in which an arm has fewer than
    two values is counted with the next, the last ones with the one before.
    """
    merged = _merged([[np.asarray(arm, dtype=np.float64) for arm in period] for period in periods])
    sizes = np.array([sum(len(arm) for arm in period) for period in merged], dtype=np.float64)
    shares = sizes / sizes.sum() if len(sizes) else sizes
    found = []
    for arm in range(len(merged[0]) if merged else 0):
        mean = sum(share * float(period[arm].mean()) for share, period in zip(shares, merged, strict=True))
        within = sum(float(((period[arm] - period[arm].mean()) ** 2).sum()) for period in merged) / sum(len(period[arm]) - 1 for period in merged)
        variance = within * sum(share**2 / len(period[arm]) for share, period in zip(shares, merged, strict=True))
        found.append((float(mean), float(variance)))
    return found


def _merged(periods: Sequence[Sequence[Floats]]) -> list[list[Floats]]:
    """Periods in each of which every arm has two values at least; none where the arms never have as many."""
    found = list[list[Floats]]()
    held: list[Floats] | None = None
    for period in periods:
        held = list(period) if held is None else [np.concatenate(pair) for pair in zip(held, period, strict=True)]
        if all(len(arm) > 1 for arm in held):
            found.append(held)
            held = None
    if held is not None and found:
        found[-1] = [np.concatenate(pair) for pair in zip(found[-1], held, strict=True)]
    return found
