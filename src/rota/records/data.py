"""Nouns of the dataset and feature repository: sources, features, datasets, schema, statistics, anomalies."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from rota.errors import InvalidInput
from rota.records.record import Record, check_name
from rota.records.time import Micros, micros

Type = Literal["float", "int", "bool", "string", "timestamp"]
Aggregation = Literal["mean", "sum", "count", "share"]


class Entity(Record, frozen=True):
    """A thing that features describe, found by its join keys (for example an airport by `origin`)."""

    name: str
    join_keys: Sequence[str]
    description: str = ""

    def __post_init__(self) -> None:
        check_name("entity", self.name)
        msgspec.structs.force_setattr(self, "join_keys", tuple(self.join_keys))
        if not self.join_keys:
            raise InvalidInput(f"entity {self.name!r} has no join keys; give at least one column name", entity=self.name)


class Source(Record, frozen=True):
    """A named stream of rows in the offline store, filled by files (`path`), by pushes, or by both.

    `timestamp_field` is when a row's facts became known to the world; `fields` fixes the columns and their types.
    Rows with the same `id_field` are one row: the one created last wins.
    """

    name: str
    fields: Mapping[str, Type]
    timestamp_field: str
    id_field: str | None = None
    path: str | None = None
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        check_name("source", self.name)
        for field in filter(None, (self.timestamp_field, self.id_field)):
            if field not in self.fields:
                raise InvalidInput(f"source {self.name!r} has no field {field!r}; its fields are {sorted(self.fields)}", source=self.name)
        if self.fields[self.timestamp_field] != "timestamp":
            raise InvalidInput(
                f"source {self.name!r}: timestamp_field {self.timestamp_field!r} is declared "
                f"{self.fields[self.timestamp_field]!r}; declare it 'timestamp'",
                source=self.name,
            )


class Feature(Record, frozen=True):
    """One feature: a scalar SQL expression over the row, or an aggregation of it over a trailing window."""

    sql: str
    aggregation: Aggregation | None = None
    window: str | None = None

    def __post_init__(self) -> None:
        if not self.sql.strip():
            raise InvalidInput("a feature has an empty SQL expression; name a column or write an expression over columns")
        if (self.aggregation is None) != (self.window is None):
            raise InvalidInput(f"feature {self.sql!r}: an aggregation and its window come together", sql=self.sql)
        if self.window is not None:
            micros(self.window)


class FeatureView(Record, frozen=True, tag=True):
    """Features of an entity out of one source.

    A value older than `ttl` at the moment of asking is null, offline and online alike; `ttl=None` never expires.
    A windowed feature at time t covers the rows with floor(t - window, hop) <= timestamp <= t; `hop` is the grain of the
    online tiles and the same rule holds offline. A view holds scalar features or windowed ones, not both.
    """

    name: str
    entities: Sequence[Entity]
    source: Source
    features: Mapping[str, Feature]
    ttl: str | None = None
    hop: str = "15m"
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        check_name("feature view", self.name)
        msgspec.structs.force_setattr(self, "entities", tuple(self.entities))
        for feature in self.features:
            check_name("feature", feature)
        if not self.features:
            raise InvalidInput(f"feature view {self.name!r} has no features", view=self.name)
        if len({feature.aggregation is None for feature in self.features.values()}) > 1:
            raise InvalidInput(f"feature view {self.name!r} mixes scalar and windowed features; declare two views", view=self.name)
        missing = [key for key in self.join_keys if key not in self.source.fields]
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


class OnDemandFeatureView(Record, frozen=True, tag=True):
    """Features computed from the request alone, by scalar SQL over its `inputs`."""

    name: str
    inputs: Mapping[str, Type]
    features: Mapping[str, Feature]
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        check_name("on-demand feature view", self.name)
        for feature in self.features:
            check_name("feature", feature)
        if any(feature.aggregation for feature in self.features.values()):
            raise InvalidInput(f"on-demand view {self.name!r} declares a window; only a FeatureView over a source can", view=self.name)


class FeatureService(Record, frozen=True):
    """The features that one model uses, in order. A feature's full name is `view__feature`."""

    name: str
    views: Sequence[FeatureView | OnDemandFeatureView]

    def __post_init__(self) -> None:
        check_name("feature service", self.name)
        msgspec.structs.force_setattr(self, "views", tuple(self.views))
        names = [view.name for view in self.views]
        if len(set(names)) != len(names):
            raise InvalidInput(f"feature service {self.name!r} names a view twice: {names}", service=self.name)

    @property
    def feature_names(self) -> tuple[str, ...]:
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


