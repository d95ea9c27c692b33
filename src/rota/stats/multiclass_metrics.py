"""Metrics of classifiers with several classes.

`truth` is (rows,) positions of classes, -1 for one that the model does not know, `answers` (rows, classes) their probabilities. They agree
with scikit-learn's functions of the same names where those are defined. Nothing is defined without rows (NaN).
"""

import math

import numpy as np
from numpy.typing import NDArray

from rota.stats.metrics import LOG_LOSS_CLIP, roc_auc

Floats = NDArray[np.float64]


def brier_of_rows(truth: Floats, answers: Floats) -> Floats:
    """Squared distance of the probabilities to the class that was true, in 0..2 (Brier, 1950); an unknown class has probability 0."""
    squares = (answers**2).sum(axis=1)
    return np.asarray(squares + 1 - 2 * _of_truth(truth, answers), dtype=np.float64)


def log_loss_of_rows(truth: Floats, answers: Floats) -> Floats:
    """Negative logarithm of the probability of the class that was true, clipped 1e-15 away from 0 and 1."""
    return np.asarray(-np.log(np.clip(_of_truth(truth, answers), LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)), dtype=np.float64)


def brier(truth: Floats, answers: Floats) -> float:
    """Mean of `brier_of_rows`."""
    return float(brier_of_rows(truth, answers).mean()) if len(truth) else math.nan


def log_loss(truth: Floats, answers: Floats) -> float:
    """Mean of `log_loss_of_rows`."""
    return float(log_loss_of_rows(truth, answers).mean()) if len(truth) else math.nan


def accuracy(truth: Floats, answers: Floats) -> float:
    """Share of rows whose likeliest class was true; of equal probabilities the first counts."""
    return float((answers.argmax(axis=1) == truth).mean()) if len(truth) else math.nan


def balanced_accuracy(truth: Floats, answers: Floats) -> float:
    """Mean recall over the classes that occur in the truth."""
    if not len(truth):
        return math.nan
    hits = answers.argmax(axis=1) == truth
    return float(np.mean([hits[truth == each].mean() for each in np.unique(truth)]))


def f1_macro(truth: Floats, answers: Floats) -> float:
    """Mean F1 over the classes that occur in the truth or are answered; a class without a hit counts 0."""
    if not len(truth):
        return math.nan
    answered = answers.argmax(axis=1)
    scores = []
    for each in np.union1d(truth, answered):
        hits = float(((answered == each) & (truth == each)).sum())
        scores.append(2 * hits / float((answered == each).sum() + (truth == each).sum()))
    return float(np.mean(scores))


def roc_auc_ovr(truth: Floats, answers: Floats) -> float:
    """Mean area under the ROC curve of each class against the rest; not defined unless each class occurs, and another one."""
    areas = [roc_auc((truth == place).astype(np.float64), answers[:, place]) for place in range(answers.shape[1])]
    return math.nan if not areas or np.isnan(areas).any() else float(np.mean(areas))


def _of_truth(truth: Floats, answers: Floats) -> Floats:
    """The probability that each row's answer gave to the class that was true."""
    places = truth.astype(np.int64)
    known = answers[np.arange(len(truth)), np.maximum(places, 0)] if len(truth) else np.empty(0)
    return np.asarray(np.where(places >= 0, known, 0.0), dtype=np.float64)
