"""Confidence intervals of any statistic of rows by the bootstrap (Efron, 1979), of whole blocks where rows of a block are not independent.

Blocks (days, groups) are drawn with replacement as they are (Carlstein, 1986; Cameron, Gelbach and Miller, 2008). The interval is the
percentile one, with its tails moved outwards for few blocks (Hesterberg, 2015, "What teachers should know about the bootstrap", section 4):
the percentiles Phi(sqrt(n / (n - 1)) t) instead of alpha / 2 and 1 - alpha / 2, t the quantiles of Student's distribution with n - 1 degrees.
"""

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.stats.concept_drift import student_quantile

LEAST_BLOCKS = 4
"""Of fewer blocks nothing is said."""
MOST_ROWS = 100_000
"""Rows of a draw; of more rows so many are drawn, which gives an interval that is wider than it need be."""
Draw = tuple[NDArray[np.int64], NDArray[np.int64]]


def intervals(
    statistics: Callable[[NDArray[np.int64], NDArray[np.int64]], Mapping[str, float]],
    rows: int,
    *,
    blocks: NDArray[Any] | None = None,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Bounds of each statistic; empty with fewer than four blocks (of rows, without `blocks`).

    `statistics` gives its numbers for the places of drawn rows and, beside each, the number of the drawn block that it came with (a block may be
    drawn twice). A statistic that less than half of the draws define has no bounds. Costs `draws` times the statistics. The same seed gives the same.
    """
    random = np.random.default_rng(seed)
    number = None if blocks is None else np.unique(blocks, return_inverse=True)[1]
    count = rows if number is None else int(number.max(initial=-1)) + 1
    if count < LEAST_BLOCKS:
        return {}
    members = None if number is None else np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        for name, value in statistics(*_drawn(random, count, members, rows)).items():
            found.setdefault(name, []).append(value)
    low = _tail(count, level)
    kept = {name: np.array(values) for name, values in found.items() if 2 * len(values) >= draws}
    return {name: (float(np.quantile(values, low)), float(np.quantile(values, 1 - low))) for name, values in kept.items()}


def _drawn(random: np.random.Generator, count: int, members: list[NDArray[np.int64]] | None, rows: int) -> Draw:
    """Places of rows, and the number of the draw of their block."""
    if members is None:
        places = random.integers(0, count, min(rows, MOST_ROWS))
        return places, np.arange(len(places))
    chosen = random.integers(0, count, count)
    parts = [members[each] for each in chosen]
    places, draw = np.concatenate(parts), np.repeat(np.arange(count), [len(part) for part in parts])
    if len(places) <= MOST_ROWS:
        return places, draw
    some = np.sort(random.choice(len(places), MOST_ROWS, replace=False))
    return places[some], draw[some]


def _tail(count: int, level: float) -> float:
    """The share of draws beyond each bound."""
    if count > 1_000:
        return (1 - level) / 2
    wider = math.sqrt(count / (count - 1)) * student_quantile((1 + level) / 2, count - 1)
    return NormalDist().cdf(-wider)
