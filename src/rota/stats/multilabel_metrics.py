"""Metrics of models that say of each of several labels how probable it is.

`truth` (rows, labels) is 0/1, NaN where that label of the row is not known yet, `answers` (rows, labels) probabilities, `weights` (rows,) or
None. A label counts as answered from 0.5 on. Cells that are not known are left out; where all are known, the functions agree with
scikit-learn's of the same names (`f1_score` with `average="micro"` and `"macro"`, `zero_division=0`). Nothing is defined without rows (NaN).
"""

import math

import numpy as np
from numpy.typing import NDArray

from rota.stats import metrics
from rota.stats.metrics import LOG_LOSS_CLIP
from rota.stats.weighting import chosen, mean, mean_of_cells, mean_of_known

Floats = NDArray[np.float64]


def subset_accuracy(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Share of rows each of whose known labels is answered rightly (scikit-learn's `accuracy_score` of several labels)."""
    return mean(np.asarray(~_wrong(truth, answers).any(axis=1)), weights)


def hamming_loss(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Share of the known cells that are answered wrongly."""
    return mean_of_cells(np.where(np.isnan(truth), np.nan, _wrong(truth, answers)), weights)


def f1_micro(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """F1 of all known cells together; 0 where no label is true and none answered."""
    hits, both = _hits(truth, answers, weights)
    if not _weigh(truth, weights):
        return math.nan
    return float(2 * hits.sum() / both.sum()) if both.sum() else 0.0


def f1_macro(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean F1 over all labels; one that is never true and never answered counts 0."""
    hits, both = _hits(truth, answers, weights)
    return float(np.mean(np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0))) if _weigh(truth, weights) else math.nan


def _weigh(truth: Floats, weights: Floats | None) -> bool:
    """Whether there are rows that count."""
    return bool(len(truth)) and (weights is None or bool(weights.any()))


def roc_auc(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean area under the ROC curve over the labels that are true of some rows and not of others; NaN when there is none."""
    known = ~np.isnan(truth).T
    areas = [metrics.roc_auc(truth[rows, place], answers[rows, place], chosen(weights, rows)) for place, rows in enumerate(known)]
    defined = [area for area in areas if not math.isnan(area)]
    return float(np.mean(defined)) if defined else math.nan


def log_loss(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean negative log-likelihood of the known cells."""
    return mean_of_cells(_log_loss_of_cells(truth, answers), weights)


def brier(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean squared difference of probability and outcome over the known cells (Brier, 1950)."""
    return mean_of_cells((answers - truth) ** 2, weights)


def log_loss_of_rows(truth: Floats, answers: Floats) -> Floats:
    """Mean negative log-likelihood of each row's known labels."""
    return mean_of_known(_log_loss_of_cells(truth, answers))


def _log_loss_of_cells(truth: Floats, answers: Floats) -> Floats:
    sure = np.clip(answers, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return np.asarray(-(truth * np.log(sure) + (1 - truth) * np.log1p(-sure)), dtype=np.float64)


def _wrong(truth: Floats, answers: Floats) -> NDArray[np.bool_]:
    return np.asarray(((answers >= 0.5) != (truth == 1)) & ~np.isnan(truth))


def _hits(truth: Floats, answers: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Of each label: the cells that are true and answered, and the true ones plus the answered ones."""
    counted = ~np.isnan(truth) * (1.0 if weights is None else weights[:, None])
    true, answered = truth == 1, answers >= 0.5
    return (counted * (true & answered)).sum(axis=0), (counted * true).sum(axis=0) + (counted * answered).sum(axis=0)
