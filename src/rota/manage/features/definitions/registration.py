"""Registration of feature definitions: checked and gated first, then stored together, a changed view as its next version."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from rota.errors import Conflict, InvalidInput, RotaError
from rota.manage import spellings
from rota.manage.features.definitions import service_check, versions
from rota.manage.features.definitions.versions import CATALOG, DefinitionDifference, View
from rota.manage.features.expressions import compiler, equivalence_check
from rota.manage.features.ingestion import contracts, watermarks
from rota.manage.features.online import window_view
from rota.manage.features.online.row_codec import prefix
from rota.manage.features.rows import coercion, source_table
from rota.ports.metadata import Batch, Metadata
from rota.ports.tables import Tables
from rota.records.data import Feature, FeatureService, FeatureView, FeatureViewVersion, OnDemandFeatureView, Source
from rota.records.intake import CatalogStamp
from rota.records.kinds import BY_RECORD
from rota.records.record import Record
from rota.records.schema import Type
from rota.records.time import Micros
from rota.records.value_types import domain, family, shown_type

Definition = Source | FeatureView | OnDemandFeatureView | FeatureService
_SAMPLE = 10_000
_LONGEST_FIELD = 200
_TRIES = 20


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One difference between what is declared and what is stored; a changed view says what differs and which version it becomes.

    "stay": it is stored and not declared any more; it keeps working until it is retired. `notes` say what does not work yet.
    """

    what: Literal["add", "change", "keep", "stay"]
    kind: str
    name: str
    version: int | None = None
    differences: tuple[DefinitionDifference, ...] = ()
    notes: tuple[str, ...] = ()


def register(metadata: Metadata, tables: Tables, definitions: Iterable[Definition], *, now_us: Micros = 0, actor: str = "owner") -> list[Record]:
    """Store sources, views and services with all that they contain; returns the records that are new or changed.

    Every expression of a new or changed view passes the gate first: its row form and its column form agree on an edge
    table and on the newest rows of the source. A view whose values follow from something else than before gets its next
    version in the same batch. Raises `InvalidInput` or `Refused` (nothing is stored then), `Conflict` when somebody else
    registered one of the names differently at the same time.
    """
    records = unfolded(definitions)
    for _ in range(_TRIES):
        spellings.check_definitions(metadata, records)
        changed = _changed(metadata, records)
        for record, _ in changed:
            _check(metadata, tables, record)
        if not changed:
            return []
        try:
            metadata.commit(_batch(metadata, changed, actor, now_us))
        except Conflict:
            if any(metadata.get(type(record), record.name) not in (record, before) for record, before in changed):
                raise
            continue  # another definition was registered meanwhile, or the same ones
        return [record for record, before in changed if record != before]
    raise Conflict("other processes keep registering definitions; try again")


def check(metadata: Metadata, tables: Tables, definitions: Iterable[Definition]) -> None:
    """Raises what `register` would raise for these definitions, nothing written."""
    records = unfolded(definitions)
    spellings.check_definitions(metadata, records)
    for record, _ in _changed(metadata, records):
        _check(metadata, tables, record)


def plan(metadata: Metadata, definitions: Iterable[Definition]) -> list[PlannedChange]:
    """What `register` would add or change, nothing written and nothing gated."""
    return [change_of(metadata, record) for record in unfolded(definitions)]


def change_of(metadata: Metadata, record: Definition) -> PlannedChange:
    """What registering one definition would do."""
    before, kind = metadata.get(type(record), record.name), BY_RECORD[type(record)].name
    if not isinstance(record, View):
        return PlannedChange("add" if before is None else "keep" if before == record else "change", kind, record.name)
    old = before if isinstance(before, View) else None
    new = versions.added(metadata, old, record, 0) if before != record or _unversioned(metadata, record) else []
    differences = tuple(versions.differences(old, record)) if old is not None else ()
    what: Literal["add", "change", "keep"] = "add" if old is None else "keep" if old == record and not new else "change"
    return PlannedChange(what, kind, record.name, new[-1].number if new else None, differences)


def left(metadata: Metadata, declared: Sequence[Record]) -> list[PlannedChange]:
    """What is stored and not among the declared definitions."""
    found: list[Definition] = [
        *metadata.find(Source),
        *metadata.find(FeatureView),
        *metadata.find(OnDemandFeatureView),
        *metadata.find(FeatureService),
    ]
    names = {(type(record), getattr(record, "name", "")) for record in declared}
    return [PlannedChange("stay", BY_RECORD[type(record)].name, record.name) for record in found if (type(record), record.name) not in names]


def catalog(metadata: Metadata) -> int:
    """How often definitions have changed: who keeps something derived from them looks here whether it is still right."""
    stamp = metadata.get(CatalogStamp, CATALOG)
    return stamp.changes if stamp else 0


def views_of(metadata: Metadata, source: str) -> list[FeatureView]:
    """Every view over a source that somebody may read."""
    return [view for view in every_view(metadata) if view.source.name == source]


