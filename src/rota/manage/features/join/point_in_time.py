"""Features for training: for each row of a frame of entities and moments, what was true of the entity at that moment.

as_of="event": by event time: the newest row with timestamp <= t, corrections of a row (same id) taken as if they had been
there from the start. For datasets: history that was loaded long afterwards counts as if it had been received in time.
as_of="served": what serving could know: only rows that Rota had received by t, as the online store had them then.

A source with a clustered copy (see `copies`) is read a bucket or two at a time, and only buckets that somebody asks about; what
came after the copy is read from the source's table. A source without one is read whole, but only the columns that are needed.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.features.expressions import compiler
from rota.manage.features.join import latest_row
from rota.manage.features.join.column_assembly import Answers
from rota.manage.features.join.join_input import ARRIVED, ENTITY, EVENT, SIGN, AsOf, Question
from rota.manage.features.join.row_history import History, Standing, Stretch, standing
from rota.manage.features.join.sorted_copy import Layout, layout_of, widened
from rota.manage.features.join.window_sums import windowed
from rota.manage.features.rows import coercion, source_table
from rota.manage.features.rows.source_table import CREATED, REPLACED, REPLACED_EVENT
from rota.ports.tables import Tables
from rota.records.data import FeatureService, FeatureView, OnDemandFeatureView
from rota.records.time import Micros, micros

FAR_US = 2**62
_AT_ONCE = 2
"""Buckets in memory at a time: one is decoded while the other is searched, both of which leave Python's lock alone."""


def historical(
    tables: Tables, service: FeatureService, spine: pl.DataFrame, *, timestamp: str, known_until_us: Micros = FAR_US, as_of: AsOf = "event"
) -> pl.DataFrame:
    """The spine with one column for each of `service.feature_names`: as many rows as before, in the same order.

    The spine holds the column `timestamp` (when the prediction is or was made) and the service's request fields. Times are
    datetimes with a zone, datetimes without one (read as UTC), dates (their midnight in UTC) or integer microseconds, each
    column by itself. Rows of the sources that Rota received after `known_until_us` are ignored. An unknown entity, a null
    join key, a null timestamp or a row older than the view's ttl gives null; a row exactly as old as the ttl is alive.
    """
    names = list(service.feature_names)
    taken = [name for name in names if name in spine.columns]
    if taken:
        raise InvalidInput(f"the frame already has the columns {taken}; leave them out", columns=taken)
    at = coercion.conform(spine, {timestamp: "timestamp"}, what="the frame").to_series()
    reader = _Reader(tables, spine, at, known_until_us, as_of)
    columns: dict[str, pl.Series] = {}
    for view in service.views:
        if not any(f"{view.name}__{name}" in names for name in view.features):
            continue
        made = reader.answers(view) if isinstance(view, FeatureView) else _on_demand(view, spine)
        columns |= {column.name: column for column in made if column.name in names}
    if any(len(column) != spine.height for column in columns.values()):
        raise AssertionError(f"{spine.height} rows went in, {[len(column) for column in columns.values()]} came out")
    return spine.with_columns(columns[name] for name in names)


def _on_demand(view: OnDemandFeatureView, spine: pl.DataFrame) -> list[pl.Series]:
    inputs = coercion.conform(spine, view.inputs, what=f"the frame, for view {view.name!r},")
    made = []
    for name, feature in view.features.items():
        values = inputs.select(compiler.column(feature.sql, view.inputs).alias(f"{view.name}__{name}")).to_series()
        made.append(values if values.len() == spine.height else values.new_from_index(0, spine.height))
    return made


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of the spine whose entities lie in one bucket: their places, join keys and moments."""

    bucket: int
    places: np.ndarray
    entities: pl.DataFrame
    at: np.ndarray


class _Reader:
    """Answers one view after the other, all from the same version of each source."""

    def __init__(self, tables: Tables, spine: pl.DataFrame, at: pl.Series, known_until_us: Micros, as_of: AsOf) -> None:
        self._tables = tables
        self._spine = spine
        self._at = at
        self._known_until_us = known_until_us
        self._as_of: AsOf = as_of
        self._versions: dict[str, int | None] = {}
        self._moments = at.fill_null(0).to_numpy()
        self._places: dict[tuple[str, ...], np.ndarray] = {}

    def answers(self, view: FeatureView) -> list[pl.Series]:
        """The feature columns of a view."""
        layout = layout_of(view)
        entities = coercion.conform(self._spine, {key: view.source.fields[key] for key in layout.keys}, what=f"the frame, for view {view.name!r},")
        fields = _fields(view)
        stands = self._standing(layout, fields)
        while True:
            try:
                return self._read(view, entities, fields, stands)
            except (NotFound, OSError):
                # Two compactions have passed since the copy was found, and its rows are gone.
                before, stands = stands, self._standing(layout, fields)
                if stands == before:
                    raise

    def _standing(self, layout: Layout, fields: list[str]) -> Standing:
        name = layout.source.name
        if name not in self._versions:
            self._versions[name] = self._tables.version(source_table.table(layout.source))
        return standing(self._tables, layout, self._versions[name], fields)

    def _read(self, view: FeatureView, entities: pl.DataFrame, fields: list[str], stands: Standing) -> list[pl.Series]:
        all_times = view.windowed or self._as_of == "served"
        history = History(self._tables, stands, fields, known_until_us=self._known_until_us, all_times=all_times)
        answers = Answers(self._spine.height, _template(view))

        def answer(part: _Part) -> None:
            stretches = history.stretches(part.bucket)
            if view.windowed:
                answers.put(part.places, _windows(view, stretches, part, self._as_of))
            elif self._as_of == "served":
                _put_served(answers, view, stretches, part)
            else:
                _put_newest(answers, view, stretches, part)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(answer, self._parts(stands, entities, in_order=view.windowed)))
        return answers.take()

    def _complete(self, keys: tuple[str, ...], entities: pl.DataFrame) -> np.ndarray:
        """Places of the rows of the spine that name an entity and a moment."""
        if keys not in self._places:
            named = entities.select(pl.all_horizontal(pl.col(key).is_not_null() for key in keys)).to_series()
            self._places[keys] = np.flatnonzero((named & self._at.is_not_null()).to_numpy())
        return self._places[keys]

    def _parts(self, stands: Standing, entities: pl.DataFrame, *, in_order: bool) -> Iterator[_Part]:
        """The rows that can have an answer, bucket by bucket."""
        places, at = self._complete(stands.layout.keys, entities), self._moments
        if in_order:
            places = places[np.argsort(at[places], kind="stable")]
        buckets = entities.select(stands.layout.bucket(stands.buckets)).to_series().fill_null(0).to_numpy()[places]
        places = places[np.argsort(buckets, kind="stable")]
        ends = np.cumsum(np.bincount(buckets, minlength=stands.buckets))
        for bucket, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if start < end:
                mine = places[start:end]
                yield _Part(bucket, mine, entities[mine], at[mine])


def _fields(view: FeatureView) -> list[str]:
    """The columns of the source that the view's expressions read; windows also want to know which row is which."""
    fields = view.source.fields
    names = {name for feature in view.features.values() for name in compiler.columns_of(feature.sql, fields)}
    return sorted(names | ({view.source.id_field} if view.windowed and view.source.id_field else set()))


