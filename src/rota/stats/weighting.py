"""Means over rows and cells, with and without weights of rows; NaN cells are not known and left out."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mean(values: NDArray[Any], weights: Floats | None = None) -> float:
    """The mean of values (rows,), weighted where rows have weights; NaN without rows or where all weights are 0."""
    if weights is None:
        return float(np.mean(values)) if len(values) else math.nan
    total = float(weights.sum())
    return float(np.dot(values, weights)) / total if total else math.nan


def total(values: NDArray[Any], weights: Floats | None = None) -> float:
    """The sum of values (rows,), each times its weight where rows have weights."""
    return float(np.sum(values)) if weights is None else float(np.dot(values, weights))


def chosen(weights: Floats | None, rows: NDArray[np.bool_]) -> Floats | None:
    """The weights of the rows that are true in a mask."""
    return None if weights is None else weights[rows]


def mean_of_cells(cells: Floats, weights: Floats | None = None) -> float:
    """The mean of all cells (rows, columns) that are no NaN, weighted where rows have weights."""
    known = ~np.isnan(cells)
    return mean(cells[known], None if weights is None else np.broadcast_to(weights[:, None], cells.shape)[known])


def mean_of_known(cells: Floats) -> Floats:
    """The mean of each row over its cells that are no NaN; 0 of a row without any."""
    known = (~np.isnan(cells)).sum(axis=1)
    return np.asarray(np.nansum(cells, axis=1) / np.maximum(known, 1), dtype=np.float64)
