"""Nouns of the feature repository: entities, sources and their contracts, features, views, services."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rota.errors import InvalidInput
from rota.records.fields import FeastCompatible, Field, RequestSource, span, typed
from rota.records.file_format import FileFormat
from rota.records.record import Record, check_name
from rota.records.schema import ColumnSchema, Type
from rota.records.time import Micros, micros

Aggregation = Literal["mean", "sum", "count", "share", "min", "max", "last"]


class Entity(Record, frozen=True, metaclass=FeastCompatible):
    """A thing that features describe, found by its join keys (for example an airport by `origin`).

    Written without them, `Entity(name="origin")` is found by the column of its own name, as in Feast.
    """

    name: str
    join_keys: Sequence[str]
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        check_name("entity", self.name)
        msgspec.structs.force_setattr(self, "join_keys", tuple(self.join_keys))
        if not self.join_keys:
            raise InvalidInput(f"entity {self.name!r} has no join keys; give at least one column name", entity=self.name)

    @staticmethod
    def _words(words: dict[str, Any]) -> dict[str, Any]:
        return {"join_keys": [words["name"]]} | words if "name" in words else words


class Contract(Record, frozen=True):
    """What the owner of a source promises about its rows: checked whenever rows come in.

    `columns` are expectations on fields (see `ColumnSchema`), `freshness` is how old the newest row may be after an
    ingestion. `on_break`: "refuse" takes none of the rows, "quarantine" keeps the rows that break it apart with the reason.
    """

    owner: str
    columns: tuple[ColumnSchema, ...] = ()
    freshness: str | None = None
    on_break: Literal["refuse", "quarantine"] = "quarantine"
    version: int = 1

    def __post_init__(self) -> None:
        if not self.owner.strip():
            raise InvalidInput("a contract has no owner; name the person or team that is told when it is broken")
        msgspec.structs.force_setattr(self, "columns", tuple(self.columns))
        if self.freshness is not None:
            micros(self.freshness)


class Source(Record, frozen=True):
    """A named stream of rows in the offline store, filled by files (`path`), a database (`url`), tables, pushes, or several of them.

    `timestamp_field` is when a row's facts became known to the world; `fields` fixes the columns and their types.
    Rows with the same `id_field` are versions of one row: the one created last wins, of equally old ones the one received last, and
    the older ones stay in the history. `created_field` is the column with the moment at which a row of a file or database was created
    (Feast's created_timestamp_column), so that the order of its rows does not matter; pushed rows are created when received.
    No `fields` at all means that they are not known here (see `rota.FileSource`): such a source can be declared, not registered.
    `path` is a file, a glob or an s3:// glob; `url` a SQLAlchemy URL in which ${NAME} stands for a variable of the environment, so
    that no secret is stored, and `query` a table name or SELECT there. Ingestion from a database is incremental by the column `watermark`
    (default: the created field, else the timestamp field) and looks back by `lateness` for rows that appear late. `format` is how
    the files are written.
    """

    name: str
    fields: Mapping[str, Type]
    timestamp_field: str
    id_field: str | None = None
    path: str | None = None
    owner: str = ""
    description: str = ""
    created_field: str | None = None
    url: str | None = None
    query: str | None = None
    watermark: str | None = None
    lateness: str = "0s"
    contract: Contract | None = None
    tags: Mapping[str, str] = {}
    format: FileFormat = FileFormat()

    def __post_init__(self) -> None:
        check_name("source", self.name)
        msgspec.structs.force_setattr(self, "fields", typed(self.fields))
        self._check_fields()
        if (self.url is None) != (self.query is None):
            raise InvalidInput(f"source {self.name!r}: url and query come together; give both or neither", source=self.name)
        micros(self.lateness)

    def _check_fields(self) -> None:
        if not self.fields:
            return
        for field in filter(None, (self.timestamp_field, self.id_field, self.created_field, self.watermark)):
            if field not in self.fields:
                raise InvalidInput(f"source {self.name!r} has no field {field!r}; its fields are {sorted(self.fields)}", source=self.name)
        if self.fields[self.timestamp_field] != "timestamp":
            raise InvalidInput(
                f"source {self.name!r}: timestamp_field {self.timestamp_field!r} is declared "
                f"{self.fields[self.timestamp_field]!r}; declare it 'timestamp'",
                source=self.name,
            )


class PythonExpression(Record, frozen=True, tag_field="language", tag="python"):
    """An expression that is a Python column function, as its source text (see `rota.transform`)."""

    source: str


Expression = str | PythonExpression
"""An expression over the columns of a row: scalar SQL as plain text, or a Python column function."""


_FUNCTION = re.compile(r"def\s+\w+\s*\(")


class FeatureIdentity(Record, frozen=True):
    """What a feature's values follow from, in the form over which digests are taken: rows in online stores and versions of views
    are found by them, so it never changes. `sql` is the expression's text in whatever language."""

    sql: str
    aggregation: Aggregation | None
    window: str | None


class Feature(Record, frozen=True, rename={"expression": "sql"}):
    """One feature: a scalar expression over the row, or an aggregation of it over a trailing window.

    `expression` is scalar SQL, or a `PythonExpression` (see `rota.transform`); `window` is a length such as "90m", "3h" or "7d".
    In stores it is named `sql`. A column function was once stored there as its bare text, "def name(...", which is no SQL; such a
    text is still read as the function that it is.
    """

    expression: Expression
    aggregation: Aggregation | None = None
    window: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.expression, str) and _FUNCTION.match(self.expression):
            msgspec.structs.force_setattr(self, "expression", PythonExpression(self.expression))
        if not self.text.strip():
            raise InvalidInput("a feature has an empty SQL expression; name a column or write an expression over columns")
        if (self.aggregation is None) != (self.window is None):
            raise InvalidInput(f"feature {self.text!r}: an aggregation and its window come together", sql=self.text)
        if self.window is not None:
            micros(self.window)

    @property
    def text(self) -> str:
        """The expression as it is written: SQL, or the source of a Python function."""
        return text_of(self.expression)

    @property
    def identity(self) -> FeatureIdentity:
        """What the feature's values follow from."""
        return FeatureIdentity(self.text, self.aggregation, self.window)


