"""Forward lineage of one source row: predictions that could see it, datasets that hold it, models trained on these.

A prediction could see the row when a version that answered it reads a view of the source, its request names the row's
entity, and its moment lies in the view's reach: from the row's event and arrival until it expires (`ttl`), falls out of the
longest window, or a newer row takes its place. A dataset joins by event time, whenever the row arrived, so its reach has no
arrival in it. What is found is exact for values that a view keeps one row of; for windows it is what a window covered.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rota.errors import Corrupt, InvalidInput, NotFound
from rota.manage.datasets import build as datasets
from rota.manage.features.ingestion import source_status
from rota.manage.features.rows import source_table
from rota.manage.features.rows.coercion import cell, dtypes
from rota.manage.features.rows.source_table import CREATED
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log as predictions
from rota.ports.tables import Tables
from rota.records.data import FeatureView, Source
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import Record, decode, encode
from rota.records.release import Endpoint, Release, Route
from rota.records.schema import Type
from rota.records.time import DAY_US, Micros, iso, micros

FOREVER_US = 2**62
EXAMPLES = 5
_CHUNK_US = 7 * DAY_US
Progress = Callable[[str, int, int], None]


class Reach(Record, frozen=True):
    """Where a view of the source could see the row: predictions in [from_us, until_us), moments of datasets in [event_us, trained_until_us)."""

    view: str
    entity: Mapping[str, Any]
    from_us: Micros
    until_us: Micros
    event_us: Micros
    trained_until_us: Micros


class TouchedPredictions(Record, frozen=True):
    """Predictions of one version at one endpoint, with the earliest as examples."""

    endpoint: str
    version: str
    count: int
    examples: tuple[str, ...] = ()
    first_us: Micros = 0
    last_us: Micros = 0


class TouchedDataset(Record, frozen=True):
    """Rows of a dataset version into which the row went, as a feature or as a label; `train_rows` are those that train."""

    dataset: str
    rows: int
    train_rows: int
    as_label: int


class RowEffects(Record, frozen=True):
    """What came of a source row. `answered` are all predictions of the models that were trained on it."""

    source: str
    event_us: Micros
    arrived_us: Micros
    row: Mapping[str, Any]
    reaches: tuple[Reach, ...]
    predictions: tuple[TouchedPredictions, ...]
    datasets: tuple[TouchedDataset, ...]
    models: tuple[str, ...]
    answered: tuple[TouchedPredictions, ...]


@dataclass(frozen=True, slots=True)
class _SourceRow:
    source: Source
    values: Mapping[str, Any]
    event_us: Micros
    arrived_us: Micros

    def keys(self, view: FeatureView) -> dict[str, Any]:
        return {key: self.values[key] for key in view.join_keys}


def effects_of_row(
    repositories: Repositories,
    source: str,
    keys: Mapping[str, str],
    *,
    at_us: Micros | None = None,
    row_id: str = "",
    progress: Progress = lambda _what, _done, _of: None,
) -> RowEffects:
    """What came of the row of a source with these field values at this event time, or with this id.

    Raises `NotFound` when there is no such row, `InvalidInput` when neither its time nor its id is given or several rows fit.
    """
    predictions.flush_all(repositories.journal, repositories.tables)
    row = _found(repositories.tables, source_status.get(repositories.metadata, source), keys, at_us, row_id)
    reaches: dict[bytes, Reach] = {}
    served = list(_served(repositories, row, reaches))
    touched: list[TouchedPredictions] = []
    for place, (endpoint, route, spans) in enumerate(served):
        progress(f"predictions of {route.model}@{route.number} at {endpoint}", place, len(served))
        touched += _seen(repositories.tables, endpoint, route, spans)
    held = list(_held(repositories, row, progress))
    trained = {each.dataset for each in held if each.train_rows}
    versions = [version for version in repositories.metadata.find(ModelVersion, order="created_us") if version.dataset in trained]
    return RowEffects(
        source,
        row.event_us,
        row.arrived_us,
        row.values,
        tuple(reaches.values()),
        tuple(touched),
        tuple(held),
        tuple(version.id for version in versions),
        tuple(_answered(repositories, versions)),
    )


def _found(tables: Tables, source: Source, keys: Mapping[str, str], at_us: Micros | None, row_id: str) -> _SourceRow:
    if at_us is None and not row_id:
        raise InvalidInput("which row? give its event time with --at, or its id with --id", source=source.name)
    if row_id and source.id_field is None:
        raise InvalidInput(f"source {source.name!r} has no id field; name the row by --key and --at", source=source.name)
    unknown = [key for key in keys if key not in source.fields]
    if unknown:
        raise InvalidInput(f"source {source.name!r} has no fields {unknown}; it has {list(source.fields)}", source=source.name)
    rows = source_table.scan(tables, source)
    for field, text in {**keys, **({source.id_field: row_id} if row_id and source.id_field else {})}.items():
        rows = rows.filter(_is(field, source.fields[field], text))
    near = rows if at_us is None else rows.filter(pl.col(source.timestamp_field) == at_us)
    found = near.sort(CREATED).collect()
    entities = found.drop(CREATED, *([source.id_field] if source.id_field else [])).unique()
    if found.is_empty():
        times = rows.select(pl.col(source.timestamp_field).unique().sort()).head(3).collect().to_series().to_list()
        hint = f"; rows with these keys are at {', '.join(map(iso, times))} ..." if times else ""
        raise NotFound(f"source {source.name!r} has no such row{hint}", source=source.name)
    if not row_id and entities.height > 1:
        raise InvalidInput(
            f"{entities.height} rows of source {source.name!r} fit; name more fields with --key, or the row by --id", source=source.name
        )
    values = found.row(-1, named=True)
    return _SourceRow(source, values, values[source.timestamp_field], int(found[CREATED][0]))


def _is(field: str, kind: Type, text: str) -> pl.Expr:
    """Equality of a typed column with a text from a command line, read as a cell is."""
    try:
        return pl.col(field) == pl.lit(cell(kind, text), dtype=dtypes({field: kind})[field])
    except InvalidInput as error:
        raise InvalidInput(f"field {field!r} ({kind}): {error}", field=field) from error


def _reach(tables: Tables, row: _SourceRow, view: FeatureView) -> Reach:
    event_us, from_us = row.event_us, max(row.event_us, row.arrived_us)
    if view.windowed:
        hop = micros(view.hop)
        longest = max(micros(feature.window) for feature in view.features.values() if feature.window)
        until = trained_until = event_us // hop * hop + hop + longest
    else:
        expired = event_us + micros(view.ttl) + 1 if view.ttl is not None else FOREVER_US
        replaced, trained_replaced = _replaced(tables, row, view)
        until, trained_until = min(expired, replaced), min(expired, trained_replaced)
    return Reach(view.name, row.keys(view), from_us, until, event_us, trained_until)


def _replaced(tables: Tables, row: _SourceRow, view: FeatureView) -> tuple[Micros, Micros]:
    """When a newer row of the entity, or a correction of this one, took its place: where features are served, and where they are joined."""
    stamp, created = row.source.timestamp_field, row.values[CREATED]
    others = source_table.scan(tables, row.source).filter(pl.col(key).eq_missing(value) for key, value in row.keys(view).items())
    newer = (pl.col(stamp) > row.event_us) | ((pl.col(stamp) == row.event_us) & (pl.col(CREATED) > created))
    known = pl.max_horizontal(stamp, CREATED)
    if row.source.id_field is not None:
        newer = newer | ((pl.col(row.source.id_field) == row.values[row.source.id_field]) & (pl.col(CREATED) > created))
    served, joined = others.filter(newer).select(known.min(), pl.col(stamp).min().alias("joined")).collect().row(0)
    return (FOREVER_US if served is None else int(served)), (FOREVER_US if joined is None else int(joined))


def _served(repositories: Repositories, row: _SourceRow, reaches: dict[bytes, Reach]) -> Iterator[tuple[str, Route, list[Reach]]]:
    """Each endpoint and version that ever was in its traffic split, with the reaches of the version's views of the source."""
    for endpoint in repositories.metadata.find(Endpoint):
        seen: set[tuple[str, int]] = set()
        for release in repositories.metadata.find(Release, {"endpoint": endpoint.name}, order="revision"):
            for route in release.routes:
                if (route.model, route.number) not in seen:
                    seen.add((route.model, route.number))
                    views = _views(repositories, route.bundle, row.source.name)
                    for view in views:
                        if encode(view) not in reaches:
                            reaches[encode(view)] = _reach(repositories.tables, row, view)
                    if views:
                        yield endpoint.name, route, [reaches[encode(view)] for view in views]