def every_view(metadata: Metadata) -> list[FeatureView]:
    """Every stored view that somebody may read: each version that is not retired, and those that services hold as they were."""
    found = [version for version in metadata.find(FeatureViewVersion) if isinstance(version.view, FeatureView)]
    versioned = {version.name for version in found}
    views = [version.view for version in found if version.retired_us is None]
    views += [view for view in metadata.find(FeatureView) if view.name not in versioned]
    views += [view for service in metadata.find(FeatureService) for view in service.stored_views]
    return [view for view in views if isinstance(view, FeatureView)]


def is_read(metadata: Metadata, view: FeatureView) -> bool:
    """Whether the online rows of a definition are still those of somebody."""
    return prefix(view) in {prefix(each) for each in views_of(metadata, view.source.name)}


def unfolded(definitions: Iterable[Definition]) -> list[Definition]:
    """The definitions with the sources and views inside them, each once; raises `InvalidInput` for one that could not be read or asked."""
    found: dict[tuple[str, str], Definition] = {}

    def add(record: Definition) -> None:
        space = "view" if isinstance(record, View) else type(record).__name__
        known = found.setdefault((space, record.name), record)
        if type(known) is not type(record):
            raise InvalidInput(f"{record.name!r} names a feature view and an on-demand view; choose two names", name=record.name)
        if known != record:
            raise InvalidInput(f"{type(record).__name__} {record.name!r} is given two different definitions; keep one", name=record.name)

    for definition in definitions:
        for view in definition.views if isinstance(definition, FeatureService) else (definition,) if isinstance(definition, View) else ():
            if isinstance(view, FeatureView):
                service_check.check_view(view)
                add(view.source)
            add(view)
        if isinstance(definition, FeatureService):
            service_check.check_service(definition)
        add(definition)
    return list(found.values())


def _changed(metadata: Metadata, records: Sequence[Definition]) -> list[tuple[Definition, Definition | None]]:
    """The definitions that are not stored as they are, each with what is stored."""
    stored = [metadata.get(type(record), record.name) for record in records]
    return [(record, before) for record, before in zip(records, stored, strict=True) if record != before or _unversioned(metadata, record)]


def _unversioned(metadata: Metadata, record: Definition) -> bool:
    """A view as it is stored, but of which no version in force is."""
    if not isinstance(record, View):
        return False
    newest = versions.newest(metadata, record.name)
    return newest is None or newest.retired_us is not None


def _batch(metadata: Metadata, changed: list[tuple[Definition, Definition | None]], actor: str, now_us: Micros) -> Batch:
    batch = Batch()
    for record, before in changed:
        if record != before:
            batch.put(record, replacing=before)
        body = {}
        if isinstance(record, View):
            for version in versions.added(metadata, before if isinstance(before, View) else None, record, now_us):
                batch.create(version)
                body["version"] = version.number
        batch.audit(actor, f"{BY_RECORD[type(record)].name}.{'change' if before else 'add'}", record.name, now_us, **body)
    stamp = metadata.get(CatalogStamp, CATALOG)
    batch.put(CatalogStamp(CATALOG, stamp.changes + 1 if stamp else 1), replacing=stamp)
    return batch


def _check(metadata: Metadata, tables: Tables, record: Definition) -> None:
    if isinstance(record, Source):
        _check_source(metadata, tables, record)
    elif isinstance(record, FeatureView):
        _check_namesake(metadata, OnDemandFeatureView, record.name)
        _check_view(record, source_table.scan(tables, record.source).tail(_SAMPLE).collect())
    elif isinstance(record, OnDemandFeatureView):
        _check_namesake(metadata, FeatureView, record.name)
        _gate(record.name, record.features, record.inputs, None)


def _check_source(metadata: Metadata, tables: Tables, source: Source) -> None:
    if not source.fields:
        raise InvalidInput(
            f"source {source.name!r} has no fields: {source.path or 'its path'} could not be read here; "
            "register it where the files are, or declare its fields",
            source=source.name,
        )
    _check_field_names(source)
    if source.id_field and family(kind := source.fields[source.id_field]) in ("float", "list", "decimal", "bytes"):
        raise InvalidInput(f"source {source.name!r}: a {kind} cannot identify rows; declare {source.id_field!r} as int or string", source=source.name)
    if source.created_field and source.fields[source.created_field] != "timestamp":
        raise InvalidInput(
            f"source {source.name!r}: created_field {source.created_field!r} is declared {source.fields[source.created_field]!r}; "
            "declare it 'timestamp'",
            source=source.name,
        )
    if source.id_field == source.timestamp_field:
        raise InvalidInput(
            f"source {source.name!r}: {source.id_field!r} cannot identify rows and date them too: two rows of one moment would be one",
            source=source.name,
        )
    stored = metadata.get(Source, source.name)
    retyped = [name for name, kind in source.fields.items() if stored and _is_retyped(stored.fields.get(name, kind), kind)]
    if retyped:
        raise InvalidInput(
            f"source {source.name!r} already has {retyped} with other types; give the new fields new names", source=source.name, fields=retyped
        )
    _check_dropped(metadata, source, stored)
    _check_stored_columns(tables, source)
    contracts.check(source, stored)
    watermarks.check(source)


