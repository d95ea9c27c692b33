"""Metrics of predicted quantiles: `truth` (rows,), `answers` (rows, levels) beside `levels` in 0..1, `weights` (rows,) or None."""

import math

import numpy as np
from numpy.typing import NDArray

from rota.stats.weighting import mean

Floats = NDArray[np.float64]


def pinball_of_rows(truth: Floats, answers: Floats, levels: Floats) -> Floats:
    """The pinball loss of each row, the mean over its levels (Koenker and Bassett, 1978; scikit-learn's `mean_pinball_loss` of each)."""
    above = truth[:, None] - answers
    return np.asarray(np.maximum(levels * above, (levels - 1) * above).mean(axis=1), dtype=np.float64)


def pinball(truth: Floats, answers: Floats, levels: Floats, weights: Floats | None = None) -> float:
    """The mean of `pinball_of_rows`."""
    return mean(pinball_of_rows(truth, answers, levels), weights)


def coverage(truth: Floats, answers: Floats, levels: Floats, weights: Floats | None = None) -> float:
    """Share of rows whose truth lies between the outermost quantiles, ends included; NaN with less than two levels."""
    if len(levels) < 2:
        return math.nan
    low, high = answers[:, levels.argmin()], answers[:, levels.argmax()]
    return mean(np.asarray((truth >= low) & (truth <= high)), weights)


def coverage_error(truth: Floats, answers: Floats, levels: Floats, weights: Floats | None = None) -> float:
    """How far the share of `coverage` is from what the outermost levels promise."""
    return abs(coverage(truth, answers, levels, weights) - float(levels.max(initial=-np.inf) - levels.min(initial=np.inf)))


def interval_width(_truth: Floats, answers: Floats, levels: Floats, weights: Floats | None = None) -> float:
    """Mean distance of the outermost quantiles; NaN with less than two levels."""
    return mean(answers[:, levels.argmax()] - answers[:, levels.argmin()], weights) if len(levels) > 1 else math.nan


def crossing(_truth: Floats, answers: Floats, levels: Floats, weights: Floats | None = None) -> float:
    """Share of rows in which a quantile of a higher level lies below one of a lower level."""
    crossed = np.diff(answers[:, np.argsort(levels, kind="stable")], axis=1) < 0
    return mean(np.asarray(crossed.any(axis=1)), weights)