def text_of(expression: Expression) -> str:
    """An expression as it is written: SQL, or the source of a Python function."""
    return expression if isinstance(expression, str) else expression.source


class FeatureView(Record, frozen=True, tag=True, metaclass=FeastCompatible):
    """Features of an entity out of one source.

    A value older than `ttl` at the moment of asking is null, offline and online alike; `ttl=None` never expires.
    A windowed feature at time t covers the rows with floor(t - window, hop) <= timestamp <= t; `hop` is the grain of the
    online tiles and the same rule holds offline. A view holds scalar features or windowed ones, not both. `descriptions` says of a
    feature, by its name, what it means.

    Feast's form is understood: `schema=[Field(...), ...]` in place of `features` makes each field that is no join key the column
    of its name, and `ttl` may be a timedelta.
    """

    name: str
    entities: Sequence[Entity]
    source: Source
    features: Mapping[str, Feature] = {}
    ttl: str | None = None
    hop: str = "15m"
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = {}
    descriptions: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        check_name("feature view", self.name)
        msgspec.structs.force_setattr(self, "entities", tuple(self.entities))
        msgspec.structs.force_setattr(self, "ttl", span(self.ttl))
        _check_features("feature view", self.name, self.features, self.descriptions)
        if len({feature.aggregation is None for feature in self.features.values()}) > 1:
            raise InvalidInput(f"feature view {self.name!r} mixes scalar and windowed features; declare two views", view=self.name)
        missing = [key for key in self.join_keys if self.source.fields and key not in self.source.fields]
        if missing:
            raise InvalidInput(f"feature view {self.name!r}: source {self.source.name!r} lacks the join keys {missing}", view=self.name)
        micros(self.hop)
        if self.ttl is not None:
            micros(self.ttl)

    @property
    def join_keys(self) -> tuple[str, ...]:
        return tuple(key for entity in self.entities for key in entity.join_keys)

    @property
    def windowed(self) -> bool:
        return any(feature.aggregation for feature in self.features.values())

    def __getitem__(self, names: Sequence[str]) -> "Picked":
        """Some features of the view, for a `FeatureService`: `view[["conv_rate"]]`."""
        return Picked(self, (names,) if isinstance(names, str) else tuple(names))

    @staticmethod
    def _words(words: dict[str, Any]) -> dict[str, Any]:
        fields = words.pop("schema", None)
        if fields is None:
            return words
        if words.get("features"):
            raise InvalidInput(f"feature view {words.get('name', '')!r} has a schema and features; name the columns among these", schema=fields)
        keys = {key for entity in words.get("entities", ()) for key in entity.join_keys}
        values = [field for field in fields if field.name not in keys]
        described = {field.name: field.description for field in values if field.description}
        source: Source | None = words.get("source")
        made = {name: _column(name, kind, source.fields if source else {}) for name, kind in typed(values).items()}
        return words | {"features": made, "descriptions": described | dict(words.get("descriptions", {}))}


