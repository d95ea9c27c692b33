"""Features for training: for each row of a frame of entities and moments, what was true of the entity at that moment.

as_of="event": by event time: the newest row with timestamp <= t, corrections of a row (same id) taken as if they had been
there from the start. For datasets: history that was loaded long afterwards counts as if it had been received in time.
as_of="served": what serving knew: only rows that were online by t, as the online store had them then: pushed rows from their receipt
on, ingested ones from the materialization that brought them (see `row_history.served_times`).

Views over one source with the same join keys read its rows once. A source with a clustered copy (see `row_history`) is read a
bucket or two at a time, and only buckets that somebody asks about; what came after the copy is read from the source's table. A
source without one is read whole, but only the columns that are needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler
from rota.manage.features.join import latest_row, row_history
from rota.manage.features.join.row_history import Layout, RowHistory, RowSegment, SourceSnapshot, layout_of, served_times, snapshot, widened
from rota.manage.features.join.windows import AsOf, WindowPlan, windowed
from rota.manage.features.online.row_codec import prefix
from rota.manage.features.rows import coercion, column_conversion, source_table
from rota.manage.features.rows.source_table import CREATED
from rota.ports.tables import Tables
from rota.records.data import Expression, FeatureService, FeatureView, OnDemandFeatureView
from rota.records.schema import Type
from rota.records.time import Micros, micros

FAR_US = 2**62
_AT_ONCE = 2
"""Buckets in memory at a time: one is decoded while the other is searched, both of which leave Python's lock alone."""


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """A service made ready for joins: views together that read one source by the same join keys, expressions compiled.

    `names` are the features in order; `request_fields` is what a frame must hold, `sources` what is read.
    """

    names: tuple[str, ...]
    request_fields: Mapping[str, Type]
    sources: tuple[str, ...]
    stored: list[tuple[Layout, list["_ViewRead"]]]
    on_demand: list[tuple[OnDemandFeatureView, list[pl.Expr]]]


def planned(service: FeatureService) -> JoinPlan:
    """Prepare the join of a service's features; what is kept of it follows from the definitions alone."""
    names = service.feature_names
    wanted = [view for view in service.views if any(f"{view.name}__{name}" in names for name in view.features)]
    groups: list[tuple[Layout, list[_ViewRead]]] = []
    for view in wanted:
        if isinstance(view, FeatureView):
            layout, read = layout_of(view), _ViewRead.of(view)
            group = next((members for known, members in groups if known == layout), None)
            if group is None:
                groups.append((layout, [read]))
            else:
                group.append(read)
    on_demand = [(view, compiler.aliased(_named(view), view.inputs)) for view in wanted if isinstance(view, OnDemandFeatureView)]
    sources = tuple(sorted({view.source.name for view in service.stored_views}))
    return JoinPlan(names, service.request_fields, sources, groups, on_demand)


def historical(
    tables: Tables,
    features: FeatureService | JoinPlan,
    spine: pl.DataFrame,
    *,
    timestamp: str,
    known_until_us: Micros = FAR_US,
    as_of: AsOf = "event",
    materialized: Mapping[str, Sequence[Micros]] | None = None,
) -> pl.DataFrame:
    """The spine with one column for each of `features.feature_names`: as many rows as before, in the same order.

    The spine holds the column `timestamp` (when the prediction is or was made) and the service's request fields. Times are
    datetimes with a zone, datetimes without one (read as UTC), dates (their midnight in UTC) or integer microseconds, each
    column by itself. Rows of the sources that Rota received after `known_until_us` are ignored. An unknown entity, a null
    join key, a null timestamp or a row older than the view's ttl gives null; a row exactly as old as the ttl is alive.

    `materialized` are the moments at which each definition of a view was materialized (`materialization_log.times`), in order; as_of
    "served" raises `InvalidInput` without them: every row that was ingested would be taken for one that never came online.

    A windowed feature covers the rows with floor(t - window, hop) <= timestamp <= t. Raises `InvalidInput` when the frame lacks a
    column, has one in a type that does not fit, or already has a column of a feature's name.
    """
    if as_of == "served" and materialized is None:
        raise InvalidInput('as_of="served" needs to know when ingested rows came online; give materialized=materialization_log.times(...)')
    plan = features if isinstance(features, JoinPlan) else planned(features)
    taken = [name for name in plan.names if name in spine.columns]
    if taken:
        raise InvalidInput(f"the frame already has the columns {taken}; leave them out", columns=taken)
    at = column_conversion.conform(spine, {timestamp: "timestamp"}, what="the frame").to_series()
    join = PointInTimeJoin(tables, spine, at, known_until_us, as_of, materialized or {})
    columns: dict[str, pl.Series] = {}
    for layout, reads in plan.stored:
        columns |= join.columns(layout, reads)
    for view, expressions in plan.on_demand:
        columns |= _on_demand(view, expressions, spine)
    if any(len(column) != spine.height for column in columns.values()):
        raise AssertionError(f"{spine.height} rows went in, {[len(column) for column in columns.values()]} came out")
    return spine.with_columns(columns[name] for name in plan.names)


