"""The newest row of an entity at a moment, for many (entity, moment) at once."""

from collections.abc import Callable

import numpy as np
import polars as pl

from rota.manage.features.join.join_input import ENTITY
from rota.manage.features.join.row_history import Stretch
from rota.manage.features.join.sorted_lookup import Timeline, ordered_by, through
from rota.manage.features.online.row_codec import RowView
from rota.manage.features.rows.source_table import CREATED
from rota.records.data import FeatureView

Ints = np.ndarray


def newest(view: FeatureView, stretch: Stretch, entities: pl.DataFrame, at: Ints) -> tuple[Ints, Ints]:
    """Place in the stretch (or -1) and event time of the newest row that nothing replaced, by event time, then creation."""
    numbers, asked = _numbered(stretch, entities)
    kept = _kept(numbers, stretch.replaced)
    event = _ints(stretch.rows, view.source.timestamp_field)
    entity, moments = (numbers, event) if kept is None else (numbers[kept], event[kept])
    timeline = Timeline(entity, moments)
    second = None if stretch.order is None else _taken(_ints(stretch.rows, stretch.order), kept)
    ordered = ordered_by(timeline.keys, second, _bytes_of(view, stretch.rows, kept))
    places = _through(ordered.row(timeline.last(ordered.keys, asked, at)), kept)
    return places, event[places] if len(event) else np.zeros(len(at), dtype=np.int64)


def served(view: FeatureView, stretch: Stretch, entities: pl.DataFrame, at: Ints) -> tuple[Ints, Ints]:
    """Place in the stretch (or -1) and event time of the row that the online store held: of all that had come in, the newest."""
    numbers, asked = _numbered(stretch, entities)
    kept = _kept(numbers, None)
    event, created = _ints(stretch.rows, view.source.timestamp_field), _ints(stretch.rows, CREATED)
    entity, moments, received = _taken(numbers, kept), _taken(event, kept), _taken(created, kept)
    ordered = ordered_by(Timeline(entity, moments).keys, received, _bytes_of(view, stretch.rows, kept))
    arrivals = Timeline(entity, np.maximum(received, moments))
    arrived = np.argsort(arrivals.keys)
    # Ranks grow with the entity first, so a running maximum over all entities is one over each.
    best = np.maximum.accumulate(ordered.ranks()[arrived])
    found = arrivals.last(arrivals.keys[arrived], asked, at)
    places = _through(ordered.row(through(found, best)), kept)
    return places, event[places] if len(event) else np.zeros(len(at), dtype=np.int64)


def _numbered(stretch: Stretch, entities: pl.DataFrame) -> tuple[Ints, Ints]:
    """Numbers of the entities: for each row of the stretch (-1: not asked for) and for each question (-1: unknown)."""
    keys = entities.columns
    rows = stretch.rows.select(keys)
    if stretch.clustered:
        starts = np.flatnonzero(rows.select(pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift()) for key in keys)).to_series().to_numpy())
        known = rows[starts]
        if not known.is_duplicated().any():
            return np.repeat(np.arange(len(starts)), np.diff(starts, append=rows.height)), _look_up(entities, known)
    known = entities.unique(maintain_order=True)
    return _look_up(rows, known), _look_up(entities, known)


def _look_up(entities: pl.DataFrame, known: pl.DataFrame) -> Ints:
    numbers = known.with_row_index(ENTITY).with_columns(pl.col(ENTITY).cast(pl.Int64))
    return entities.join(numbers, on=known.columns, how="left", maintain_order="left")[ENTITY].fill_null(-1).to_numpy()


def _kept(numbers: Ints, replaced: np.ndarray | None) -> Ints | None:
    """Places of the rows that take part, or None for all of them."""
    out = numbers < 0 if replaced is None else replaced | (numbers < 0)
    return np.flatnonzero(~out) if out.any() else None


def _bytes_of(view: FeatureView, rows: pl.DataFrame, kept: Ints | None) -> Callable[[Ints], list[bytes]]:
    """What the online store would hold of rows: it prefers the larger bytes where event and creation are the same."""

    def encode(places: Ints) -> list[bytes]:
        stored = RowView(view)
        return [stored.encode(row, 0) for row in rows[_through(places, kept)].iter_rows(named=True)]

    return encode


def _ints(rows: pl.DataFrame, name: str) -> Ints:
    return rows[name].to_numpy()


def _taken(values: Ints, places: Ints | None) -> Ints:
    return values if places is None else values[places]


def _through(places: Ints, targets: Ints | None) -> Ints:
    return places if targets is None else through(places, targets)
