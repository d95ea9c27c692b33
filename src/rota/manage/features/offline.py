"""Features for training: for each row of a frame of entities and moments, what was true of the entity at that moment.

as_of="event": by event time: the newest row with timestamp <= t, corrections of a row (same id) taken as if they had been
there from the start. For datasets: history that was loaded long afterwards counts as if it had been received in time.
as_of="served": what serving could know: only rows that Rota had received by t, as the online store had them then.

Window aggregates are differences of running sums, kept as 128-bit integers so that nothing is lost, and equal the online tiles.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features import expressions, rows, source_rows
from rota.manage.features.source_rows import CREATED
from rota.manage.features.stored import RowView
from rota.manage.features.windows import contributions, slots
from rota.ports.tables import Tables
from rota.records.data import FeatureService, FeatureView, OnDemandFeatureView
from rota.records.time import Micros, micros

AsOf = Literal["event", "served"]
FAR_US = 2**62
_ROW, _ENTITY, _PLACE, _EVENT, _ARRIVED, _SIGN = "_row", "_entity", "_place", "_event", "_arrived", "_sign"


def historical(
    tables: Tables, service: FeatureService, spine: pl.DataFrame, *, timestamp: str, known_until_us: Micros = FAR_US, as_of: AsOf = "event"
) -> pl.DataFrame:
    """The spine with one column for each of `service.feature_names`: as many rows as before, in the same order.

    The spine holds the column `timestamp` (when the prediction is or was made) and the service's request fields. Rows of
    the sources that Rota received after `known_until_us` are ignored. An unknown entity, a null join key, a null
    timestamp or a row older than the view's ttl gives null.
    """
    taken = [name for name in service.feature_names if name in spine.columns]
    if taken:
        raise InvalidInput(f"the frame already has the columns {taken}; leave them out", columns=taken)
    order = rows.conform(spine, {timestamp: "timestamp"}, what="the frame").select(at=timestamp).with_row_index(_ROW).sort("at", nulls_last=True)
    asked = spine[order[_ROW]]
    found: dict[str, pl.DataFrame] = {}
    columns: list[pl.Series] = []
    for view in service.views:
        if isinstance(view, FeatureView):
            if view.source.name not in found:
                found[view.source.name] = source_rows.known(source_rows.stored(tables, view.source), known_until_us)
            question = _asked(view, found[view.source.name], asked, order["at"], as_of)
            columns += _windowed(question) if view.windowed else _newest(question)
        else:
            columns += _on_demand(view, asked)
    joined = pl.concat([spine, pl.DataFrame([order[_ROW], *columns]).sort(_ROW).drop(_ROW)], how="horizontal")
    if joined.height != spine.height:
        raise AssertionError(f"{spine.height} rows went in, {joined.height} came out")
    return joined


def _on_demand(view: OnDemandFeatureView, asked: pl.DataFrame) -> list[pl.Series]:
    inputs = rows.conform(asked, view.inputs, what=f"the frame, for view {view.name!r},")
    made = []
    for name, feature in view.features.items():
        values = inputs.select(expressions.column(feature.sql, view.inputs).alias(f"{view.name}__{name}")).to_series()
        made.append(values if values.len() == asked.height else values.new_from_index(0, asked.height))
    return made


@dataclass(frozen=True, slots=True)
class _Question:
    """One view's rows and who asks for them when: entities numbered, moments in order."""

    view: FeatureView
    found: pl.DataFrame
    entities: pl.Series
    at: pl.Series
    as_of: AsOf

    def last(self, lookup: pl.DataFrame, moments: pl.Series) -> pl.Series:
        """For each asked (entity, moment) the `_place` of the lookup's last row at or before it, or null; both are in order of time."""
        asked = pl.DataFrame({_ENTITY: self.entities, "at": moments})
        return asked.join_asof(lookup, on="at", by=_ENTITY, strategy="backward", check_sortedness=False)[_PLACE]

    def alive(self, event_us: pl.Series) -> pl.Series:
        """Where there is a row, not older than the view's ttl."""
        if self.view.ttl is None:
            return event_us.is_not_null() & self.at.is_not_null()
        return ((self.at - event_us) <= micros(self.view.ttl)).fill_null(value=False)


