"""Metrics of a model on labelled rows: plain functions of (truth, answers, weights); `rota.problems` has the tables of their names.

`truth` is 0/1 and `answers` the probability of 1 (for `roc_auc` and `average_precision` any score) for classification; both are numbers for
regression. `weights` (rows,) count a row so many times as scikit-learn's `sample_weight` does; None: each once. A metric that is not
defined on the rows at hand (no rows, AUC with one class, weights that are all 0) is NaN.
"""

import math

import numpy as np
from numpy.typing import NDArray

from rota.stats.weighting import mean

Floats = NDArray[np.float64]
LOG_LOSS_CLIP = float(np.finfo(np.float64).eps)
"""How far from 0 and 1 a probability is kept where its logarithm is taken: 2.2e-16, as scikit-learn does."""


def roc_auc(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve = the share of (positive, negative) pairs in the right order, ties half (Mann and Whitney, 1947)."""
    positive = truth == 1
    if weights is not None:
        return _weighted_roc_auc(positive, answers, weights)
    return _ordered_pairs(np.sort(answers[positive]), np.sort(answers[~positive]))


def area_against_rest(answers: Floats, positives: NDArray[np.int64]) -> float:
    """`roc_auc` of the rows at `positives` against all others, where these are few: from one sorting of all, without taking the others out.

    The pairs of positives among themselves are half in the right order, whatever they are: n^2 / 2 of them are taken off.
    """
    n, others = len(positives), len(answers) - len(positives)
    if not n or not others:
        return math.nan
    everyone, above = np.sort(answers), np.sort(answers[positives])
    below = np.searchsorted(everyone, above, "left")
    is_tied = everyone[np.minimum(below + 1, len(everyone) - 1)] == above
    is_tied &= below + 1 < len(everyone)
    up_to = np.searchsorted(everyone, above, "right") if is_tied.any() else below + 1
    right = float(below.sum(dtype=np.float64) + up_to.sum(dtype=np.float64)) / 2 - n * n / 2
    return right / n / others


def ranked_together(truth: Floats, answers: Floats) -> dict[str, float]:
    """What `roc_auc` and `average_precision` give of rows without weights, from one sorting of the positives and one of the others."""
    positive = truth == 1
    above, below = np.sort(answers[positive]), np.sort(answers[~positive])
    return {"roc_auc": _ordered_pairs(above, below), "average_precision": _mean_precision(above, below)}


def _ordered_pairs(above: Floats, below: Floats) -> float:
    """The share of (positive, negative) pairs in the right order out of the ascending answers of both, ties half."""
    if not len(above) or not len(below):
        return math.nan
    if len(above) <= len(below):
        right = float(np.searchsorted(below, above, "left").sum(dtype=np.float64) + np.searchsorted(below, above, "right").sum(dtype=np.float64))
        return right / 2 / len(above) / len(below)
    wrong = float(np.searchsorted(above, below, "left").sum(dtype=np.float64) + np.searchsorted(above, below, "right").sum(dtype=np.float64))
    return 1 - wrong / 2 / len(above) / len(below)


def average_precision(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Sum of precision times the recall gained at each distinct answer, without interpolation."""
    if weights is None:
        positive = truth == 1
        return _mean_precision(np.sort(answers[positive]), np.sort(answers[~positive]))
    order = np.argsort(-answers, kind="stable")
    counted = weights[order]
    hits = truth[order] * counted
    if not hits.sum():
        return math.nan
    last_of_tie = np.append(np.flatnonzero(np.diff(answers[order])), len(order) - 1)
    found, seen = np.cumsum(hits)[last_of_tie], np.cumsum(counted)[last_of_tie]
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return float(np.sum(np.diff(found, prepend=0.0) * precision) / found[-1])


def _mean_precision(above: Floats, below: Floats) -> float:
    """The mean, over the positives, of the precision among all rows that are answered as high, out of the ascending answers of both.

    Each positive gains 1 / positives of recall at the precision of its answer, which is the sum that `average_precision` asks for.
    """
    if not len(above):
        return math.nan
    hits = len(above) - np.searchsorted(above, above, "left")
    return float(np.mean(hits / (hits + len(below) - np.searchsorted(below, above, "left"))))


def log_loss(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean negative log-likelihood; answers are clipped 2.2e-16 away from 0 and 1, so one certain mistake costs 36.04, not infinity."""
    clipped = np.clip(answers, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return mean(-np.where(truth == 1, np.log(clipped), np.log1p(-clipped)), weights)


def brier(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean squared difference of probability and outcome (Brier, 1950)."""
    return mean((answers - truth) ** 2, weights)


def accuracy(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Share of rows on the right side of 0.5; exactly 0.5 answers 1."""
    return mean((answers >= 0.5) == (truth == 1), weights)


def expected_calibration_error(truth: Floats, answers: Floats, weights: Floats | None = None, *, bins: int = 10) -> float:
    """Mean |mean answer - share of positives| over equal-width bins, weighted by rows (Naeini, Cooper and Hauskrecht, 2015)."""
    counted = float(len(truth)) if weights is None else float(weights.sum())
    if not counted:
        return math.nan
    place = np.minimum((answers * bins).astype(np.int64), bins - 1)
    off = answers - truth
    gap = np.bincount(place, weights=off if weights is None else off * weights, minlength=bins)
    return float(np.abs(gap).sum() / counted)


def rmse(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Root of the mean squared error."""
    return math.sqrt(mean((answers - truth) ** 2, weights))


def mae(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean absolute error."""
    return mean(np.abs(answers - truth), weights)


def r2(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Share of the variance explained; undefined when the truth does not vary."""
    if not len(truth) or truth.min() == truth.max():
        return math.nan
    spread = mean((truth - mean(truth, weights)) ** 2, weights)
    return 1 - mean((answers - truth) ** 2, weights) / spread if spread else math.nan


def _weighted_roc_auc(positive: NDArray[np.bool_], answers: Floats, weights: Floats) -> float:
    """Each pair counts by the product of its weights."""
    order = np.argsort(answers, kind="stable")
    above, below = np.where(positive, weights, 0.0)[order], np.where(positive, 0.0, weights)[order]
    if not above.sum() or not below.sum():
        return math.nan
    last_of_tie = np.append(np.flatnonzero(np.diff(answers[order])), len(order) - 1)
    reached = np.cumsum(below)[last_of_tie]
    gained = np.diff(np.cumsum(above)[last_of_tie], prepend=0.0)
    passed = reached - np.diff(reached, prepend=0.0) / 2
    return float(np.sum(gained * passed) / above.sum() / below.sum())