def _views(repositories: Repositories, bundle: str, source: str) -> list[FeatureView]:
    try:
        found = decode(repositories.blobs.get(bundle), ModelBundle)
    except (NotFound, Corrupt):  # a deleted version's bundle may be gone
        return []
    return [view for view in found.features.stored_views if view.source.name == source]


def _seen(tables: Tables, endpoint: str, route: Route, spans: Sequence[Reach]) -> Iterator[TouchedPredictions]:
    """The predictions of one version at one endpoint that could see the row, each once however many views showed it."""
    found: dict[str, Micros] = {}
    for span in spans:
        for start, end in _chunks(tables, endpoint, span.from_us, span.until_us):
            rows = predictions.read(tables, endpoint, start, end, features=False)
            asked = [pl.col("request").str.json_path_match(f"$['{key}']") == _as_text(value) for key, value in span.entity.items()]
            mine = rows.filter(pl.col("model") == route.model, pl.col("number") == route.number, pl.col("role") != "shadow", *asked)
            for each, at_us in mine.select("prediction_id", "at_us").iter_rows():
                found.setdefault(each, at_us)
    if found:
        ordered = sorted(found, key=lambda each: (found[each], each))
        yield TouchedPredictions(
            endpoint, f"{route.model}@{route.number}", len(found), tuple(ordered[:EXAMPLES]), found[ordered[0]], found[ordered[-1]]
        )