def _asked(view: FeatureView, found: pl.DataFrame, asked: pl.DataFrame, at: pl.Series, as_of: AsOf) -> _Question:
    keys = list(dict.fromkeys(view.join_keys))
    entities = rows.conform(asked, {key: view.source.fields[key] for key in keys}, what=f"the frame, for view {view.name!r},")
    numbers = entities.unique().drop_nulls().with_row_index(_ENTITY).with_columns(pl.col(_ENTITY).cast(pl.Int64))
    event = view.source.timestamp_field
    found = found.with_columns(pl.col(event).alias(_EVENT), pl.max_horizontal(CREATED, event).alias(_ARRIVED), pl.lit(1.0).alias(_SIGN))
    if as_of == "event":
        found = source_rows.current(found, view.source)
    elif view.windowed:
        found = _ledger(view, found)
    found = found.join(numbers, on=keys, how="inner", maintain_order="left")
    entity = entities.join(numbers, on=keys, how="left", maintain_order="left")[_ENTITY]
    return _Question(view, found, entity.fill_null(-1), at, as_of)


def _newest(question: _Question) -> list[pl.Series]:
    """Scalar features: the place of the newest row of each spine row, then its features, expired by ttl."""
    view = question.view
    found = _ties_resolved(view, question.found.sort(_ENTITY, _EVENT, CREATED))
    if question.as_of == "event":
        lookup = found.select(_ENTITY, _PLACE, at=_EVENT)
    else:
        lookup = found.sort(_ENTITY, _ARRIVED, _PLACE).select(_ENTITY, pl.col(_PLACE).cum_max().over(_ENTITY), at=_ARRIVED)
    lookup = lookup.unique((_ENTITY, "at"), keep="last", maintain_order=True).sort("at")
    places = question.last(lookup, question.at)
    features = found.select(
        _EVENT, *(expressions.column(feature.sql, view.source.fields).alias(f"{view.name}__{name}") for name, feature in view.features.items())
    )
    picked = features[places.fill_null(0)] if features.height else features.clear(len(places))
    alive = places.is_not_null() & question.alive(picked[_EVENT])
    return picked.drop(_EVENT).with_columns(pl.when(alive).then(pl.all())).get_columns()


def _ties_resolved(view: FeatureView, found: pl.DataFrame) -> pl.DataFrame:
    """Rows of one entity, event and created time in the order in which the online store would prefer them."""
    key = (_ENTITY, _EVENT, CREATED)
    tied = found.select(pl.struct(key).is_duplicated()).to_series()
    if tied.any():
        stored, order = RowView(view), [b""] * found.height
        for place, row in zip(tied.arg_true(), found.filter(tied).iter_rows(named=True), strict=True):
            order[place] = stored.encode(row, row[CREATED])
        found = found.with_columns(pl.Series("_order", order, dtype=pl.Binary)).sort(*key, "_order").drop("_order")
    return found.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(_PLACE))


def _windowed(question: _Question) -> list[pl.Series]:
    """Windowed features: what had come in by t, without what lies before the window."""
    view, at, served = question.view, question.at, question.as_of == "served"
    columns = [f"{kind}{slot}" for slot in range(len(slots(view))) for kind in "cs"]
    weighted, units = _exact(question.found.with_columns(column * pl.col(_SIGN) for column in contributions(view)), columns)
    before = _Running(question, weighted, columns, _EVENT)
    known = _Running(question, weighted, columns, _ARRIVED) if served else before
    total, newest_us = known.until(at), known.newest_until(at)
    alive = question.alive(newest_us)
    made, folded, hop_us = [], {}, micros(view.hop)
    for name, feature in view.features.items():
        window_us = micros(feature.window or "")
        if window_us not in folded:
            start = (at - window_us) // hop_us * hop_us
            sums = [all_ - outside for all_, outside in zip(total, before.until(start - 1), strict=True)]
            sums = _with_late(question, weighted, columns, start, sums) if served else sums
            folded[window_us] = [sum_.cast(pl.Float64) * unit for sum_, unit in zip(sums, units, strict=True)]
        slot = slots(view).index(feature.sql)
        values = _finished(feature.aggregation or "count", folded[window_us][2 * slot], folded[window_us][2 * slot + 1])
        made.append(pl.select(pl.when(alive).then(values).alias(f"{view.name}__{name}")).to_series())
    return made