def _named(view: FeatureView | OnDemandFeatureView) -> dict[str, Expression]:
    return {f"{view.name}__{name}": feature.expression for name, feature in view.features.items()}


def _on_demand(view: OnDemandFeatureView, expressions: list[pl.Expr], spine: pl.DataFrame) -> dict[str, pl.Series]:
    inputs = column_conversion.conform(spine, view.inputs, what=f"the frame, for view {view.name!r},")
    columns = [inputs.select(expression).to_series() for expression in expressions]
    return {values.name: values if values.len() == spine.height else values.new_from_index(0, spine.height) for values in columns}


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of the spine whose entities lie in one bucket: their places, join keys and moments."""

    bucket: int
    places: np.ndarray
    entities: pl.DataFrame
    at: np.ndarray


class PointInTimeJoin:
    """The features of one frame of entities and moments, all from the same version of each source."""

    def __init__(
        self, tables: Tables, spine: pl.DataFrame, at: pl.Series, known_until_us: Micros, as_of: AsOf, materialized: Mapping[str, Sequence[Micros]]
    ) -> None:
        self._tables = tables
        self._materialized = materialized
        self._spine = spine
        self._at = at
        self._known_until_us = known_until_us
        self._as_of: AsOf = as_of
        self._versions: dict[str, int | None] = {}
        self._moments = at.fill_null(0).to_numpy()
        self._complete: dict[tuple[str, ...], np.ndarray] = {}

    def columns(self, layout: Layout, reads: list["_ViewRead"]) -> dict[str, pl.Series]:
        """The feature columns of views over one source that share its join keys."""
        keys = {key: layout.source.fields[key] for key in layout.keys}
        entities = column_conversion.conform(self._spine, keys, what=f"the frame, for view {reads[0].view.name!r},")
        fields = sorted({name for read in reads for name in read.fields})
        before: SourceSnapshot | None = None
        state: SourceSnapshot | None = None
        while True:
            try:
                state = self._snapshot(layout, fields)
                return self._read(reads, entities, fields, state)
            except row_history.UNREADABLE as error:
                if state is None or state == before:
                    return self._without_copy(layout, reads, entities, fields, error)
                before = state  # two compactions have passed since the copy was found, and its rows are gone

    def _without_copy(
        self, layout: Layout, reads: list["_ViewRead"], entities: pl.DataFrame, fields: list[str], error: BaseException
    ) -> dict[str, pl.Series]:
        """The columns out of the raw table; if that can be read, it was the copy that cannot, and it is given up."""
        found = self._read(reads, entities, fields, SourceSnapshot(layout, self._versions[layout.source.name], None, None))
        row_history.give_up(self._tables, layout, str(error))
        return found

    def _snapshot(self, layout: Layout, fields: list[str]) -> SourceSnapshot:
        name = layout.source.name
        if name not in self._versions:
            self._versions[name] = self._tables.version(source_table.table(layout.source))
        return snapshot(self._tables, layout, self._versions[name], fields, served=self._as_of == "served")

    def _read(self, reads: list["_ViewRead"], entities: pl.DataFrame, fields: list[str], state: SourceSnapshot) -> dict[str, pl.Series]:
        history = RowHistory(
            self._tables,
            state,
            fields,
            known_until_us=self._known_until_us,
            all_times=self._as_of == "served" or any(read.windows for read in reads),
        )
        assembled = [FeatureColumns(self._spine.height) for _ in reads]

        def join(part: _Part) -> None:
            segments = history.segments(part.bucket)
            for read, columns in zip(reads, assembled, strict=True):
                for places, values in read.values(self._as_served(segments, read) if self._as_of == "served" else segments, part, self._as_of):
                    columns.put(places, values)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(join, self._parts(state, entities, in_order=any(read.windows for read in reads))))
        return {column.name: column for read, columns in zip(reads, assembled, strict=True) for column in columns.take() or read.nulls(len(self._at))}

    def _as_served(self, segments: list[RowSegment], read: "_ViewRead") -> list[RowSegment]:
        """The rows as one segment, with the moments at which they were online in a view."""
        rows = pl.concat([segment.rows for segment in segments], how="diagonal")
        return [RowSegment(served_times(rows, read.view.source, self._materialized.get(read.definition, ())), CREATED, None, clustered=False)]

    def _parts(self, state: SourceSnapshot, entities: pl.DataFrame, *, in_order: bool) -> Iterator[_Part]:
        """The rows that can have an answer, bucket by bucket."""
        places, at = self._complete_places(state.layout.keys, entities), self._moments
        if in_order:
            places = places[np.argsort(at[places], kind="stable")]
        if state.buckets == 1:
            if len(places):
                yield _Part(0, places, entities[places], at[places])
            return
        buckets = entities.select(state.layout.bucket(state.buckets)).to_series().fill_null(0).to_numpy()[places]
        places = places[np.argsort(buckets, kind="stable")]
        ends = np.cumsum(np.bincount(buckets, minlength=state.buckets))
        for bucket, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if start < end:
                mine = places[start:end]
                yield _Part(bucket, mine, entities[mine], at[mine])

    def _complete_places(self, keys: tuple[str, ...], entities: pl.DataFrame) -> np.ndarray:
        """Places of the rows of the spine that name an entity and a moment."""
        if keys not in self._complete:
            named = entities.select(pl.all_horizontal(pl.col(key).is_not_null() for key in keys)).to_series()
            self._complete[keys] = np.flatnonzero((named & self._at.is_not_null()).to_numpy())
        return self._complete[keys]


@dataclass(frozen=True, slots=True)
class _ViewRead:
    """What one view computes of the rows of its source: the columns that its expressions read, and their results."""

    view: FeatureView
    definition: str
    fields: list[str]
    ttl_us: Micros | None
    expressions: list[pl.Expr]
    windows: WindowPlan | None

    @classmethod
    def of(cls, view: FeatureView) -> "_ViewRead":
        fields, expressions, windows = view.source.fields, _named(view), view.windowed
        names = compiler.columns_of_all(expressions.values(), fields)
        if windows and view.source.id_field:
            names.add(view.source.id_field)  # windows also want to know which row is which
        ttl_us = micros(view.ttl) if view.ttl is not None else None
        columns = [] if windows else compiler.aliased(expressions, fields)
        return cls(view, prefix(view).hex(), sorted(names), ttl_us, columns, WindowPlan.of(view) if windows else None)

    def values(self, segments: list[RowSegment], part: _Part, as_of: AsOf) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """Places in the spine with their features; places without a row are left out."""
        if self.windows:
            yield part.places, windowed(self.windows, segments, part.entities, part.at, as_of)
            return
        if as_of == "served":
            chosen = [latest_row.served(self.view, segments[0], part.entities, part.at)]
        else:
            chosen = [latest_row.newest(self.view, segment, part.entities, part.at) for segment in segments]
        for segment, rows in zip(segments, self._alive(chosen, part.at), strict=True):
            hit = np.flatnonzero(rows >= 0)
            if len(hit):
                read = segment.rows.select(list(dict.fromkeys([self.view.source.timestamp_field, *self.fields])))
                yield part.places[hit], self._features(widened(read[rows[hit]]))

    def nulls(self, height: int) -> list[pl.Series]:
        """The view's columns where nobody has a row."""
        empty = pl.DataFrame(schema=coercion.dtypes(source_table.fields(self.view.source)))
        if self.windows:
            segment = RowSegment(source_table.chained(empty, self.view.source), CREATED, None, clustered=False)
            none = windowed(self.windows, [segment], empty.select(*dict.fromkeys(self.view.join_keys)), np.array([], dtype=np.int64), "event")
        else:
            none = self._features(empty)
        return [pl.Series(name, [None], dtype=dtype).new_from_index(0, height) for name, dtype in none.schema.items()]

    def _alive(self, chosen: list[tuple[np.ndarray, np.ndarray]], at: np.ndarray) -> list[np.ndarray]:
        """Of each segment the rows that win over the other segments' and are not older than the ttl, -1 elsewhere.

        The later event wins; of equal ones the later segment, whose rows were created later.
        """
        best = np.full(len(at), np.iinfo(np.int64).min)
        winner = np.full(len(at), -1)
        for number, (rows, event) in enumerate(chosen):
            later = (rows >= 0) & (event >= best)
            best, winner = np.where(later, event, best), np.where(later, number, winner)
        if self.ttl_us is not None:
            winner = np.where(best >= at - self.ttl_us, winner, -1)
        return [np.where(winner == number, rows, -1) for number, (rows, _) in enumerate(chosen)]

    def _features(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The scalar features of rows; the event time stands by so that a constant has as many rows."""
        return rows.select(pl.col(self.view.source.timestamp_field).alias("_event"), *self.expressions).drop("_event")


class FeatureColumns:
    """A view's columns for all rows of the spine, put together from parts in whatever order these come; null where nothing is put.

    Parts wait as they are until the end: one look-up a column is quicker than writing each part to its places.
    """

    def __init__(self, height: int) -> None:
        self._height = height
        self._parts: list[tuple[np.ndarray, pl.DataFrame]] = []

    def put(self, places: np.ndarray, values: pl.DataFrame) -> None:
        """Keep rows. Threads may put parts at once that have no place in common."""
        self._parts.append((places, values))

    def take(self) -> list[pl.Series]:
        """The finished columns, none where nothing was put; the parts are given up here, so that they do not lie in memory twice."""
        if not self._parts:
            return []
        places = np.full(self._height, -1, dtype=np.int64)
        start = 0
        for at, values in self._parts:
            places[at] = np.arange(start, start + values.height)
            start += values.height
        places_or_null = pl.select(pl.when(pl.Series(places) >= 0).then(pl.Series(places))).to_series()
        parts = pl.concat([values for _, values in self._parts])
        self._parts = []
        return [parts.drop_in_place(name).gather(places_or_null) for name in parts.columns]
