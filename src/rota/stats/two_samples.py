"""Two samples of raw values: exact distances, and p values for rows that are independent of each other.

`distances` and `drift` work on counts in bins; here every value is looked at, so the figures are those of a statistics package. Nulls are
no values: leave them out, and compare their share by `chi_square`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput
from rota.stats.bins import Counts

Floats = NDArray[np.float64]

LEAST_EXPECTED = 5.0
"""Rows that a cell of a chi-square test expects at least (Cochran, 1954); rarer values are taken together."""


@dataclass(frozen=True, slots=True)
class SortedSamples:
    """Numbers of two samples, each ascending."""

    reference: Floats
    current: Floats

    @property
    def ks(self) -> float:
        """Kolmogorov-Smirnov distance: the largest difference of the cumulated shares, in 0..1."""
        fewer, more = sorted((self.reference, self.current), key=len)
        # Between two values of the smaller sample its share stands still and the other's only grows: the largest difference is at their ends.
        upto, below = (np.searchsorted(more, fewer, side=side) / len(more) for side in ("right", "left"))
        own_upto, own_below = (np.searchsorted(fewer, fewer, side=side) / len(fewer) for side in ("right", "left"))
        return float(max(np.abs(upto - own_upto).max(), np.abs(below - own_below).max()))

    @property
    def wasserstein(self) -> float:
        """First Wasserstein distance, in the unit of the numbers: the mean distance of equal quantiles (Vallender, 1974)."""
        n, m = len(self.reference), len(self.current)
        steps = np.concatenate([np.arange(n + 1) * m, np.arange(m) * n])  # the levels i / n and j / m as whole numbers of 1 / (n m)
        steps.sort(kind="stable")
        levels = steps[:-1]
        return float(np.abs(self.reference[levels // m] - self.current[levels // n]) @ (np.diff(steps) / (n * m)))


def sort_samples(reference: ArrayLike, current: ArrayLike) -> SortedSamples:
    """Sort two samples of numbers, (n,) and (m,); raises `InvalidInput` when one is empty or holds NaN.

    Infinities are values like others for `ks`; `wasserstein` is infinite or NaN with them.
    """
    first, second = (np.sort(np.asarray(values, dtype=np.float64)) for values in (reference, current))
    for name, values in (("reference", first), ("current", second)):
        if not len(values) or np.isnan(values[-1]):  # NaN is sorted to the end
            raise InvalidInput(f"the {name} sample has {len(values)} values; give at least one, and leave NaN out")
    return SortedSamples(first, second)


def ks_p_value(distance: float, reference_rows: int, current_rows: int) -> float:
    """How often independent rows of one distribution lie this far apart: Kolmogorov's limit (Smirnov, 1948), too large where values repeat."""
    scaled = distance * math.sqrt(reference_rows * current_rows / (reference_rows + current_rows))
    if scaled < 0.2:
        return 1.0  # the sum below needs many terms there, and is 1 to twelve digits
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def ks_found(p_value: float, reference_rows: int, current_rows: int) -> float:
    """The smallest Kolmogorov-Smirnov distance whose p value is at most this: what so many rows can show."""
    return min(1.0, math.sqrt(math.log(2 / p_value) / 2 * (reference_rows + current_rows) / (reference_rows * current_rows)))


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """Pearson's statistic of two rows of counts, its degrees of freedom and p value, which is 1 without any."""

    statistic: float
    degrees: int
    p_value: float


def chi_square(reference: Counts, current: Counts) -> ChiSquare:
    """Whether two samples of named values have the same shares (Pearson, 1900), by counts (B,) of the same B values, without a correction.

    Values that neither sample has are left out. With `pooled` counts every cell expects enough rows for the p value to hold.
    """
    table = np.stack([np.asarray(counts, dtype=np.float64) for counts in (reference, current)])
    table = table[:, table.sum(axis=0) > 0]
    rows = table.sum(axis=1, keepdims=True)
    if not (rows > 0).all():
        raise InvalidInput("a sample without rows has no shares; leave it out")
    expected = rows * table.sum(axis=0) / table.sum()
    statistic, degrees = float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1
    return ChiSquare(statistic, degrees, upper_gamma(degrees / 2, statistic / 2) if degrees else 1.0)


def pooled(reference: Counts, current: Counts) -> tuple[Counts, Counts]:
    """The counts with values together whose cells expect fewer than LEAST_EXPECTED rows; they are the last cell."""
    both = np.stack([reference, current])
    total = both.sum(axis=0)
    rare = total * (both.sum(axis=1).min() / max(1, both.sum())) < LEAST_EXPECTED
    kept = np.concatenate([both[:, ~rare], both[:, rare].sum(axis=1, keepdims=True)], axis=1)
    return kept[0], kept[1]


def upper_gamma(shape: float, beyond: float) -> float:
    """Regularized upper incomplete gamma function: series below, continued fraction above (Press et al., 2007, section 6.2)."""
    if beyond <= 0:
        return 1.0
    front = math.exp(shape * math.log(beyond) - beyond - math.lgamma(shape))
    return 1 - front * _gamma_series(shape, beyond) if beyond < shape + 1 else front * _gamma_fraction(shape, beyond)


def _gamma_series(shape: float, beyond: float) -> float:
    term = total = 1 / shape
    step = shape
    while term > total * 1e-16:
        step += 1
        term *= beyond / step
        total += term
    return total


def _gamma_fraction(shape: float, beyond: float) -> float:
    """Lentz's method."""
    denominator = beyond + 1 - shape
    c, d = 1e300, 1 / denominator
    value = d
    for i in range(1, 100_000):
        factor = -i * (i - shape)
        denominator += 2
        d = 1 / (factor * d + denominator or 1e-300)
        c = denominator + factor / c or 1e-300
        value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value
