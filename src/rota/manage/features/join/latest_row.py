"""The newest row of an entity at a moment, for many (entity, moment) at once, by binary search.

Entity number and time are packed into one 64-bit key, so the rows of a source are one sorted array and a request touches only
what it asks for, where a merge of both sides (Polars' `join_asof`) walks every row. Entities are numbered 0, 1, 2 ...; where
number and time do not fit into 64 bits together, times are replaced by their ranks, which always do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.manage.features.join.row_history import ARRIVED, GONE, RowSegment
from rota.manage.features.join.windows import largest_covering
from rota.manage.features.online.row_codec import RowView, id_digest
from rota.manage.features.rows.source_table import CREATED
from rota.records.data import FeatureView

Ints = np.ndarray
_ENTITY = "_entity"
_ROOM = 2**62
_NEVER = 2**61


def newest(view: FeatureView, segment: RowSegment, entities: pl.DataFrame, at: Ints) -> tuple[Ints, Ints]:
    """Place in the segment (or -1) and event time of the newest row that nothing replaced, by event time, then creation."""
    numbers, asked = _numbered(segment, entities)
    kept = _kept(numbers, segment.replaced)
    event = _ints(segment.rows, view.source.timestamp_field)
    entity, moments = (numbers, event) if kept is None else (numbers[kept], event[kept])
    timeline = Timeline(entity, moments)
    second = None if segment.order is None else _taken(_ints(segment.rows, segment.order), kept)
    ordered = ordered_by(timeline.keys, second, _bytes_of(view, segment.rows, kept))
    places = _through(ordered.row(timeline.last(ordered.keys, asked, at)), kept)
    return places, event[places] if len(event) else np.zeros(len(at), dtype=np.int64)


def served(view: FeatureView, segment: RowSegment, entities: pl.DataFrame, at: Ints) -> tuple[Ints, Ints]:
    """Place in the segment (or -1) and event time of the row that the online store held: the newest of those that it knew and that counted.

    The rows have the moments from which they were online, and (null: for good) from which a later version of them was.
    """
    numbers, asked = _numbered(segment, entities)
    kept = _kept(numbers, None)
    event, arrived = _ints(segment.rows, view.source.timestamp_field), _taken(_ints(segment.rows, ARRIVED), kept)
    entity, moments, created = _taken(numbers, kept), _taken(event, kept), _taken(_ints(segment.rows, CREATED), kept)
    ordered = ordered_by(Timeline(entity, moments).keys, created, _bytes_of(view, segment.rows, kept))
    gone = segment.rows[GONE] if GONE in segment.rows.columns else None
    if gone is None or gone.null_count() == segment.rows.height:
        arrivals = Timeline(entity, arrived)
        order = np.argsort(arrivals.keys)
        # Ranks grow with the entity first, so a running maximum over all entities is one over each.
        best = np.maximum.accumulate(ordered.ranks()[order])
        found = through(arrivals.last(arrivals.keys[order], asked, at), best)
    else:
        found = _standing(entity, arrived, _taken(gone.fill_null(_NEVER).to_numpy(), kept), ordered.ranks(), asked, at)
    places = _through(ordered.row(found), kept)
    return places, event[places] if len(event) else np.zeros(len(at), dtype=np.int64)


def _standing(entity: Ints, arrived: Ints, gone: Ints, ranks: Ints, asked: Ints, at: Ints) -> Ints:
    """For each requested (entity, moment) the largest rank of a row of the entity with arrived <= moment < gone, or -1."""
    questions = np.flatnonzero(asked >= 0)
    if not len(questions) or not len(entity):
        return np.full(len(at), -1)
    timeline = Timeline(asked[questions], at[questions])
    order = np.argsort(timeline.keys)
    keys = timeline.keys[order]
    first = np.searchsorted(keys, timeline.at(entity, arrived - 1), side="right")
    last = np.searchsorted(keys, timeline.at(entity, gone - 1), side="right") - 1
    by_rank = np.argsort(ranks)
    by_rank = by_rank[first[by_rank] <= last[by_rank]]
    covering = largest_covering(first[by_rank], last[by_rank], len(keys))
    found = np.full(len(at), -1)
    found[questions[order]] = through(covering, ranks[by_rank])
    return found


def _numbered(segment: RowSegment, entities: pl.DataFrame) -> tuple[Ints, Ints]:
    """Numbers of the entities: for each row of the segment (-1: not asked for) and for each requested one (-1: unknown)."""
    keys = entities.columns
    rows = segment.rows.select(keys)
    if segment.clustered:
        starts = np.flatnonzero(rows.select(pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift()) for key in keys)).to_series().to_numpy())
        known = rows[starts]
        if not known.is_duplicated().any():
            return np.repeat(np.arange(len(starts)), np.diff(starts, append=rows.height)), _look_up(entities, known)
    known = entities.unique(maintain_order=True)
    return _look_up(rows, known), _look_up(entities, known)


def _look_up(entities: pl.DataFrame, known: pl.DataFrame) -> Ints:
    numbers = known.with_row_index(_ENTITY).with_columns(pl.col(_ENTITY).cast(pl.Int64))
    return entities.join(numbers, on=known.columns, how="left", maintain_order="left")[_ENTITY].fill_null(-1).to_numpy()


def _kept(numbers: Ints, replaced: np.ndarray | None) -> Ints | None:
    """Places of the rows that take part, or None for all of them."""
    out = numbers < 0 if replaced is None else replaced | (numbers < 0)
    return np.flatnonzero(~out) if out.any() else None


def _bytes_of(view: FeatureView, rows: pl.DataFrame, kept: Ints | None) -> Callable[[Ints], list[bytes]]:
    """What decides in the online store between rows of the same event and creation: the larger id, or where there are none the larger bytes."""

    def encode(places: Ints) -> list[bytes]:
        identity = view.source.id_field
        if identity is not None:
            return [id_digest(value) for value in rows[identity].gather(_through(places, kept)).to_list()]
        stored = RowView(view)
        return [stored.encode(row, 0) for row in rows[_through(places, kept)].iter_rows(named=True)]

    return encode


def _ints(rows: pl.DataFrame, name: str) -> Ints:
    return rows[name].to_numpy()


def _taken(values: Ints, places: Ints | None) -> Ints:
    return values if places is None else values[places]


def _through(places: Ints, targets: Ints | None) -> Ints:
    return places if targets is None else through(places, targets)


class Timeline:
    """Rows (entity, moment), in whatever order they come."""

    def __init__(self, entities: Ints, moments: Ints) -> None:
        self._low, self._high = (int(moments.min()), int(moments.max())) if len(moments) else (0, 0)
        self._ranks = None
        count = int(entities.max()) + 1 if len(entities) else 1
        if (self._high - self._low + 2) * count > _ROOM:
            self._ranks = np.unique(moments)
            self._low, self._high = 0, len(self._ranks) - 1
            moments = np.searchsorted(self._ranks, moments)
        self._width = self._high - self._low + 2
        self.keys = entities * self._width  # then in place: fresh pages cost more than the arithmetic
        self.keys += moments
        self.keys -= self._low - 1
        """Grow with (entity, moment); equal keys are equal pairs."""

    def at(self, entities: Ints, moments: Ints) -> Ints:
        """The keys of requested (entity, moment); a moment before all rows gets one that lies between two entities."""
        if self._ranks is not None:
            moments = np.searchsorted(self._ranks, moments, side="right") - 1
        keys: Ints = entities * self._width + (np.clip(moments, self._low - 1, self._high) - (self._low - 1))
        return keys

    def last(self, ordered: Ints, entities: Ints, moments: Ints) -> Ints:
        """For each requested pair the place in `ordered` (the keys, sorted) of the entity's last row at or before the moment, or -1."""
        asked = self.at(entities, moments)
        order = np.argsort(asked)
        places = np.empty(len(asked), dtype=np.int64)
        places[order] = np.searchsorted(ordered, asked[order], side="right") - 1
        found = ordered[np.maximum(places, 0)] // self._width == entities if len(ordered) else np.zeros(len(asked), dtype=bool)
        return np.where(found & (places >= 0) & (entities >= 0), places, -1)