class OnDemandFeatureView(Record, frozen=True, tag=True, metaclass=FeastCompatible):
    """Features computed from the request alone, by scalar SQL over its `inputs` (a mapping of names to types, or a `RequestSource`)."""

    name: str
    inputs: Mapping[str, Type]
    features: Mapping[str, Feature]
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = {}
    descriptions: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        check_name("on-demand feature view", self.name)
        inputs = self.inputs.fields if isinstance(self.inputs, RequestSource) else self.inputs
        msgspec.structs.force_setattr(self, "inputs", typed(inputs))
        _check_features("on-demand view", self.name, self.features, self.descriptions)
        if any(feature.aggregation for feature in self.features.values()):
            raise InvalidInput(f"on-demand view {self.name!r} declares a window; only a FeatureView over a source can", view=self.name)

    def __getitem__(self, names: Sequence[str]) -> "Picked":
        """Some features of the view, for a `FeatureService`."""
        return Picked(self, (names,) if isinstance(names, str) else tuple(names))


@dataclass(frozen=True, slots=True)
class Picked:
    """Some features of a view, as a `FeatureService` takes them; made by `view[["a", "b"]]`."""

    view: FeatureView | OnDemandFeatureView
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in self.view.features]
        if unknown or not self.names:
            raise InvalidInput(f"view {self.view.name!r} has no feature {unknown}; it has {list(self.view.features)}", view=self.view.name)


class FeatureViewVersion(Record, frozen=True):
    """A definition that a feature view has had: a change of what its values follow from makes the next number.

    Models keep the version they were trained with; `retired_us` is when its online rows were given up.
    """

    name: str
    number: int
    view: FeatureView | OnDemandFeatureView
    created_us: Micros
    retired_us: Micros | None = None


class FeatureService(Record, frozen=True, metaclass=FeastCompatible):
    """The features that one model uses, in order. A feature's full name is `view__feature`.

    `selected` names, in full and in order, the features that are read; empty means every feature of every view. The views
    keep their whole definition then, for it is what their online rows are found by.
    """

    name: str
    views: Sequence[FeatureView | OnDemandFeatureView]
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = {}
    selected: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_name("feature service", self.name)
        picked = [each if isinstance(each, Picked) else Picked(each, tuple(each.features)) for each in self.views]
        if not self.selected and any(isinstance(each, Picked) for each in self.views):
            msgspec.structs.force_setattr(self, "selected", [f"{each.view.name}__{name}" for each in picked for name in each.names])
        msgspec.structs.force_setattr(self, "views", tuple(each.view for each in picked))
        msgspec.structs.force_setattr(self, "selected", tuple(self.selected))
        names = [view.name for view in self.views]
        if len(set(names)) != len(names):
            raise InvalidInput(f"feature service {self.name!r} names a view twice: {names}", service=self.name)
        unknown = [name for name in self.selected if name not in self._all_names]
        if unknown or len(set(self.selected)) != len(self.selected):
            raise InvalidInput(f"feature service {self.name!r} selects {unknown or 'a feature twice'}; it has {self._all_names}", service=self.name)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.selected) or self._all_names

    @staticmethod
    def _words(words: dict[str, Any]) -> dict[str, Any]:
        """Feast calls the views `features`."""
        return words | {"views": words.pop("features")} if "features" in words else words

    @property
    def _all_names(self) -> tuple[str, ...]:
        return tuple(f"{view.name}__{feature}" for view in self.views for feature in view.features)

    @property
    def stored_views(self) -> tuple[FeatureView, ...]:
        return tuple(view for view in self.views if isinstance(view, FeatureView))

    @property
    def request_views(self) -> tuple[OnDemandFeatureView, ...]:
        return tuple(view for view in self.views if isinstance(view, OnDemandFeatureView))

    @property
    def request_fields(self) -> dict[str, Type]:
        """What a request row must hold: every join key and every on-demand input, with its type."""
        fields: dict[str, Type] = {}
        for view in self.stored_views:
            fields.update({key: view.source.fields[key] for key in view.join_keys})
        for request in self.request_views:
            fields.update(request.inputs)
        return fields