def _chunks(tables: Tables, endpoint: str, start_us: Micros, end_us: Micros) -> Iterator[tuple[Micros, Micros]]:
    """The part of a span that the endpoint's log covers, in pieces that fit into memory."""
    first, last = predictions.covered(tables, endpoint)
    start, end = max(start_us, first), min(end_us, last + 1)
    while start < end:
        yield start, min(end, start + _CHUNK_US)
        start += _CHUNK_US


def _as_text(value: Any) -> str:
    """How a request's value reads in the log's JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _held(repositories: Repositories, row: _SourceRow, progress: Progress) -> Iterator[TouchedDataset]:
    """The dataset versions into which the row went."""
    name = row.source.name
    versions = [v for v in repositories.metadata.find(DatasetVersion, order="created_us") if name in v.sources]
    for place, version in enumerate(versions):
        progress(f"dataset {version.id}", place, len(versions))
        if not _was_there(repositories.tables, row, version):
            continue
        touched = _touched(repositories, row, version)
        if touched is not None and touched.rows:
            yield touched


def _was_there(tables: Tables, row: _SourceRow, version: DatasetVersion) -> bool:
    """Whether the source's table held the row at the version that the dataset was built from."""
    same = [pl.col(field).eq_missing(row.values[field]) for field in row.source.fields]
    try:
        found = source_table.scan(tables, row.source, version=version.sources[row.source.name]).filter(*same).head(1).collect()
    except NotFound:
        return row.arrived_us <= version.created_us
    return not found.is_empty()


def _touched(repositories: Repositories, row: _SourceRow, version: DatasetVersion) -> TouchedDataset | None:
    definition = _definition(repositories, version)
    try:
        rows = repositories.tables.scan(version.table, version=version.table_version)
        columns = rows.collect_schema().names()
    except NotFound:  # retention has removed the snapshot
        return None
    as_feature = pl.lit(value=False)
    for view in definition.features.stored_views if definition else ():
        if view.source.name == row.source.name and all(key in columns for key in view.join_keys):
            span = _reach(repositories.tables, row, view)
            same = [pl.col(key).eq_missing(value) for key, value in span.entity.items()]
            as_feature = as_feature | pl.all_horizontal(pl.col(datasets.AT).is_between(span.event_us, span.trained_until_us, closed="left"), *same)
    as_label = _label(row, definition, columns)
    counts = rows.select(
        (as_feature | as_label).sum().alias("rows"),
        ((as_feature | as_label) & ~pl.col(datasets.TEST)).sum().alias("train"),
        as_label.sum().alias("label"),
    ).collect()
    return TouchedDataset(version.id, *(int(count or 0) for count in counts.row(0)))


def _label(row: _SourceRow, definition: DatasetDefinition | None, columns: Sequence[str]) -> pl.Expr:
    """The dataset's row that is this very row of the label source."""
    if definition is None or definition.labels.name != row.source.name:
        return pl.lit(value=False)
    fields = [row.source.id_field] if row.source.id_field else [field for field in row.source.fields if field in columns]
    return pl.all_horizontal(pl.col(field).eq_missing(row.values[field]) for field in fields)


def _definition(repositories: Repositories, version: DatasetVersion) -> DatasetDefinition | None:
    try:
        return decode(repositories.blobs.get(version.definition), DatasetDefinition) if version.definition else None
    except (NotFound, Corrupt):
        return None


def _answered(repositories: Repositories, versions: Sequence[ModelVersion]) -> Iterator[TouchedPredictions]:
    """All predictions of some versions, counted by endpoint."""
    for version in versions:
        for endpoint in repositories.metadata.find(Endpoint, {"model": version.model}):
            found = predictions.of_version(repositories.tables, endpoint.name, version.number, examples=EXAMPLES)
            if found.count:
                yield TouchedPredictions(endpoint.name, version.id, found.count, found.examples, found.first_us, found.last_us)
