"""Metrics of classifiers with several classes.

`truth` is (rows,) positions of classes, -1 for one that the model does not know, `answers` (rows, classes) their probabilities, `weights`
(rows,) or None. They agree with scikit-learn's functions of the same names where those are defined. Nothing is defined without rows (NaN).
"""

import math

import numpy as np
from numpy.typing import NDArray

from rota.stats.metrics import LOG_LOSS_CLIP, area_against_rest, roc_auc
from rota.stats.weighting import mean

Floats = NDArray[np.float64]


def together(truth: Floats, answers: Floats, weights: Floats | None = None) -> dict[str, float]:
    """What `accuracy`, `balanced_accuracy`, `f1_macro`, `log_loss` and `brier` give, from one confusion and one look at the true classes."""
    counts, of_truth = confusion(truth, answers, weights), _of_truth(truth, answers)
    everything = float(counts.sum())
    return {
        "accuracy": float(np.trace(counts[:-1])) / everything if everything else math.nan,
        "balanced_accuracy": _balanced(counts),
        "f1_macro": _f1(counts),
        "log_loss": mean(_log_loss_of(of_truth), weights),
        "brier": mean(_brier_of(of_truth, answers), weights),
    }


def brier_of_rows(truth: Floats, answers: Floats) -> Floats:
    """Squared distance of the probabilities to the class that was true, in 0..2 (Brier, 1950); an unknown class has probability 0."""
    return _brier_of(_of_truth(truth, answers), answers)


def log_loss_of_rows(truth: Floats, answers: Floats) -> Floats:
    """Negative logarithm of the probability of the class that was true, clipped 2.2e-16 away from 0 and 1."""
    return _log_loss_of(_of_truth(truth, answers))


def brier(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean of `brier_of_rows`."""
    return mean(brier_of_rows(truth, answers), weights)


def log_loss(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean of `log_loss_of_rows`."""
    return mean(log_loss_of_rows(truth, answers), weights)


def accuracy(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Share of rows whose likeliest class was true; of equal probabilities the first counts."""
    return mean(answers.argmax(axis=1) == truth, weights) if len(truth) else math.nan


def balanced_accuracy(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean recall over the classes that occur in the truth."""
    return _balanced(confusion(truth, answers, weights))


def f1_macro(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean F1 over the classes that occur in the truth or are answered; a class without a hit counts 0."""
    return _f1(confusion(truth, answers, weights))


def roc_auc_ovr(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Mean area under the ROC curve of each class against the rest; not defined unless each class occurs, and another one."""
    if weights is None:
        areas = [area_against_rest(answers[:, place], np.flatnonzero(truth == place)) for place in range(answers.shape[1])]
    else:
        areas = [roc_auc(truth == place, answers[:, place], weights) for place in range(answers.shape[1])]
    return math.nan if not areas or np.isnan(areas).any() else float(np.mean(areas))


def confusion(truth: Floats, answers: Floats, weights: Floats | None = None) -> Floats:
    """Rows by true class and by likeliest class, (classes + 1, classes + 1); the last line is of classes that the model does not know."""
    classes = answers.shape[1] + 1
    if not len(truth):
        return np.zeros((classes, classes))
    known = truth.astype(np.int64)
    cells = np.where(known < 0, classes - 1, known) * classes + answers.argmax(axis=1)
    return np.asarray(np.bincount(cells, weights, minlength=classes * classes), dtype=np.float64).reshape(classes, classes)


def _balanced(counts: Floats) -> float:
    in_truth = counts.sum(axis=1)
    occurs = in_truth > 0
    return float(np.mean(np.diagonal(counts)[occurs] / in_truth[occurs])) if occurs.any() else math.nan


def _f1(counts: Floats) -> float:
    both = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = both > 0
    return float(np.mean(2 * np.diagonal(counts)[occurs] / both[occurs])) if occurs.any() else math.nan


def _brier_of(of_truth: Floats, answers: Floats) -> Floats:
    squares: Floats = np.einsum("ij,ij->i", answers, answers)
    squares += 1
    squares -= 2 * of_truth
    return squares


def _log_loss_of(of_truth: Floats) -> Floats:
    clipped = np.clip(of_truth, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return np.negative(np.log(clipped, out=clipped), out=clipped)


def _of_truth(truth: Floats, answers: Floats) -> Floats:
    """The probability that each row's answer gave to the class that was true."""
    places = truth.astype(np.int64)
    known = answers[np.arange(len(truth)), np.maximum(places, 0)] if len(truth) else np.empty(0)
    return np.asarray(np.where(places >= 0, known, 0.0), dtype=np.float64)
