"""Windowed features offline: differences of running sums, kept as 128-bit integers so that nothing is lost; they equal the online tiles.

Min, max and last have no differences; `rota.manage.features.join.window_extremes` finds them.
"""

import math
from dataclasses import replace

import polars as pl

from rota.manage.features.join.join_input import ARRIVED, ENTITY, EVENT, PLACE, SIGN, Question
from rota.manage.features.join.window_extremes import Extremes
from rota.manage.features.online.window_view import FOLDED, contributions, folded_slots, slots
from rota.records.time import micros


def windowed(question: Question) -> list[pl.Series]:
    """Windowed features: what had come in by t, without what lies before the window."""
    view, at, served = question.view, question.at, question.as_of == "served"
    columns = [f"{kind}{slot}" for slot in range(len(slots(view))) for kind in "cs"]
    weighted, units = _exact(question.found.with_columns(column * pl.col(SIGN) for column in contributions(view)), columns)
    before = _Running(question, weighted, columns, EVENT)
    known = _Running(question, weighted, columns, ARRIVED) if served else before
    total, newest_us = known.until(at), known.newest_until(at)
    alive = question.alive(newest_us)
    made, folded, hop_us = [], {}, micros(view.hop)
    extremes = Extremes(question) if folded_slots(view) else None
    for name, feature in view.features.items():
        window_us = micros(feature.window or "")
        if extremes is not None and feature.aggregation in FOLDED:
            values = extremes.answer(feature)
            made.append(pl.select(pl.when(alive).then(values).alias(f"{view.name}__{name}")).to_series())
            continue
        if window_us not in folded:
            start = (at - window_us) // hop_us * hop_us
            sums = [all_ - outside for all_, outside in zip(total, before.until(start - 1), strict=True)]
            sums = _with_late(question, weighted, columns, start, sums) if served else sums
            folded[window_us] = [sum_.cast(pl.Float64) * unit for sum_, unit in zip(sums, units, strict=True)]
        slot = slots(view).index(feature.sql)
        values = _finished(feature.aggregation or "count", folded[window_us][2 * slot], folded[window_us][2 * slot + 1])
        made.append(pl.select(pl.when(alive).then(values).alias(f"{view.name}__{name}")).to_series())
    return made


def _exact(weighted: pl.DataFrame, columns: list[str]) -> tuple[pl.DataFrame, list[float]]:
    """The contributions as 128-bit integers of a small unit, a power of two chosen for each column so that no sum overflows.

    Running sums of floats lose what is small beside all that came before; integers lose nothing, in whatever order they add up.
    """
    if not columns:
        return weighted, []
    largest = weighted.select(pl.col(columns).abs().max().fill_null(0.0)).row(0)
    powers = [min(1_000, 124 - math.frexp(value)[1] - weighted.height.bit_length()) for value in largest]
    scaled = [(pl.col(name) * 2.0**power).cast(pl.Int128) for name, power in zip(columns, powers, strict=True)]
    return weighted.with_columns(scaled), [2.0**-power for power in powers]


class _Running:
    """Running sums of the contributions of each entity, ordered by one of its times."""

    def __init__(self, question: Question, weighted: pl.DataFrame, columns: list[str], time: str) -> None:
        ordered = weighted.sort(ENTITY, time)
        places = ordered.select(ENTITY, pl.int_range(pl.len(), dtype=pl.Int64).alias(PLACE), pl.col(EVENT).cum_max().over(ENTITY), at=time)
        nothing = pl.DataFrame({name: [0] for name in columns}, schema=dict.fromkeys(columns, pl.Int128))
        self._question = question
        self._sums = pl.concat([nothing, ordered.select(pl.col(columns).cum_sum())]) if columns else pl.DataFrame()
        starts = places.group_by(ENTITY).agg(pl.col(PLACE).min().alias("start"))
        self._first = question.entities.to_frame(ENTITY).join(starts, on=ENTITY, how="left", maintain_order="left")["start"].fill_null(0)
        self._newest = places[EVENT]
        self._lookup = places.select(ENTITY, PLACE, "at").sort("at", maintain_order=True)

    def until(self, moments: pl.Series) -> list[pl.Series]:
        """For each column the sums over each asked entity's rows up to a moment."""
        last = self._question.last(self._lookup, moments)
        upto = pl.select(pl.when(last.is_null()).then(self._first).otherwise(last + 1)).to_series()
        return [sums.gather(upto) - sums.gather(self._first) for sums in self._sums]

    def newest_until(self, moments: pl.Series) -> pl.Series:
        """The newest event time among those rows, or null where there is none."""
        return self._newest.gather(self._question.last(self._lookup, moments))


def _with_late(question: Question, weighted: pl.DataFrame, columns: list[str], start: pl.Series, sums: list[pl.Series]) -> list[pl.Series]:
    """The sums, with the rows put back that lie before the window but came in after t: what came in by t does not have them,
    and what lies before the window does.

    Only rows that came later than a whole window matter, one step for each moment at which such rows came in.
    """
    known = question.at.drop_nulls()
    if not len(known):
        return sums
    late = weighted.filter((pl.col(ARRIVED) - pl.col(EVENT) > (question.at - start).min()) & (pl.col(ARRIVED) > known[0]))
    for (moment,), came in late.group_by(ARRIVED):
        waiting = int(known.search_sorted(moment, side="left"))
        part = replace(question, entities=question.entities[:waiting], at=question.at[:waiting])
        missing = _Running(part, came, columns, EVENT).until(start[:waiting] - 1)
        sums = [pl.concat([old[:waiting] + more, old[waiting:]]) for old, more in zip(sums, missing, strict=True)]
    return sums


def _finished(aggregation: str, count: pl.Series, total: pl.Series) -> pl.Series:
    counts = count.round().cast(pl.Int64)
    if aggregation == "count":
        return counts
    return pl.select(pl.when(counts > 0).then(total if aggregation == "sum" else total / counts)).to_series()