def _ledger(view: FeatureView, found: pl.DataFrame) -> pl.DataFrame:
    """Each received row with sign +1, and with -1 from the moment on at which a later row with its id replaced it."""
    identity = view.source.id_field
    if identity is None:
        return found
    replaced = found.sort(CREATED, maintain_order=True).with_columns(pl.col(_ARRIVED).shift(-1).over(identity), pl.lit(-1.0).alias(_SIGN))
    return pl.concat([found, replaced.drop_nulls(_ARRIVED)])


def _exact(weighted: pl.DataFrame, columns: list[str]) -> tuple[pl.DataFrame, list[float]]:
    """The contributions as 128-bit integers of a small unit, a power of two chosen for each column so that no sum overflows.

    Running sums of floats lose what is small beside all that came before; integers lose nothing, in whatever order they add up.
    """
    largest = weighted.select(pl.col(columns).abs().max().fill_null(0.0)).row(0)
    powers = [min(1_000, 124 - math.frexp(value)[1] - weighted.height.bit_length()) for value in largest]
    scaled = [(pl.col(name) * 2.0**power).cast(pl.Int128) for name, power in zip(columns, powers, strict=True)]
    return weighted.with_columns(scaled), [2.0**-power for power in powers]


class _Running:
    """Running sums of the contributions of each entity, ordered by one of its times."""

    def __init__(self, question: _Question, weighted: pl.DataFrame, columns: list[str], time: str) -> None:
        ordered = weighted.sort(_ENTITY, time)
        places = ordered.select(_ENTITY, pl.int_range(pl.len(), dtype=pl.Int64).alias(_PLACE), pl.col(_EVENT).cum_max().over(_ENTITY), at=time)
        nothing = pl.DataFrame({name: [0] for name in columns}, schema=dict.fromkeys(columns, pl.Int128))
        self._question = question
        self._sums = pl.concat([nothing, ordered.select(pl.col(columns).cum_sum())])
        starts = places.group_by(_ENTITY).agg(pl.col(_PLACE).min().alias("start"))
        self._first = question.entities.to_frame(_ENTITY).join(starts, on=_ENTITY, how="left", maintain_order="left")["start"].fill_null(0)
        self._newest = places[_EVENT]
        self._lookup = places.select(_ENTITY, _PLACE, "at").sort("at", maintain_order=True)

    def until(self, moments: pl.Series) -> list[pl.Series]:
        """For each column the sums over each asked entity's rows up to a moment."""
        last = self._question.last(self._lookup, moments)
        upto = pl.select(pl.when(last.is_null()).then(self._first).otherwise(last + 1)).to_series()
        return [sums.gather(upto) - sums.gather(self._first) for sums in self._sums]

    def newest_until(self, moments: pl.Series) -> pl.Series:
        """The newest event time among those rows, or null where there is none."""
        return self._newest.gather(self._question.last(self._lookup, moments))


def _with_late(question: _Question, weighted: pl.DataFrame, columns: list[str], start: pl.Series, sums: list[pl.Series]) -> list[pl.Series]:
    """The sums, with the rows put back that lie before the window but came in after t: what came in by t does not have them,
    and what lies before the window does.

    Only rows that came later than a whole window matter, one step for each moment at which such rows came in.
    """
    known = question.at.drop_nulls()
    if not len(known):
        return sums
    late = weighted.filter((pl.col(_ARRIVED) - pl.col(_EVENT) > (question.at - start).min()) & (pl.col(_ARRIVED) > known[0]))
    for (moment,), came in late.group_by(_ARRIVED):
        waiting = int(known.search_sorted(moment, side="left"))
        part = replace(question, entities=question.entities[:waiting], at=question.at[:waiting])
        missing = _Running(part, came, columns, _EVENT).until(start[:waiting] - 1)
        sums = [pl.concat([old[:waiting] + more, old[waiting:]]) for old, more in zip(sums, missing, strict=True)]
    return sums


def _finished(aggregation: str, count: pl.Series, total: pl.Series) -> pl.Series:
    counts = count.round().cast(pl.Int64)
    if aggregation == "count":
        return counts
    return pl.select(pl.when(counts > 0).then(total if aggregation == "sum" else total / counts)).to_series()
