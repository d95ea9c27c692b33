"""Windowed features offline, equal to what the online tiles answer, for any window, at any moment, late rows included.

The window of length W at time t is the rows with floor(t - W, hop) <= timestamp <= t.

count, sum, mean and share are differences of running sums of whole numbers (see `rota.stats.exact_sums`): nothing is lost, whatever
else the column holds, and each answer is rounded once.

min, max and last have no differences. Each row stands in the window of an unbroken interval of its entity's requested moments in
order of time: from the first one that knows it, to the last one before it leaves the window or a correction replaces it. So the
rows are ranked (the largest rank wins), and the question "which is the largest rank whose interval covers this moment" is
answered for all moments at once with a sparse table (Bender and Farach-Colton, The LCA Problem Revisited, LATIN 2000, section 3)
that is written rather than read: each rank goes to the two intervals of a power of two that cover its own, and each level is
handed down to the next. That costs as many steps as rows, plus moments times levels; no window is walked.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.manage.features.join.row_history import ARRIVED, GONE, RowSegment
from rota.manage.features.online.window_view import FOLDED, contributions, folded_slots, slots, totalled, values_taken
from rota.manage.features.rows.source_table import CREATED
from rota.records.data import Aggregation, FeatureView
from rota.records.time import Micros, micros
from rota.stats import exact_sums
from rota.stats.exact_sums import Digits, Integers

AsOf = Literal["event", "served"]
"""Whether a join sees rows by their event time, or by what serving had received (see `point_in_time`)."""
_ENTITY, _PLACE, _EVENT, _SIGN = "_entity", "_place", "_event", "_sign"
_AT, _START, _FIRST, _LAST, _UNTIL, _VALUE, _ASKED = "_at", "_start", "_first", "_last", "_until", "_value", "_asked"
_NONE = -1


@dataclass(frozen=True, slots=True)
class WindowedFeature:
    """One column of a windowed view: how it aggregates which expression (by its place among the view's) over which length."""

    name: str
    aggregation: Aggregation
    slot: int
    window_us: Micros


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """A windowed view made ready for joins: its expressions over columns, its lengths in microseconds."""

    timestamp_field: str
    hop_us: Micros
    ttl_us: Micros | None
    summed: list[pl.Expr]
    totalled: list[bool]
    folded: list[pl.Expr]
    features: list[WindowedFeature]

    @classmethod
    def of(cls, view: FeatureView) -> "WindowPlan":
        summed, folded = slots(view), folded_slots(view)
        features = []
        for name, feature in view.features.items():
            slot = (folded if feature.aggregation in FOLDED else summed).index(feature.expression)
            features.append(WindowedFeature(f"{view.name}__{name}", feature.aggregation or "count", slot, micros(feature.window or "")))
        ttl_us = micros(view.ttl) if view.ttl is not None else None
        return cls(view.source.timestamp_field, micros(view.hop), ttl_us, contributions(view), totalled(view), values_taken(view), features)


def windowed(plan: WindowPlan, segments: list[RowSegment], entities: pl.DataFrame, at: np.ndarray, as_of: AsOf) -> pl.DataFrame:
    """The view's features, one row for each requested (entity, moment); moments are microseconds in rising order."""
    request = _request(plan, segments, entities, at, as_of)
    sums = _WindowSums(request)
    extremes = _WindowExtremes(request) if plan.folded else None
    columns = {
        feature.name: extremes.column(feature) if extremes and feature.aggregation in FOLDED else sums.column(feature) for feature in plan.features
    }
    return pl.DataFrame(columns).select(pl.when(sums.alive).then(pl.all()))


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """The input of a windowed join: rows with their entity's number, event time, arrival and sign (-1: taken back at its
    arrival), and the entities and moments they are requested for, in order of time."""

    plan: WindowPlan
    rows: pl.DataFrame
    entities: pl.Series
    at: pl.Series
    served: bool

    def last_places(self, lookup: pl.DataFrame, moments: pl.Series) -> pl.Series:
        """For each requested (entity, moment) the `_place` of the lookup's last row at or before it, or null; both are in order of time."""
        requested = pl.DataFrame({_ENTITY: self.entities, "at": moments})
        return requested.join_asof(lookup, on="at", by=_ENTITY, strategy="backward", check_sortedness=False)[_PLACE]

    def alive(self, event_us: pl.Series) -> pl.Series:
        """Where there is a row, not older than the view's ttl."""
        if self.plan.ttl_us is None:
            return event_us.is_not_null() & self.at.is_not_null()
        return ((self.at - event_us) <= self.plan.ttl_us).fill_null(value=False)


def _request(plan: WindowPlan, segments: list[RowSegment], entities: pl.DataFrame, at: np.ndarray, as_of: AsOf) -> WindowRequest:
    keys, event, served = list(entities.columns), plan.timestamp_field, as_of == "served"
    kept = [segment.rows if served or segment.replaced is None else segment.rows.filter(~segment.replaced) for segment in segments]
    rows = pl.concat(kept, how="diagonal")
    rows = rows.with_columns(pl.col(event).alias(_EVENT), pl.lit(1).alias(_SIGN))
    if served:
        gone = rows.filter(pl.col(GONE).is_not_null())
        taken_us = pl.max_horizontal(ARRIVED, GONE)  # a row may be replaced before it is known itself
        rows = pl.concat([rows, gone.with_columns(taken_us.alias(ARRIVED), pl.lit(-1).alias(_SIGN))])
    numbers = entities.unique().with_row_index(_ENTITY).with_columns(pl.col(_ENTITY).cast(pl.Int64))
    rows = rows.join(numbers, on=keys, how="inner", maintain_order="left")
    numbered = entities.join(numbers, on=keys, how="left", maintain_order="left")[_ENTITY]
    return WindowRequest(plan, rows, numbered, pl.Series(at), served)


class _WindowSums:
    """count, sum, mean and share: what had come in by t, without what lies before the window."""

    def __init__(self, request: WindowRequest) -> None:
        self._request = request
        self._slots, columns = _split(request)
        self._columns = columns
        self._before = _RunningSums(request, request.rows, columns, _EVENT)
        known = _RunningSums(request, request.rows, columns, ARRIVED) if request.served else self._before
        self._total = known.until(request.at)
        self.alive = request.alive(known.newest_until(request.at))
        """Where the entity has a row that is known at t and not older than the view's ttl: elsewhere all features are null."""
        self._sums: dict[Micros, list[Integers]] = {}

    def column(self, feature: WindowedFeature) -> pl.Series:
        """The feature at each requested moment."""
        if feature.window_us not in self._sums:
            hop_us = self._request.plan.hop_us
            start = (self._request.at - feature.window_us) // hop_us * hop_us
            sums = [total - outside for total, outside in zip(self._total, self._before.until(start - 1), strict=True)]
            self._sums[feature.window_us] = _with_late(self._request, self._columns, start, sums) if self._request.served else sums
        counted, exponents = self._slots[feature.slot]
        sums = self._sums[feature.window_us]
        total = {exponent: sums[counted + 1 + i] for i, exponent in enumerate(exponents)}
        return _finished(feature.aggregation, sums[counted], total)


def _split(request: WindowRequest) -> tuple[list[tuple[int, list[int]]], list[Integers]]:
    """What each row counts and adds, as columns of whole numbers: for each slot the place of its count, which its digits follow."""
    values = request.rows.select(_ENTITY, *request.plan.summed)
    most = values.group_by(_ENTITY).len()["len"].to_numpy().max(initial=0)
    sign = request.rows[_SIGN].to_numpy() if request.served else None
    slots: list[tuple[int, list[int]]] = []
    columns: list[Integers] = []
    for column, adds in zip(values.drop(_ENTITY), request.plan.totalled, strict=True):
        counts = column.is_not_null().cast(pl.Int64).to_numpy()
        digits = exact_sums.columns(column.fill_null(0).to_numpy(), int(most)) if adds else {}
        slots.append((len(columns), list(digits)))
        columns += [each if sign is None else each * sign for each in (counts, *digits.values())]
    return slots, columns


class _RunningSums:
    """Running sums of what the rows of each entity count and add, ordered by one of their times.

    They run over all entities and may go around 64 bits many times: the difference of two of them is right all the same, because the
    sums of one entity fit.
    """

    def __init__(self, request: WindowRequest, rows: pl.DataFrame, columns: list[Integers], time: str) -> None:
        timed = rows.select(_ENTITY, _EVENT, pl.col(time).alias("at"))
        order = timed.select(pl.arg_sort_by(_ENTITY, "at")).to_series()
        places = timed[order].select(_ENTITY, pl.int_range(pl.len(), dtype=pl.Int64).alias(_PLACE), pl.col(_EVENT).cum_max().over(_ENTITY), "at")
        taken = order.to_numpy()
        self._request = request
        self._sums = [_running(column[taken]) for column in columns]
        starts = places.group_by(_ENTITY).agg(pl.col(_PLACE).min().alias("start"))
        self._first = request.entities.to_frame(_ENTITY).join(starts, on=_ENTITY, how="left", maintain_order="left")["start"].fill_null(0)
        self._newest = places[_EVENT]
        self._lookup = places.select(_ENTITY, _PLACE, "at").sort("at", maintain_order=True)

    def until(self, moments: pl.Series) -> list[Integers]:
        """For each column the sums over each requested entity's rows up to a moment."""
        last = self._request.last_places(self._lookup, moments)
        upto = pl.select(pl.when(last.is_null()).then(self._first).otherwise(last + 1)).to_series().to_numpy()
        first = self._first.to_numpy()
        return [(sums[upto] - sums[first]).view(np.int64) for sums in self._sums]

    def newest_until(self, moments: pl.Series) -> pl.Series:
        """The newest event time among those rows, or null where there is none."""
        return self._newest.gather(self._request.last_places(self._lookup, moments))


def _running(column: Integers) -> NDArray[np.uint64]:
    sums = np.zeros(len(column) + 1, dtype=np.uint64)
    np.cumsum(column.view(np.uint64), out=sums[1:])
    return sums


def _with_late(request: WindowRequest, columns: list[Integers], start: pl.Series, sums: list[Integers]) -> list[Integers]:
    """The sums, with the rows put back that lie before the window but came in after t: what came in by t does not have them,
    and what lies before the window does.

    Only rows that came later than a whole window matter, one step for each moment at which such rows came in.
    """
    known = request.at.drop_nulls()
    if not len(known):
        return sums
    late = request.rows.with_row_index(_PLACE).filter((pl.col(ARRIVED) - pl.col(_EVENT) > (request.at - start).min()) & (pl.col(ARRIVED) > known[0]))
    for (moment,), came in late.group_by(ARRIVED):
        waiting = int(known.search_sorted(moment, side="left"))
        part = replace(request, entities=request.entities[:waiting], at=request.at[:waiting])
        taken = came[_PLACE].to_numpy()
        missing = _RunningSums(part, came.drop(_PLACE), [column[taken] for column in columns], _EVENT).until(start[:waiting] - 1)
        for old, more in zip(sums, missing, strict=True):
            old[:waiting] += more
    return sums


def _finished(aggregation: Aggregation, counts: Integers, total: Digits) -> pl.Series:
    if aggregation == "count":
        return pl.Series(counts)
    made = exact_sums.sums(total, len(counts)) if aggregation == "sum" else exact_sums.means(total, counts)
    return pl.select(pl.when(pl.Series(counts) > 0).then(pl.Series(made))).to_series()


class _WindowExtremes:
    """min, max and last, for any window of one view."""

    def __init__(self, request: WindowRequest) -> None:
        self._request = request
        known = request.rows.filter(pl.col(_SIGN) > 0)
        late = request.served
        until = pl.col(GONE) if late else pl.lit(None, dtype=pl.Int64)
        first = pl.col(ARRIVED) if late else pl.col(_EVENT)
        self._rows = known.select(_ENTITY, _EVENT, CREATED, first.alias(_FIRST), until.alias(_UNTIL), *request.plan.folded)
        asked = pl.DataFrame({_ENTITY: request.entities, _AT: request.at}).with_row_index(_ASKED).filter(pl.col(_ENTITY) >= 0).drop_nulls()
        self._asked = asked.sort(_ENTITY, _AT, maintain_order=True).with_row_index(_PLACE).with_columns(pl.col(_PLACE).cast(pl.Int64))
        self._intervals: dict[Micros, pl.DataFrame] = {}

    def column(self, feature: WindowedFeature) -> pl.Series:
        """The feature at each requested moment, null where its window holds no value."""
        rows = self._within(feature.window_us).rename({f"v{feature.slot}": _VALUE}).drop_nulls(_VALUE)
        order = [_EVENT, CREATED, _VALUE] if feature.aggregation == "last" else [_VALUE]
        ranked = rows.select(_FIRST, _LAST, *order).sort(order, descending=feature.aggregation == "min")
        best = largest_covering(ranked[_FIRST].to_numpy(), ranked[_LAST].to_numpy(), self._asked.height)
        places = np.full(len(self._request.at), _NONE, dtype=np.int64)
        places[self._asked[_ASKED].to_numpy()] = best
        chosen = pl.Series(places)
        return ranked[_VALUE].gather(pl.select(pl.when(chosen >= 0).then(chosen)).to_series())

    def _within(self, window_us: Micros) -> pl.DataFrame:
        """The rows with the interval of places [first, last] of the moments in whose window they stand; rows without one are left out."""
        if window_us not in self._intervals:
            hop_us = self._request.plan.hop_us
            starts = self._asked.select(_ENTITY, _PLACE, _AT, ((pl.col(_AT) - window_us) // hop_us * hop_us).alias(_START))
            rows = self._rows.with_columns(_place(self._rows, _FIRST, starts, _AT, "forward").alias(_FIRST))
            rows = rows.with_columns(_place(rows, _EVENT, starts, _START, "backward").alias(_LAST))
            before = rows.with_columns(pl.col(_UNTIL) - 1)
            replaced = _place(before, _UNTIL, starts, _AT, "backward")
            leaves, replaced = rows[_LAST].fill_null(_NONE), replaced.fill_null(_NONE)
            last = pl.select(pl.when(rows[_UNTIL].is_null()).then(leaves).otherwise(pl.min_horizontal(leaves, replaced))).to_series()
            rows = rows.with_columns(last.alias(_LAST))
            self._intervals[window_us] = rows.filter(pl.col(_FIRST) <= pl.col(_LAST))
        return self._intervals[window_us]


def _place(rows: pl.DataFrame, moment: str, asked: pl.DataFrame, by: str, strategy: Literal["forward", "backward"]) -> pl.Series:
    """For each row the place of its entity's first requested moment at or after its own (forward), or the last at or before it (backward)."""
    there = asked.select(_ENTITY, pl.col(_PLACE).alias("_found"), pl.col(by).alias("_moment"))
    there = there.unique((_ENTITY, "_moment"), keep="first" if strategy == "forward" else "last", maintain_order=True).sort("_moment")
    wanted = rows.select(_ENTITY, pl.col(moment).alias("_moment")).with_row_index("_row").drop_nulls("_moment").sort("_moment")
    joined = wanted.join_asof(there, on="_moment", by=_ENTITY, strategy=strategy, check_sortedness=False)
    places = np.full(rows.height, -2, dtype=np.int64)
    places[joined["_row"].to_numpy()] = joined["_found"].fill_null(-2).to_numpy()
    return pl.Series(places).replace(-2, None)


def largest_covering(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """For each place below `count` the largest index of an interval [first, last] that covers it, or -1."""
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
