"""Windowed min, max and last offline: equal to what the online tiles answer, for any window, at any moment, late rows and all.

Every row stands in the window of a contiguous stretch of its entity's questions in order of time: from the first one that
knows it, to the last one before it leaves the window or a correction replaces it. So the rows are ranked (largest rank wins)
and each lays its rank on its stretch: on the two stretches of a power of two that cover it, level by level, and then each
level is handed down to the next. That costs as many steps as rows, plus questions times levels; no window is walked.
"""

import numpy as np
import polars as pl

from rota.manage.features.join.join_input import ARRIVED, ENTITY, EVENT, SIGN, Question
from rota.manage.features.online.window_view import folded_slots, values_taken
from rota.manage.features.rows.source_table import CREATED, REPLACED, REPLACED_EVENT
from rota.records.data import Feature
from rota.records.time import micros

_AT, _START, _FIRST, _LAST, _UNTIL, _VALUE, _ASKED = "_at", "_start", "_first", "_last", "_until", "_value", "_asked"
_NONE = -1


class Extremes:
    """The rows and questions of one view, ready for any of its windows."""

    def __init__(self, question: Question) -> None:
        self._question = question
        known = question.found.filter(pl.col(SIGN) > 0)
        late = question.as_of == "served"
        until = pl.max_horizontal(REPLACED, REPLACED_EVENT) if late and REPLACED in known.columns else pl.lit(None, dtype=pl.Int64)
        self._rows = known.select(
            ENTITY, EVENT, CREATED, (pl.col(ARRIVED) if late else pl.col(EVENT)).alias(_FIRST), until.alias(_UNTIL), *values_taken(question.view)
        )
        asked = pl.DataFrame({ENTITY: question.entities, _AT: question.at}).with_row_index(_ASKED).filter(pl.col(ENTITY) >= 0).drop_nulls()
        self._asked = asked.sort(ENTITY, _AT, maintain_order=True).with_row_index("_place").with_columns(pl.col("_place").cast(pl.Int64))
        self._stretches: dict[int, pl.DataFrame] = {}

    def answer(self, feature: Feature) -> pl.Series:
        """The feature of each question, null where its window holds no value."""
        column = f"v{folded_slots(self._question.view).index(feature.sql)}"
        rows = self._within(micros(feature.window or "")).rename({column: _VALUE}).drop_nulls(_VALUE)
        order = [EVENT, CREATED, _VALUE] if feature.aggregation == "last" else [_VALUE]
        ranked = rows.select(_FIRST, _LAST, *order).sort(order, descending=feature.aggregation == "min")
        best = _laid(ranked[_FIRST].to_numpy(), ranked[_LAST].to_numpy(), self._asked.height)
        places = np.full(len(self._question.at), _NONE, dtype=np.int64)
        places[self._asked[_ASKED].to_numpy()] = best
        found = pl.Series(places)
        return ranked[_VALUE].gather(pl.select(pl.when(found >= 0).then(found)).to_series())

    def _within(self, window_us: int) -> pl.DataFrame:
        """The rows with the stretch of places [first, last] of the questions in whose window they stand; rows without one are left out."""
        if window_us not in self._stretches:
            hop_us = micros(self._question.view.hop)
            starts = self._asked.select(ENTITY, "_place", _AT, ((pl.col(_AT) - window_us) // hop_us * hop_us).alias(_START))
            rows = self._rows.with_columns(_place(self._rows, _FIRST, starts, _AT, "forward").alias(_FIRST))
            rows = rows.with_columns(_place(rows, EVENT, starts, _START, "backward").alias(_LAST))
            before = rows.with_columns(pl.col(_UNTIL) - 1)
            replaced = _place(before, _UNTIL, starts, _AT, "backward")
            leaves, replaced = rows[_LAST].fill_null(_NONE), replaced.fill_null(_NONE)
            last = pl.select(pl.when(rows[_UNTIL].is_null()).then(leaves).otherwise(pl.min_horizontal(leaves, replaced))).to_series()
            rows = rows.with_columns(last.alias(_LAST))
            self._stretches[window_us] = rows.filter(pl.col(_FIRST) <= pl.col(_LAST))
        return self._stretches[window_us]


def _place(rows: pl.DataFrame, moment: str, asked: pl.DataFrame, by: str, strategy: str) -> pl.Series:
    """For each row the place of its entity's first question at or after the moment (forward), or the last at or before it (backward)."""
    keep = "first" if strategy == "forward" else "last"
    there = asked.select(ENTITY, pl.col("_place").alias("_found"), pl.col(by).alias("_moment"))
    there = there.unique((ENTITY, "_moment"), keep=keep, maintain_order=True).sort("_moment")  # type: ignore[arg-type]
    wanted = rows.select(ENTITY, pl.col(moment).alias("_moment")).with_row_index("_row").drop_nulls("_moment").sort("_moment")
    joined = wanted.join_asof(there, on="_moment", by=ENTITY, strategy=strategy, check_sortedness=False)  # type: ignore[arg-type]
    found = np.full(rows.height, -2, dtype=np.int64)
    found[joined["_row"].to_numpy()] = joined["_found"].fill_null(-2).to_numpy()
    return pl.Series(found).replace(-2, None)


def _laid(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """For each place below `count` the largest index of a stretch [first, last] that covers it, or -1."""
    best = np.full(count, _NONE, dtype=np.int64)
    if not len(first):
        return best
    length = last - first + 1
    level = np.frexp(length.astype(np.float64))[1] - 1  # the largest power of two that is not longer
    order = np.argsort(level, kind="stable")[::-1]
    bounds = np.searchsorted(-level[order], -np.arange(int(level.max()), -2, -1), side="left")
    for step, power in enumerate(range(int(level.max()), -1, -1)):
        size = 1 << power
        members = order[bounds[step] : bounds[step + 1]]
        np.maximum.at(best, first[members], members)
        np.maximum.at(best, last[members] - size + 1, members)
        if power:
            half = size >> 1
            handed = best.copy()
            np.maximum(handed[half:], best[:-half], out=handed[half:])
            best = handed
    return best
