"""Features for training: for each row of a frame of entities and moments, what was true of the entity at that moment.

as_of="event": by event time: the newest row with timestamp <= t, corrections of a row (same id) taken as if they had been
there from the start. For datasets: history that was loaded long afterwards counts as if it had been received in time.
as_of="served": what serving could know: only rows that Rota had received by t, as the online store had them then.

Window aggregates are differences of running sums in extended precision, and equal the online tiles.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
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
_NUMBERS = pl.col("^[cs][0-9]+$")
Sums = np.ndarray[Any, np.dtype[np.longdouble]]


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
    weighted = question.found.with_columns(column * pl.col(_SIGN) for column in contributions(view))
    before = _Running(question, weighted, _EVENT)
    known = _Running(question, weighted, _ARRIVED) if served else before
    total, newest_us = known.until(at), known.newest_until(at)
    alive = question.alive(newest_us)
    made, folded, hop_us = [], {}, micros(view.hop)
    for name, feature in view.features.items():
        window_us = micros(feature.window or "")
        if window_us not in folded:
            start = (at - window_us) // hop_us * hop_us
            sums = total - before.until(start - 1)
            folded[window_us] = sums + _late(question, weighted, start) if served else sums
        slot = slots(view).index(feature.sql)
        values = _finished(feature.aggregation or "count", folded[window_us][:, 2 * slot], folded[window_us][:, 2 * slot + 1])
        made.append(pl.select(pl.when(alive).then(values).alias(f"{view.name}__{name}")).to_series())
    return made


def _ledger(view: FeatureView, found: pl.DataFrame) -> pl.DataFrame:
    """Each received row with sign +1, and with -1 from the moment on at which a later row with its id replaced it."""
    identity = view.source.id_field
    if identity is None:
        return found
    replaced = found.sort(CREATED, maintain_order=True).with_columns(pl.col(_ARRIVED).shift(-1).over(identity), pl.lit(-1.0).alias(_SIGN))
    return pl.concat([found, replaced.drop_nulls(_ARRIVED)])


class _Running:
    """Running sums of the contributions of each entity, ordered by one of its times."""

    def __init__(self, question: _Question, weighted: pl.DataFrame, time: str) -> None:
        ordered = weighted.sort(_ENTITY, time)
        places = ordered.select(_ENTITY, pl.int_range(pl.len(), dtype=pl.Int64).alias(_PLACE), pl.col(_EVENT).cum_max().over(_ENTITY), at=time)
        values = ordered.select(_NUMBERS).to_numpy().astype(np.longdouble)
        self._question = question
        self._sums = np.vstack([np.zeros((1, values.shape[1]), np.longdouble), np.cumsum(values, axis=0)])
        starts = places.group_by(_ENTITY).agg(pl.col(_PLACE).min().alias("start"))
        self._first = question.entities.to_frame(_ENTITY).join(starts, on=_ENTITY, how="left", maintain_order="left")["start"].fill_null(0).to_numpy()
        self._newest = places[_EVENT]
        self._lookup = places.select(_ENTITY, _PLACE, "at").sort("at", maintain_order=True)

    def until(self, moments: pl.Series) -> Sums:
        """The sums over each asked entity's rows up to a moment: one row for each question, columns as in the ledger."""
        last = self._question.last(self._lookup, moments)
        upto = np.where(last.is_null().to_numpy(), self._first, last.fill_null(0).to_numpy() + 1)
        return np.asarray(self._sums[upto] - self._sums[self._first])

    def newest_until(self, moments: pl.Series) -> pl.Series:
        """The newest event time among those rows, or null where there is none."""
        last = self._question.last(self._lookup, moments)
        if not len(self._newest):
            return last
        return pl.select(pl.when(last.is_not_null()).then(self._newest[last.fill_null(0)])).to_series()


def _late(question: _Question, weighted: pl.DataFrame, start: pl.Series) -> Sums:
    """Sums of rows that lie before the window but came in after t: they are in neither of the two running sums' difference.

    Only rows that came later than a whole window matter, one step for each moment at which such rows came in.
    """
    at = question.at
    sums = np.zeros((len(at), len(weighted.select(_NUMBERS).columns)), np.longdouble)
    known = at.drop_nulls()
    if not len(known):
        return sums
    late = weighted.filter((pl.col(_ARRIVED) - pl.col(_EVENT) > (at - start).min()) & (pl.col(_ARRIVED) > known[0]))
    for (moment,), came in late.group_by(_ARRIVED):
        waiting = int(known.search_sorted(moment, side="left"))
        part = replace(question, entities=question.entities[:waiting], at=at[:waiting])
        sums[:waiting] += _Running(part, came, _EVENT).until(start[:waiting] - 1)
    return sums


def _finished(aggregation: str, count: Sums, total: Sums) -> pl.Series:
    counts = np.rint(count.astype(np.float64)).astype(np.int64)
    if aggregation == "count":
        return pl.Series(counts)
    values = (total if aggregation == "sum" else total / np.maximum(counts, 1)).astype(np.float64)
    return pl.select(pl.when(pl.Series(counts) > 0).then(pl.Series(values))).to_series()