def PushSource(  # noqa: N802, PLR0913 - Feast's name of what is a source here, and the fields of one
    name: str,
    *,
    timestamp_field: str = "",
    fields: Mapping[str, Any] | None = None,
    schema: Sequence[Field] = (),
    batch_source: Source | None = None,
    id_field: str | None = None,
    path: str | None = None,
    owner: str = "",
    description: str = "",
    created_field: str | None = None,
    url: str | None = None,
    query: str | None = None,
    watermark: str | None = None,
    lateness: str = "",
    contract: Contract | None = None,
    tags: Mapping[str, str] | None = None,
) -> Source:
    """A source that is filled by pushes; with a `batch_source` it has that one's fields and is filled from its files or database too.

    `fields` (a mapping) or `schema` (a list of `Field`) names the columns; the others are the fields of `Source`, and those that are
    not given are as the `batch_source` has them. Raises `InvalidInput` without fields and timestamp field, or a batch source that has them.

    >>> rota.PushSource("rides", timestamp_field="at", fields={"driver": "string", "at": "timestamp", "fare": "float"})  # doctest: +SKIP
    """
    options: dict[str, Any] = {
        "id_field": id_field,
        "path": path,
        "owner": owner,
        "description": description,
        "created_field": created_field,
        "url": url,
        "query": query,
        "watermark": watermark,
        "lateness": lateness,
        "contract": contract,
        "tags": tags,
    }
    wanted = {option: value for option, value in options.items() if value not in (None, "")}
    if batch_source is not None:
        return msgspec.structs.replace(batch_source, name=name, **wanted)
    columns = typed(fields or schema)
    if not columns or not timestamp_field:
        raise InvalidInput(f"push source {name!r} needs its fields and timestamp_field, or a batch_source that has them", source=name)
    return Source(name, columns, timestamp_field, **wanted)


def sql(text: str) -> Feature:
    """A feature that is a scalar SQL expression over the columns of its row; a column's name alone is one."""
    return Feature(text)


def mean(text: str, *, window: str) -> Feature:
    """The mean of an expression over the rows of a trailing window; rows where it is null do not count."""
    return Feature(text, "mean", window)


def total(text: str, *, window: str) -> Feature:
    """The sum of an expression over the rows of a trailing window; rows where it is null do not count."""
    return Feature(text, "sum", window)


def share(text: str, *, window: str) -> Feature:
    """The share (0..1) of a window's rows for which a condition holds; rows where it is null do not count."""
    return Feature(text, "share", window)


def count(*, window: str) -> Feature:
    """How many rows a trailing window holds."""
    return Feature("1", "count", window)


def minimum(text: str, *, window: str) -> Feature:
    """The smallest value of an expression over the rows of a trailing window; rows where it is null do not count."""
    return Feature(text, "min", window)


def maximum(text: str, *, window: str) -> Feature:
    """The largest value of an expression over the rows of a trailing window; rows where it is null do not count."""
    return Feature(text, "max", window)


def last(text: str, *, window: str) -> Feature:
    """The value of an expression in the newest row of a trailing window for which it is not null."""
    return Feature(text, "last", window)


def outcomes(
    endpoint: str,
    *,
    name: str = "",
    fields: Mapping[str, Any] | None = None,
    lateness: str = "1d",
    owner: str = "",
    description: str = "",
    contract: Contract | None = None,
    tags: Mapping[str, str] | None = None,
) -> Source:
    """A source of what became of an endpoint's predictions: one row for each labelled prediction, its newest label.

    Its fields are `prediction_id` (the id), `asked_at`, `labelled_at` (the timestamp) and `value`, and those of `fields`: features
    that the model saw ("view__feature"), fields of the request, or model, number, role, unit, answer, latency_us of the log.
    A label that comes before its prediction is found within `lateness`. The others are those of `Source`.
    """
    own: dict[str, Type] = {"prediction_id": "string", "asked_at": "timestamp", "labelled_at": "timestamp", "value": "float"}
    return Source(
        name or f"{endpoint}.outcomes",
        own | typed(fields or {}),
        "labelled_at",
        id_field="prediction_id",
        path=f"outcomes:{endpoint}",
        lateness=lateness,
        owner=owner,
        description=description,
        contract=contract,
        tags=tags or {},
    )


def _check_features(what: str, view: str, features: Mapping[str, Feature], descriptions: Mapping[str, str]) -> None:
    if not features:
        raise InvalidInput(f"{what} {view!r} has no features", view=view)
    for name in features:
        check_name("feature", name)
    strangers = sorted(descriptions.keys() - features.keys())
    if strangers:
        raise InvalidInput(f"{what} {view!r} describes {strangers}, which are none of its features {list(features)}", view=view)


def _column(name: str, kind: Type, fields: Mapping[str, Type]) -> Feature:
    """The feature that is a column; a whole number that a schema declares a float becomes one."""
    column = f'"{name}"'  # it may be a word of SQL, such as "order" or "end"
    found = fields.get(name, kind)
    if found == kind:
        return Feature(column)
    if (found, kind) == ("int", "float"):
        return Feature(f"CAST({column} AS DOUBLE)")
    raise InvalidInput(f"the schema declares {name!r} as {kind}, the source has it as {found}; declare it {found}", field=name)
