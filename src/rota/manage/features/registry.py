"""Registration of feature definitions: checked and gated first, then stored together."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from rota.errors import InvalidInput, RotaError
from rota.manage.features import expressions, gate, source_rows, windows
from rota.ports.metadata import Batch, Metadata
from rota.ports.tables import Tables
from rota.records.data import Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.record import Record
from rota.records.schema import Type
from rota.records.signal import Cursor

Definition = Source | FeatureView | OnDemandFeatureView | FeatureService
CATALOG = "catalog"
_SAMPLE = 10_000


def register(metadata: Metadata, tables: Tables, definitions: Iterable[Definition]) -> list[Record]:
    """Store sources, views and services with all that they contain; returns the records that are new or changed.

    Every expression passes the gate first: its row form and its column form agree on an edge table and on the newest
    rows of the source. Raises `InvalidInput` or `Refused` (nothing is stored then), `Conflict` when
    somebody else registered the same name at the same time.
    """
    records = _unfolded(definitions)
    for record in records:
        if isinstance(record, Source):
            _check_source(metadata, record)
        elif isinstance(record, FeatureView):
            _check_view(record, source_rows.stored(tables, record.source).tail(_SAMPLE))
        elif isinstance(record, FeatureService):
            for view in record.request_views:
                _gate(view.name, view.features, view.inputs, None)
    batch, changed = Batch(), []
    for record in records:
        stored = metadata.get(type(record), record.name)
        if stored != record:
            batch.put(record, replacing=stored)
            changed.append(record)
    if changed:
        before = metadata.get(Cursor, CATALOG)
        batch.put(Cursor(CATALOG, before.position + 1 if before else 1), replacing=before)
        metadata.commit(batch)
    return list(changed)


def catalog(metadata: Metadata) -> int:
    """How often definitions have changed: who keeps something derived from them looks here whether it is still right."""
    stamp = metadata.get(Cursor, CATALOG)
    return stamp.position if stamp else 0


def views_of(metadata: Metadata, source: str) -> list[FeatureView]:
    """Every view over a source that somebody may read: the registered ones, and those that services still hold as they were."""
    views = [*metadata.find(FeatureView), *(view for service in metadata.find(FeatureService) for view in service.stored_views)]
    return [view for view in views if view.source.name == source]


def _unfolded(definitions: Iterable[Definition]) -> list[Source | FeatureView | FeatureService]:
    """The definitions with the sources and views inside them, each once."""
    found: dict[tuple[type, str], Source | FeatureView | FeatureService] = {}

    def add(record: Source | FeatureView | FeatureService) -> None:
        if found.setdefault((type(record), record.name), record) != record:
            raise InvalidInput(f"{type(record).__name__} {record.name!r} is given two different definitions; keep one", name=record.name)

    for definition in definitions:
        if isinstance(definition, OnDemandFeatureView):
            _gate(definition.name, definition.features, definition.inputs, None)
            continue
        views: Sequence[FeatureView] = definition.stored_views if isinstance(definition, FeatureService) else ()
        for view in (definition,) if isinstance(definition, FeatureView) else views:
            add(view.source)
            add(view)
        if not isinstance(definition, FeatureView):
            add(definition)
    return list(found.values())


def _check_source(metadata: Metadata, source: Source) -> None:
    for name in source.fields:
        if name == source_rows.CREATED or name.startswith("_"):
            raise InvalidInput(f"source {source.name!r}: the field name {name!r} is kept for Rota; choose another", source=source.name, field=name)
    if source.id_field and source.fields[source.id_field] == "float":
        raise InvalidInput(f"source {source.name!r}: a float cannot identify rows; declare {source.id_field!r} as int or string", source=source.name)
    stored = metadata.get(Source, source.name)
    retyped = [name for name, kind in source.fields.items() if stored and stored.fields.get(name, kind) != kind]
    if retyped:
        raise InvalidInput(
            f"source {source.name!r} already has {retyped} with other types; give the new fields new names", source=source.name, fields=retyped
        )


def _check_view(view: FeatureView, sample: pl.DataFrame) -> None:
    floats = [key for key in view.join_keys if view.source.fields[key] == "float"]
    if floats:
        raise InvalidInput(f"feature view {view.name!r}: the join keys {floats} are floats; an entity is found by int or string", view=view.name)
    if view.windowed:
        windows.tiles_kept(view)
    for name, feature in view.features.items():
        kind = expressions.type_of(feature.sql, view.source.fields)
        expected = _TAKES.get(feature.aggregation or "", (kind,))
        if kind not in expected:
            raise InvalidInput(
                f"feature {view.name}.{name}: {feature.aggregation} takes {' or '.join(expected)}, but {feature.sql!r} is {kind}", view=view.name
            )
    _gate(view.name, view.features, view.source.fields, sample)


def _gate(view: str, features: Mapping[str, Feature], columns: Mapping[str, Type], sample: pl.DataFrame | None) -> None:
    for name, feature in features.items():
        try:
            gate.verify(feature.sql, columns, sample)
        except RotaError as error:
            raise type(error)(f"feature {view}.{name}: {error}", view=view, feature=name, **error.facts) from error


_TAKES = {"share": ("bool",), "mean": ("float", "int", "bool"), "sum": ("float", "int", "bool")}
