"""Metrics of a model on labelled rows: plain functions of (truth, answers); `rota.problems` has the tables of their names.

`truth` is 0/1 and `answers` the probability of 1 for classification; both are numbers for regression. A metric that is not
defined on the rows at hand (no rows, AUC with one class) is NaN.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LOG_LOSS_CLIP = 1e-15


def roc_auc(truth: Floats, answers: Floats) -> float:
    """Area under the ROC curve = the share of (positive, negative) pairs in the right order, ties half (Mann and Whitney, 1947)."""
    positives = float(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return math.nan
    rank_sum = float(_average_ranks(answers)[truth == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def average_precision(truth: Floats, answers: Floats) -> float:
    """Sum of precision times the recall gained at each distinct answer, without interpolation."""
    if not truth.sum():
        return math.nan
    order = np.argsort(-answers, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(answers[order])), len(order) - 1)
    found = np.cumsum(truth[order])[last_of_tie]
    return float(np.sum(np.diff(found, prepend=0.0) * found / (last_of_tie + 1)) / found[-1])


def log_loss(truth: Floats, answers: Floats) -> float:
    """Mean negative log-likelihood; answers are clipped 1e-15 away from 0 and 1, so one certain mistake costs 34.5, not infinity."""
    if not len(truth):
        return math.nan
    clipped = np.clip(answers, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return float(-np.mean(np.where(truth == 1, np.log(clipped), np.log1p(-clipped))))


def brier(truth: Floats, answers: Floats) -> float:
    """Mean squared difference of probability and outcome (Brier, 1950)."""
    return float(np.mean((answers - truth) ** 2)) if len(truth) else math.nan


def accuracy(truth: Floats, answers: Floats) -> float:
    """Share of rows on the right side of 0.5; exactly 0.5 answers 1."""
    return float(np.mean((answers >= 0.5) == (truth == 1))) if len(truth) else math.nan


def expected_calibration_error(truth: Floats, answers: Floats, *, bins: int = 10) -> float:
    """Mean |mean answer - share of positives| over equal-width bins, weighted by rows (Naeini, Cooper and Hauskrecht, 2015)."""
    if not len(truth):
        return math.nan
    place = np.minimum((answers * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=answers - truth, minlength=bins)
    return float(np.abs(gap).sum() / len(truth))


def rmse(truth: Floats, answers: Floats) -> float:
    """Root of the mean squared error."""
    return math.sqrt(np.mean((answers - truth) ** 2)) if len(truth) else math.nan


def mae(truth: Floats, answers: Floats) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(answers - truth))) if len(truth) else math.nan


def r2(truth: Floats, answers: Floats) -> float:
    """Share of the variance explained; undefined when the truth does not vary."""
    spread = float(np.sum((truth - truth.mean()) ** 2)) if len(truth) else 0.0
    return 1 - float(np.sum((answers - truth) ** 2)) / spread if spread else math.nan


def _average_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[group], dtype=np.float64)