def _template(view: FeatureView) -> pl.DataFrame:
    """The view's feature columns without rows."""
    empty = pl.DataFrame(schema=coercion.dtypes(source_table.fields(view.source)))
    if not view.windowed:
        return _features(view, empty)
    stretch = Stretch(source_table.chained(empty, view.source), CREATED, None, clustered=False)
    nobody = _Part(0, np.array([], dtype=np.int64), empty.select(*dict.fromkeys(view.join_keys)), np.array([], dtype=np.int64))
    return _windows(view, [stretch], nobody, "event")


def _features(view: FeatureView, found: pl.DataFrame) -> pl.DataFrame:
    """The scalar features of rows; the event time stands by so that a constant has as many rows."""
    made = [compiler.column(feature.sql, view.source.fields).alias(f"{view.name}__{name}") for name, feature in view.features.items()]
    return found.select(pl.col(view.source.timestamp_field).alias(EVENT), *made).drop(EVENT)


def _put_newest(answers: Answers, view: FeatureView, stretches: list[Stretch], part: _Part) -> None:
    """The newest row of each stretch by event time; where two have one, the later event, and of equal ones the later creation."""
    best = np.full(len(part.at), np.iinfo(np.int64).min)
    chosen = np.full(len(part.at), -1)
    found = []
    for number, stretch in enumerate(stretches):
        places, event = latest_row.newest(view, stretch, part.entities, part.at)
        later = (places >= 0) & (event >= best)
        best, chosen = np.where(later, event, best), np.where(later, number, chosen)
        found.append(places)
    for number, (stretch, places) in enumerate(zip(stretches, found, strict=True)):
        _put(answers, view, stretch, part, np.where((chosen == number) & _alive(view, part.at, best), places, -1))


def _put_served(answers: Answers, view: FeatureView, stretches: list[Stretch], part: _Part) -> None:
    """The row that the online store had: the newest by event time of those that had come in."""
    whole = Stretch(pl.concat([stretch.rows for stretch in stretches], how="diagonal"), CREATED, None, clustered=False)
    places, event = latest_row.served(view, whole, part.entities, part.at)
    _put(answers, view, whole, part, np.where(_alive(view, part.at, event), places, -1))


def _alive(view: FeatureView, at: np.ndarray, event: np.ndarray) -> np.ndarray:
    return np.ones(len(at), dtype=bool) if view.ttl is None else event >= at - micros(view.ttl)


def _put(answers: Answers, view: FeatureView, stretch: Stretch, part: _Part, places: np.ndarray) -> None:
    """Compute the features of the rows that were found, and of those only."""
    hit = np.flatnonzero(places >= 0)
    if len(hit):
        read = stretch.rows.select(list(dict.fromkeys([view.source.timestamp_field, *_fields(view)])))
        answers.put(part.places[hit], _features(view, widened(read[places[hit]])))


def _windows(view: FeatureView, stretches: list[Stretch], part: _Part, as_of: AsOf) -> pl.DataFrame:
    """Windowed features of one bucket."""
    keys, event = list(part.entities.columns), view.source.timestamp_field
    kept = [stretch.rows if as_of == "served" or stretch.replaced is None else stretch.rows.filter(~stretch.replaced) for stretch in stretches]
    found = pl.concat(kept, how="diagonal")
    found = found.with_columns(pl.col(event).alias(EVENT), pl.max_horizontal(CREATED, event).alias(ARRIVED), pl.lit(1.0).alias(SIGN))
    if as_of == "served":
        gone = found.filter(pl.col(REPLACED).is_not_null())
        taken = pl.max_horizontal(ARRIVED, REPLACED, REPLACED_EVENT)  # a row dated ahead may be replaced before it is known itself
        found = pl.concat([found, gone.with_columns(taken.alias(ARRIVED), pl.lit(-1.0).alias(SIGN))])
    numbers = part.entities.unique().with_row_index(ENTITY).with_columns(pl.col(ENTITY).cast(pl.Int64))
    found = found.join(numbers, on=keys, how="inner", maintain_order="left")
    entity = part.entities.join(numbers, on=keys, how="left", maintain_order="left")[ENTITY]
    return pl.DataFrame(windowed(Question(view, found, entity, pl.Series(part.at), as_of)))