def _check_field_names(source: Source) -> None:
    """Every field becomes a column of the source's table: what the table would refuse would stop the source after its first rows."""
    folded: dict[str, str] = {}
    for name in source.fields:
        if name.casefold() == source_table.CREATED or name.startswith("_"):
            raise InvalidInput(f"source {source.name!r}: the field name {name!r} is kept for Rota; choose another", source=source.name, field=name)
        if not 1 <= len(name) <= _LONGEST_FIELD or not name.isprintable():
            raise InvalidInput(
                f"source {source.name!r}: the field name {name[:_LONGEST_FIELD]!r} cannot be a column's; use 1-{_LONGEST_FIELD} printable characters",
                source=source.name,
                field=name,
            )
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise InvalidInput(
                f"source {source.name!r}: the fields {other!r} and {name!r} differ in case only, which no table can hold; rename one",
                source=source.name,
                field=name,
            )


def _check_stored_columns(tables: Tables, source: Source) -> None:
    """The table has also the columns of fields that the source had once."""
    table = source_table.table(source)
    if tables.version(table) is None:
        return
    stored = {name.casefold(): (name, dtype) for name, dtype in tables.scan(table).collect_schema().items()}
    for name, dtype in coercion.dtypes(source.fields).items():
        known, kind = stored.get(name.casefold(), (name, dtype))
        if (known, kind) != (name, dtype):
            raise InvalidInput(
                f"source {source.name!r}: its table holds rows with a column {known!r} of type {kind} from before, so that {name!r} as "
                f"{source.fields[name]} finds no place; give the field another name",
                source=source.name,
                field=name,
            )


def _check_dropped(metadata: Metadata, source: Source, stored: Source | None) -> None:
    """A field stays as long as a version of a view computes with it: rows without it could not be brought online."""
    dropped = stored.fields.keys() - source.fields.keys() if stored else set()
    if not dropped:
        return
    for version in metadata.find(FeatureViewVersion):
        view = version.view
        if version.retired_us is None and isinstance(view, FeatureView) and view.source.name == source.name:
            used = compiler.columns_of_all([feature.expression for feature in view.features.values()], view.source.fields)
            lost = sorted(dropped & (used | {*view.join_keys, view.source.timestamp_field}))
            if lost:
                name = f"{version.name}@v{version.number}"
                raise InvalidInput(
                    f"source {source.name!r} drops the fields {lost}, which {name} computes with; "
                    f"keep them until nothing uses it and `rota features retire {name}` has given it up",
                    source=source.name,
                    fields=lost,
                )


def _check_namesake(metadata: Metadata, other: type[FeatureView] | type[OnDemandFeatureView], name: str) -> None:
    if metadata.get(other, name) is not None:
        raise InvalidInput(f"{name!r} already names a {BY_RECORD[other].name.replace('_', ' ')}; choose another name", name=name)


def _check_view(view: FeatureView, sample: pl.DataFrame) -> None:
    if view.windowed:
        window_view.tiles_kept(view)
    for name, feature in view.features.items():
        kind = compiler.check(feature.expression, view.source.fields)
        expected = _TAKES.get(feature.aggregation or "", (kind,))
        if feature.aggregation not in (None, "count") and family(kind) in ("list", "decimal", "bytes"):
            raise InvalidInput(
                f"feature {view.name}.{name}: {feature.aggregation} over a window takes no {shown_type(kind)}; {_INSTEAD[family(kind)]}",
                view=view.name,
            )
        if kind not in expected:
            raise InvalidInput(
                f"feature {view.name}.{name}: {feature.aggregation} takes {' or '.join(expected)}, but {feature.text!r} is {kind}", view=view.name
            )
    _gate(view.name, view.features, view.source.fields, sample)


def _is_retyped(known: Type, kind: Type) -> bool:
    """A category may get more values: what is stored is still of its domain."""
    grown = family(known) == family(kind) == "category" and set(domain(known)) <= set(domain(kind))
    return known != kind and not grown


def _gate(view: str, features: Mapping[str, Feature], columns: Mapping[str, Type], sample: pl.DataFrame | None) -> None:
    for name, feature in features.items():
        try:
            equivalence_check.verify(feature.expression, columns, sample)
        except RotaError as error:
            raise type(error)(f"feature {view}.{name}: {error}", view=view, feature=name, **error.facts) from error


_INSTEAD: Mapping[str, str] = {
    "list": "aggregate a number of the list, such as array_avg(x), l2_norm(x) or x[1], or read the newest list by a view without windows",
    "decimal": "aggregate cast(x as double precision), whose sums are those of floats, or read the newest value by a view without windows",
    "bytes": "count them, or read the newest ones by a view without windows",
}
_ORDERED: tuple[Type, ...] = ("float", "int", "bool", "timestamp")
_TAKES: Mapping[str, tuple[Type, ...]] = {
    "share": ("bool",),
    "mean": ("float", "int", "bool"),
    "sum": ("float", "int", "bool"),
    "min": _ORDERED,
    "max": _ORDERED,
}
