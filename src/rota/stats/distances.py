"""Distances between two histograms on the same bins; each accepts counts or shares and is 0 when the shares agree.

They describe how far two distributions lie apart and decide nothing: what is far is the business of `drift`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput


def psi(reference: ArrayLike, current: ArrayLike, *, floor: float = 1e-4) -> float:
    """Population stability index: sum (q - p) ln(q / p) (Siddiqi, 2006, p. 136); shares below `floor` count as `floor`."""
    p, q = (np.maximum(shares(counts), floor) for counts in (reference, current))
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen-Shannon distance in 0..1: the root of the divergence in bits (Lin, 1991; Endres and Schindelin, 2003)."""
    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    return math.sqrt(max((_entropy_to(p, middle) + _entropy_to(q, middle)) / 2, 0.0))


def l_infinity(reference: ArrayLike, current: ArrayLike) -> float:
    """The largest difference of a bin's share, in 0..1."""
    return float(np.max(np.abs(shares(reference) - shares(current))))


def ks(reference: ArrayLike, current: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance over ordered bins: the largest difference of the cumulated shares, in 0..1.

    A lower bound of the distance on raw values; the null bin comes first, so a flood of nulls counts fully.
    """
    return float(np.max(np.abs(np.cumsum(shares(reference) - shares(current)))))


def shares(counts: ArrayLike) -> NDArray[np.float64]:
    """Counts divided by their sum; raises `InvalidInput` for a histogram without rows."""
    numbers = np.asarray(counts, dtype=np.float64)
    total = numbers.sum()
    if not total > 0:
        raise InvalidInput("a histogram without rows has no shares; leave empty slices out")
    return np.asarray(numbers / total)


def _entropy_to(p: NDArray[np.float64], middle: NDArray[np.float64]) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / middle[some])))
