"""Agreement of clusters with labels: `truth` and `clusters` (rows,) are names of any kind. Rows have no weights, as in scikit-learn."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.stats.weighting import mean

Floats = NDArray[np.float64]


def adjusted_rand(truth: NDArray[Any], clusters: NDArray[Any]) -> float:
    """Pairs of rows that both put together or apart, beyond chance: 1 is the same partition, 0 chance (Hubert and Arabie, 1985, eq. 5)."""
    if not len(truth):
        return math.nan
    table = _contingency(truth, clusters)
    rows = table.sum()
    pairs, all_pairs = _pairs(table), _pairs(np.array([rows]))
    in_truth, in_clusters = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    if in_truth == in_clusters == pairs:
        return 1.0
    expected = in_truth * in_clusters / all_pairs
    return float((pairs - expected) / ((in_truth + in_clusters) / 2 - expected))


def normalized_mutual_information(truth: NDArray[Any], clusters: NDArray[Any]) -> float:
    """Mutual information over the arithmetic mean of both entropies (Vinh, Epps and Bailey, 2010); 1 where both are one cluster."""
    if not len(truth):
        return math.nan
    table = _contingency(truth, clusters)
    shares = table / table.sum()
    entropies = _entropy(shares.sum(axis=1)), _entropy(shares.sum(axis=0))
    if max(entropies) == 0:
        return 1.0
    information = sum(entropies) - _entropy(shares.ravel())
    return float(max(information, 0.0) / (sum(entropies) / 2))


def purity(truth: NDArray[Any], clusters: NDArray[Any]) -> float:
    """Mean share of rows with the own label among the rows of the own cluster."""
    return mean(1 - impurity_of_rows(truth, clusters))


def impurity_of_rows(truth: NDArray[Any], clusters: NDArray[Any]) -> Floats:
    """Of each row the share of rows in its cluster that have another label."""
    if not len(truth):
        return np.empty(0)
    label, cluster = _numbered(truth), _numbered(clusters)
    table = _contingency(truth, clusters)
    return np.asarray(1 - table[label, cluster] / table.sum(axis=0)[cluster], dtype=np.float64)


def _contingency(truth: NDArray[Any], clusters: NDArray[Any]) -> Floats:
    label, cluster = _numbered(truth), _numbered(clusters)
    shape = int(label.max()) + 1, int(cluster.max()) + 1
    return np.asarray(np.bincount(label * shape[1] + cluster, minlength=shape[0] * shape[1]), dtype=np.float64).reshape(shape)


def _numbered(names: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(np.unique(names.astype(str), return_inverse=True)[1], dtype=np.int64)


def _pairs(counts: Floats) -> float:
    return float((counts * (counts - 1)).sum() / 2)


def _entropy(shares: Floats) -> float:
    some = shares[shares > 0]
    return 0.0 if len(some) == 1 else float(-(some * np.log(some)).sum())
