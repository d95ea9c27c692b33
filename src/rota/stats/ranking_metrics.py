"""Metrics of rankings: how far up the relevant rows of each group stand when a group is ordered by its answers.

`truth` (rows,) is the relevance, 0 or more, `answers` (rows,) scores, `groups` (rows,) says which rows are ranked together (None: nothing is
defined, NaN), `weights` (rows,) or None; a group counts by the mean weight of its rows. A group in which nothing is relevant counts 0, as
in scikit-learn's `ndcg_score` and in TREC's evaluation; one row alone is a group as well.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from rota.stats import metrics
from rota.stats.weighting import mean

Floats = NDArray[np.float64]
AT = 10
"""The place down to which `ndcg_at_10` looks."""


def ndcg(truth: Floats, answers: Floats, groups: NDArray[np.generic] | None, weights: Floats | None = None) -> float:
    """Mean normalised discounted cumulative gain (Jarvelin and Kekalainen, 2002) with the relevance itself as gain.

    Rows with equal scores share their mean gain (McSherry and Najork, 2008), as scikit-learn's `ndcg_score` does.
    """
    return _mean(ndcg_of_group, truth, answers, groups, weights)


def ndcg_at_10(truth: Floats, answers: Floats, groups: NDArray[np.generic] | None, weights: Floats | None = None) -> float:
    """`ndcg` of the first 10 places."""
    return _mean(lambda relevance, scores: ndcg_of_group(relevance, scores, most=AT), truth, answers, groups, weights)


def reciprocal_rank(truth: Floats, answers: Floats, groups: NDArray[np.generic] | None, weights: Floats | None = None) -> float:
    """Mean of 1 / place of the first relevant row (MRR; Voorhees, 1999); equal scores stand at the last of their places."""
    return _mean(_reciprocal_rank, truth, answers, groups, weights)


def average_precision(truth: Floats, answers: Floats, groups: NDArray[np.generic] | None, weights: Floats | None = None) -> float:
    """Mean average precision (MAP) of the groups; a row with a relevance above 0 is relevant."""
    return _mean(_average_precision, truth, answers, groups, weights)


def loss_of_rows(truth: Floats, answers: Floats, groups: NDArray[np.generic] | None) -> Floats:
    """1 - NDCG of its group for each row; NaN without groups."""
    found = np.full(len(truth), np.nan)
    for rows in _of_groups(groups):
        found[rows] = 1 - ndcg_of_group(truth[rows], answers[rows])
    return found


def ndcg_of_group(relevance: Floats, scores: Floats, *, most: int | None = None) -> float:
    """The gain of one group over that of its best order, down to the place `most`; 0 where nothing is relevant."""
    discounts = 1 / np.log2(np.arange(len(scores)) + 2.0)
    if most is not None:
        discounts[most:] = 0
    best = float(np.sort(relevance)[::-1] @ discounts)
    return min(_gain(relevance, scores, discounts) / best, 1.0) if best else 0.0


def rank_correlation(one: Floats, other: Floats) -> float:
    """How alike two scores order the same rows (Spearman, 1904): 1 the same order, 0 none, -1 the opposite; NaN where a score is one value.

    Equal scores share their mean place.
    """
    places = [_places(each) - (len(each) + 1) / 2 for each in (one, other)]
    size = float(np.sqrt((places[0] ** 2).sum() * (places[1] ** 2).sum()))
    return float(places[0] @ places[1]) / size if size else math.nan


def _places(scores: Floats) -> Floats:
    """The place of each score from 1 on, equal ones at their mean."""
    _, tie, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    return np.asarray((ends - (sizes - 1) / 2)[tie], dtype=np.float64)


def _gain(relevance: Floats, scores: Floats, discounts: Floats) -> float:
    """Each set of equal scores has its mean relevance at each of its places."""
    _, tie, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    shared = np.bincount(tie, relevance) / sizes
    ends = np.cumsum(sizes)
    reached = np.concatenate([[0.0], np.cumsum(discounts)])
    return float(shared @ (reached[ends] - reached[ends - sizes]))


def _reciprocal_rank(relevance: Floats, scores: Floats) -> float:
    relevant = relevance > 0
    return 1 / float((scores >= scores[relevant].max()).sum()) if relevant.any() else 0.0


def _average_precision(relevance: Floats, scores: Floats) -> float:
    found = metrics.average_precision((relevance > 0).astype(np.float64), scores)
    return 0.0 if math.isnan(found) else found


def _mean(
    of_group: Callable[[Floats, Floats], float], truth: Floats, answers: Floats, groups: NDArray[np.generic] | None, weights: Floats | None
) -> float:
    places = list(_of_groups(groups))
    values = np.array([of_group(truth[rows], answers[rows]) for rows in places])
    return mean(values, None if weights is None else np.array([weights[rows].mean() for rows in places]))


def _of_groups(groups: NDArray[np.generic] | None) -> Iterator[NDArray[np.int64]]:
    """The places of each group's rows."""
    if groups is None or not len(groups):
        return
    _, number = np.unique(groups, return_inverse=True)
    order = np.argsort(number, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