class TimeSplit(Record, frozen=True):
    """The newest `test` of the window is held out; everything before it trains."""

    test: str = "7d"

    def __post_init__(self) -> None:
        micros(self.test)


class DatasetDefinition(Record, frozen=True):
    """A task's data: features joined to labelled rows.

    Label rows come from the source `labels`; `timestamp` is the column with the moment at which the prediction would have
    been made, and a row takes part once its source row is known (source timestamp <= the build's time) and its label is
    not null. `window` is how far back the dataset reaches.
    """

    features: FeatureService
    labels: Source
    label: Feature
    timestamp: str
    window: str = "365d"
    split: TimeSplit = TimeSplit()

    def __post_init__(self) -> None:
        if self.labels.fields.get(self.timestamp) != "timestamp":
            raise InvalidInput(f"label source {self.labels.name!r} has no timestamp field {self.timestamp!r}", source=self.labels.name)
        micros(self.window)


class ColumnSchema(Record, frozen=True):
    """Expectation on one feature, as inferred from training data and then frozen.

    `domain` bounds texts, `minimum` and `maximum` bound numbers; `max_null_share` is in 0..1. `policy` says for each
    anomaly kind whether it fails the data gate, warns or is ignored (absent = the gate's default).
    """

    name: str
    type: Type
    max_null_share: float = 1.0
    domain: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    policy: Mapping[str, Literal["fail", "warn", "ignore"]] = {}


class Bins(Record, frozen=True):
    """Fixed bins of one feature, chosen on training data so that later slices can be counted and added up.

    Numbers: bin 0 holds nulls, bin i holds edges[i-2] < x <= edges[i-1] with open ends (len(edges) + 2 bins in all).
    Texts: bin 0 nulls, then one bin for each of `values`, then rare (seen in training outside `values`), then unseen.
    """

    name: str
    type: Type
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.edges) + 2 if self.type != "string" else len(self.values) + 3


class Schema(Record, frozen=True):
    """Expected columns of a dataset and the bins on which their distributions are compared from then on.

    `version` counts the edits, `frozen_us` is when it became the data gate's law, `dataset` what it was inferred from.
    """

    name: str
    version: int
    columns: tuple[ColumnSchema, ...]
    bins: tuple[Bins, ...] = ()
    dataset: str = ""
    digest: str = ""
    frozen_us: Micros | None = None


class ColumnStatistics(Record, frozen=True):
    """What was counted of one feature in one slice of data; numbers only have the moments and quantiles."""

    name: str
    type: Type
    count: int
    nulls: int
    counts: tuple[int, ...] = ()
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, int], ...] = ()


class Statistics(Record, frozen=True):
    """Statistics of every feature of one slice [start_us, end_us)."""

    rows: int
    columns: tuple[ColumnStatistics, ...]
    start_us: Micros = 0
    end_us: Micros = 0


class Anomaly(Record, frozen=True):
    """One broken expectation; `kind` has TFDV's name where it has one (for example SCHEMA_MISSING_COLUMN)."""

    feature: str
    kind: str
    message: str
    severity: Literal["fail", "warn"]
    observed: float | None = None
    threshold: float | None = None
    evidence: Mapping[str, str | float] = {}


class DatasetVersion(Record, frozen=True):
    """An immutable snapshot: `table` at `table_version`, with the digest of its rows and of everything it was built from."""

    name: str
    number: int
    digest: str
    table: str
    table_version: int
    rows: int
    train_rows: int
    test_rows: int
    start_us: Micros
    end_us: Micros
    test_from_us: Micros
    created_us: Micros
    run: str = ""
    statistics: str = ""
    sources: Mapping[str, int] = {}


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
