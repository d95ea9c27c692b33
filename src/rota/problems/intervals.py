"""Confidence intervals of a problem's metrics: by days where rows have moments, by groups where they have groups, else by rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems.problem_type import ProblemType, ScoredRows
from rota.records.time import DAY_US
from rota.stats import bootstrap


def metric_intervals(
    kind: ProblemType,
    rows: ScoredRows,
    *,
    moments_us: NDArray[Any] | None = None,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
    block_us: int = DAY_US,
) -> dict[str, tuple[float, float]]:
    """The bounds between which each metric lies with probability `level`, by the bootstrap.

    `moments_us` (rows,) are microseconds since 1970: rows of one day share what the day was like, and are drawn together; within a day those of
    an hour (`block_us`). Empty with fewer than four days, hours, groups or rows. A metric that lies at its own end in all draws has no width, and
    says no more than its rows do.

    >>> import numpy as np
    >>> from rota.problems.registry import PROBLEMS
    >>> rows = ScoredRows(np.array([0.0, 1.0] * 50), np.array([0.2, 0.7, 0.4, 0.6] * 25))
    >>> low, high = metric_intervals(PROBLEMS["classification"], rows)["brier"]
    >>> low < 0.1125 < high
    True
    """
    blocks = moments_us // block_us if moments_us is not None else rows.groups
    codes = None if rows.groups is None else np.unique(rows.groups, return_inverse=True)[1].astype(np.int64)

    def statistics(places: NDArray[np.int64], draw: NDArray[np.int64]) -> Mapping[str, float]:
        drawn = rows.at(places)
        if codes is not None:  # a group that was drawn twice is two groups
            drawn = ScoredRows(drawn.truth, drawn.answers, drawn.outputs, drawn.weights, codes[places] + (int(codes.max()) + 1) * draw)
        return kind.evaluate(drawn)

    return bootstrap.intervals(statistics, len(rows), blocks=blocks, level=level, draws=draws, seed=seed)
