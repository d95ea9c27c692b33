"""Deviances of the exponential dispersion models: Poisson, Gamma, Tweedie (Jorgensen, 1997; scikit-learn's `mean_tweedie_deviance`).

`truth` and `answers` are (rows,), answers above 0, `weights` (rows,) or None. A deviance is 0 where the answer is the truth.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rota.stats.weighting import mean

Floats = NDArray[np.float64]
TWEEDIE_POWER = 1.5
"""The power of the Tweedie deviance, between that of Poisson (1) and of Gamma (2): many zeros, and amounts."""
_FEWEST, _MOST = 1e-6, 200.0


def poisson_of_rows(truth: Floats, answers: Floats) -> Floats:
    """2 (y log(y / m) - y + m)."""
    return np.asarray(2 * (_xlogy(truth, truth / answers) - truth + answers), dtype=np.float64)


def gamma_of_rows(truth: Floats, answers: Floats) -> Floats:
    """2 (log(m / y) + y / m - 1); NaN where the truth is not above 0."""
    ratio = np.where(truth > 0, truth, np.nan) / answers
    return np.asarray(2 * (ratio - 1 - np.log(ratio)), dtype=np.float64)


def tweedie_of_rows(truth: Floats, answers: Floats, power: float = TWEEDIE_POWER) -> Floats:
    """2 (y^(2-p) / ((1-p)(2-p)) - y m^(1-p) / (1-p) + m^(2-p) / (2-p)) of a power between 1 and 2, for truths of 0 and more."""
    one, two = 1 - power, 2 - power
    return np.asarray(2 * (truth**two / (one * two) - truth * answers**one / one + answers**two / two), dtype=np.float64)


def expected_poisson(answers: Floats) -> Floats:
    """What `poisson_of_rows` is in the mean while the answers are right and the truth is a Poisson number.

    The sum over the distribution, taken from a table of 2,000 answers between 1e-6 and 200 (error below 1e-5); beyond, its expansions
    -2 m log m for small and 1 + 1 / (6 m) + 1 / (6 m^2) for large answers.
    """
    logs = np.log(answers)
    grid, values = _table()
    inside = np.interp(logs, grid, values)
    large = np.maximum(answers, 1.0)
    beyond = np.where(answers > _MOST, 1 + 1 / (6 * large) + 1 / (6 * large**2), -2 * answers * logs)
    return np.asarray(np.where((answers > _MOST) | (answers < _FEWEST), beyond, inside), dtype=np.float64)


def mean_poisson(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """The mean of `poisson_of_rows`."""
    return mean(poisson_of_rows(truth, answers), weights)


def mean_gamma(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """The mean of `gamma_of_rows`; NaN when a truth is 0."""
    return mean(gamma_of_rows(truth, answers), weights)


def mean_tweedie(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """The mean of `tweedie_of_rows` with the power `TWEEDIE_POWER`."""
    return mean(tweedie_of_rows(truth, answers), weights)


def _xlogy(x: Floats, y: Floats) -> Floats:
    return np.asarray(x * np.log(np.where(x == 0, 1.0, y)), dtype=np.float64)


def _expected_one(answer: float) -> float:
    """The sum over all numbers that are probable enough to matter."""
    most = int(answer + 12 * math.sqrt(answer) + 30)
    numbers = np.arange(most, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log(numbers[1:]))])
    shares = np.exp(numbers * math.log(answer) - answer - logs)
    return float(shares @ poisson_of_rows(numbers, np.full(most, answer)))


@cache
def _table() -> tuple[Floats, Floats]:
    grid = np.linspace(math.log(_FEWEST), math.log(_MOST), 2_000)
    return grid, np.array([_expected_one(answer) for answer in np.exp(grid)])