@dataclass(frozen=True, slots=True)
class Ordered:
    """Keys in order, and which row stands at each place: `order` of all of them (None: their own), but `rows` at `places`."""

    keys: Ints
    order: Ints | None
    places: Ints
    rows: Ints

    def row(self, places: Ints) -> Ints:
        """The rows at places; -1 stays."""
        found = places if self.order is None else through(places, self.order)
        if not len(self.places):
            return found
        near = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        return np.where(self.places[near] == places, self.rows[near], found)

    def ranks(self) -> Ints:
        """The place of each row."""
        order = np.arange(len(self.keys)) if self.order is None else self.order.copy()
        order[self.places] = self.rows
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        return ranks


def ordered_by(keys: Ints, second: Ints | None, encode: Callable[[Ints], list[bytes]]) -> Ordered:
    """Rows in the order of (key, second, their bytes); keys that stand in order already are left where they are.

    `encode` is asked for the bytes of those rows only that agree in both numbers.
    """
    order = None if len(keys) < 2 or bool((keys[1:] >= keys[:-1]).all()) else np.argsort(keys)
    ordered = keys if order is None else keys[order]
    same = ordered[1:] == ordered[:-1]
    if second is None or not same.any():
        return Ordered(ordered, order, _NOWHERE, _NOWHERE)
    places = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
    rows = places if order is None else order[places]
    group = pl.DataFrame({"row": rows, "key": ordered[places], "second": second[rows]})
    tied = group.select(pl.struct("key", "second").is_duplicated()).to_series()
    if tied.any():
        data = pl.Series([b""] * group.height, dtype=pl.Binary).scatter(tied.arg_true(), pl.Series(encode(rows[tied.to_numpy()]), dtype=pl.Binary))
        group = group.with_columns(data.alias("data")).sort("key", "second", "data", maintain_order=True)
    else:
        group = group.sort("key", "second", maintain_order=True)
    settled = group["row"].to_numpy()
    moved = settled != rows
    return Ordered(ordered, order, places[moved], settled[moved])


def through(places: Ints, targets: Ints) -> Ints:
    """Places led through a list of places; -1 stays."""
    if not len(targets):
        return np.full(len(places), -1)
    return np.where(places >= 0, targets[places], -1)


_NOWHERE = np.array([], dtype=np.int64)
