"""The feature store as its users see it: define, find, join to labels, read online, push, materialize; with Feast's names."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import polars as pl

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.manage.experiments import input_tracking
from rota.manage.experiments.frame_digest import digest_of, digestible
from rota.manage.features.definitions import catalog, references, versions
from rota.manage.features.definitions import registration as registry
from rota.manage.features.definitions.catalog import CatalogEntry, User
from rota.manage.features.definitions.references import Features
from rota.manage.features.definitions.registration import Definition, PlannedChange
from rota.manage.features.definitions.versions import CATALOG
from rota.manage.features.join import point_in_time
from rota.manage.features.join.point_in_time import JoinPlan
from rota.manage.features.join.windows import AsOf
from rota.manage.features.materialization import materialization_log
from rota.manage.features.materialization.freshness import ViewStatus
from rota.manage.features.materialization.materialize import Progress
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.features.online.response import OnlineResponse
from rota.manage.features.rows import column_conversion, table_adapters
from rota.manage.features.writer import Feed
from rota.manage.repositories import Repositories
from rota.records import early_times
from rota.records.data import Entity, FeatureService, FeatureView, FeatureViewVersion, OnDemandFeatureView, Source
from rota.records.intake import CatalogStamp, Ingestion
from rota.records.record import Record
from rota.records.tracking import MAX_TAG, RunInput

N = TypeVar("N", Entity, Source)
T = TypeVar("T")
EVENT_TIMESTAMP = "event_timestamp"
"""Feast's column with the moment at which a row of an entity frame asks."""
_MOST_COMPILED = 1_000


class HistoricalJob:
    """A point-in-time join that runs when its rows are first asked for, and once."""

    def __init__(self, join: Callable[[], pl.DataFrame]) -> None:
        self._join = join
        self._joined: pl.DataFrame | None = None

    def to_polars(self) -> pl.DataFrame:
        """The entity frame with one column for each feature: as many rows as it had, in its order."""
        if self._joined is None:
            self._joined = self._join()
        return self._joined

    def to_arrow(self) -> Any:
        """The rows as a pyarrow table (needs pyarrow); `to_polars` speaks Arrow's C interface without it."""
        try:
            return self.to_polars().to_arrow()
        except ModuleNotFoundError as error:
            raise InvalidInput("pyarrow is not installed; the frame of .to_polars() can be given to whatever reads Arrow's C stream") from error

    def to_df(self) -> Any:
        """The rows as a pandas frame (needs pandas)."""
        return table_adapters.pandas(self.to_polars())


class Store:
    """The feature repository of a platform, with the verbs of Feast's `FeatureStore`. Thread-safe.

    `features` is everywhere a list of "view:feature" and "view@v2:feature", the name of a service, or a `FeatureService`. A
    windowed feature at time t covers the rows with floor(t - window, hop) <= timestamp <= t, offline and online alike.
    """

    def __init__(self, repositories: Repositories, feed: Feed, *, sync: bool = False, refresh_s: float = 1.0) -> None:
        self._repositories = repositories
        self._metadata = repositories.metadata
        self._feed = feed
        self._sync = sync
        self._refresh_s = refresh_s
        self._compiled: dict[tuple[str, Any], tuple[Any, Any]] = {}
        self._catalog_version = -1
        self._registrations = 0
        self._checked_s = -refresh_s

    def plan(self, objects: Iterable[Definition | Entity] | Definition) -> list[PlannedChange]:
        """What `apply` would add or change; a changed view tells what differs and which version it becomes."""
        return registry.plan(self._metadata, _definitions(objects))

    def apply(self, objects: Iterable[Definition | Entity] | Definition, *, actor: str = "owner") -> list[Record]:
        """Check, gate and store definitions with all that they contain; returns what is new or changed.

        A view whose values follow from something else than before becomes its next version; the older ones stay readable.
        """
        self._checked_s = -self._refresh_s
        return self._feed.register(_definitions(objects), actor=actor)

    def get_historical_features(
        self, entity_df: Any, features: Features, *, full_feature_names: bool = True, as_of: AsOf = "event", timestamp: str = EVENT_TIMESTAMP
    ) -> HistoricalJob:
        """Join features to rows of entities, each as it was at the row's time.

        `entity_df` is a polars, pandas or Arrow table or a list of dicts with the column `timestamp` (times, or ISO 8601 texts;
        without an offset UTC), the join keys and the fields of on-demand views. `as_of="event"` takes what had happened by
        then, late rows and corrections included; "served" takes what an online read would have answered then. No row is
        dropped; what is not known is null. Definitions that another process changes are seen within a second. Warns (`DoubtfulTimes`)
        of moments that came as numbers and all lie before 1980.
        """
        plan, service = self._plan(features)
        names = self._answer_names(service, plan.names, full_feature_names)
        moments = {timestamp, *(name for name, kind in plan.request_fields.items() if kind == "timestamp")}
        spine = table_adapters.timed(table_adapters.columns(entity_df, what="entity_df"), moments, what="entity_df")
        taken = [name for name in names.values() if name in spine.columns]
        if taken:
            raise InvalidInput(f"entity_df already has the columns {taken}; leave them out", columns=taken)
        for name in moments if self._repositories.clock.now_us() >= early_times.EARLY_US else ():
            times = column_conversion.converted(spine[name], "timestamp", "entity_df") if name in spine.columns else None
            if times is not None and (notice := column_conversion.early(spine[name], times)):
                warnings.warn(notice, early_times.DoubtfulTimes, stacklevel=2)
        return HistoricalJob(lambda: self._joined(spine, plan, service, timestamp, as_of).rename(names))

    def get_online_features(
        self, features: Features, entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]], *, full_feature_names: bool = True
    ) -> OnlineResponse:
        """The newest features of some entities: `.to_dict()`, `.rows()`, `.statuses()`, and `.warnings` where a view's history is not online.

        `entity_rows` is a list of dicts, or a mapping of columns. Definitions that change are seen within a second.
        """
        reader = self._reader(features)
        return reader.read(entity_rows, self._repositories.clock.now_us(), full_feature_names=full_feature_names)

    def push(self, source: str, rows: Any) -> int:
        """Push rows (a list of dicts, or a table) into a source: online at once, in the history soon after, all or none. Returns how many.

        Raises `InvalidInput` naming field, value and row, `NotFound` for an unknown source, `Refused` where the source's contract
        refuses; after `Unavailable` push again (rows without an id may then count twice). Warns (`DoubtfulTimes`) of times that came as
        numbers and all lie before 1980, and (`DoubtfulRows`) of rows whose keys are null.
        """
        given = table_adapters.rows(rows, what="the pushed table")
        count = self._feed.pushes.push(source, given, sync=self._sync)
        for notice in self._feed.pushes.notices(source, given):
            warnings.warn(notice, stacklevel=2)
        return count

    def push_with_notices(self, source: str, rows: Any) -> tuple[int, list[str]]:
        """`push` that returns what is to be said of the rows, too, in place of warning."""
        given = table_adapters.rows(rows, what="the pushed table")
        return self._feed.pushes.push(source, given, sync=self._sync), list(map(str, self._feed.pushes.notices(source, given)))

    def ingest(self, source: str, rows: Any = None, *, actor: str = "owner", final: bool = False) -> Ingestion:
        """Ingest new rows into a source's history: from its own files or database, from another path or glob, or out of a table.

        `final`: files are finished, so that a last line without an end is a row too. The rows are online in every view over
        the source when this returns; if not, `online_problem` of the result says why.
        """
        return self._feed.ingest(source, rows, actor=actor, final=final)

    def materialize(self, feature_views: Sequence[str] | None = None, *, progress: Progress | None = None) -> dict[str, int]:
        """Bring everything known by now into the online rows of views (default: all); returns the keys written, by source.

        Views over one source are done together; "view@v2" is that version alone. Unlike Feast's it takes no dates: the newest
        row of each entity is what there is.
        """
        return {name: self._feed.materializer.materialize(view, progress=progress) for name, view in self._targets(feature_views).items()}

    def materialize_incremental(self, feature_views: Sequence[str] | None = None, *, progress: Progress | None = None) -> dict[str, int]:
        """As `materialize`, but reads and writes only what came into the history since the last time."""
        return {name: self._feed.materializer.materialize_incremental(view, progress=progress) for name, view in self._targets(feature_views).items()}

    def status(self, feature_views: Sequence[str] | None = None) -> list[ViewStatus]:
        """How fresh views are (default: all): newest event and its age against the ttl, rows, last materialization."""
        names = [view.name for view in self.list_feature_views()] if feature_views is None else _names(feature_views)
        return [self._feed.materializer.status(name) for name in names]

    def get_feature_view(self, name: str) -> FeatureView:
        """A feature view by its name, or one of its versions by "name@v2"."""
        found = self._view(name)
        if not isinstance(found, FeatureView):
            raise NotFound(f"{name!r} is an on-demand feature view; ask with get_on_demand_feature_view", view=name)
        return found

    def get_on_demand_feature_view(self, name: str) -> OnDemandFeatureView:
        """An on-demand feature view by its name or "name@v2"."""
        found = self._view(name)
        if not isinstance(found, OnDemandFeatureView):
            raise NotFound(f"{name!r} is a feature view over a source; ask with get_feature_view", view=name)
        return found

    def get_feature_service(self, name: str) -> FeatureService:
        """A registered service."""
        return references.registered(self._metadata, name)

    def get_entity(self, name: str) -> Entity:
        """An entity of some registered view."""
        return _named(self.list_entities(), "entity", name)

    def get_data_source(self, name: str) -> Source:
        """A registered source."""
        return _named(self.list_data_sources(), "source", name)

    def list_feature_views(self) -> list[FeatureView]:
        """The feature views in force."""
        return self._metadata.find(FeatureView)

    def list_on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand feature views in force."""
        return self._metadata.find(OnDemandFeatureView)

    def list_feature_services(self) -> list[FeatureService]:
        """The registered services."""
        return self._metadata.find(FeatureService)

    def list_data_sources(self) -> list[Source]:
        """The registered sources."""
        return self._metadata.find(Source)

    def list_entities(self) -> list[Entity]:
        """Every entity of the registered views."""
        found = {entity.name: entity for view in self.list_feature_views() for entity in view.entities}
        return [found[name] for name in sorted(found)]

    def list_versions(self, view: str) -> list[FeatureViewVersion]:
        """Every version of a view, oldest first."""
        references.view_of_any_age(self._metadata, view)
        return versions.of(self._metadata, view)

    def search(self, text: str = "", *, owner: str = "", tag: str = "", entity: str = "", type: str = "", kind: str = "") -> list[CatalogEntry]:
        """Features, views, sources, services and datasets in whose text all words stand (see `catalog.search`)."""
        return catalog.search(self._metadata, text, owner=owner, tag=tag, entity=entity, type=type, kind=kind)

    def usage(self, reference: str) -> list[User]:
        """Everybody who uses a view ("view") or one feature of it ("view:feature")."""
        view, _, feature = reference.partition(":")
        return catalog.usage(self._repositories, view, feature)

    def retire(self, version: str, *, actor: str = "owner") -> int:
        """Retire "view@v1" and remove its online rows; returns how many. Refused while a service, dataset, model version or
        endpoint uses it. Doing it again removes what a killed process left."""
        found = versions.get(self._metadata, *versions.named(version))
        if found.retired_us is None:
            users = [f"{user.kind.replace('_', ' ')} {user.name}" for user in catalog.users_of_version(self._repositories, found.name, found.number)]
            now_us = self._repositories.clock.now_us()
            self._metadata.commit(versions.retirement(found, users, self._metadata.get(CatalogStamp, CATALOG), actor=actor, now_us=now_us))
        view = found.view
        if not isinstance(view, FeatureView) or registry.is_read(self._metadata, view):
            return 0
        return self._feed.materializer.forget(view)

    def _view(self, name: str) -> FeatureView | OnDemandFeatureView:
        return references.view(self._metadata, *(versions.named(name) if "@" in name else (name, None)))

    def _joined(self, spine: pl.DataFrame, plan: JoinPlan, service: FeatureService, timestamp: str, as_of: AsOf) -> pl.DataFrame:
        for source in plan.sources:
            try:
                self._feed.pushes.flush(source)  # what was pushed a moment ago is part of the history
            except NotFound:  # a service may be tried before it is registered
                continue
        tracked = input_tracking.listening()
        read = {source: self._repositories.tables.version(f"sources/{source}") for source in plan.sources} if tracked else {}
        times = materialization_log.times(self._metadata, service) if as_of == "served" else None
        joined = point_in_time.historical(self._repositories.tables, plan, spine, timestamp=timestamp, as_of=as_of, materialized=times)
        if tracked:
            _note(service, read, joined)
        return joined

    def _reader(self, features: Features) -> OnlineFeatures:
        """The compiled reader of a service, kept until definitions change."""
        return self._kept("reader", features, lambda service: OnlineFeatures(self._repositories.online, service, self._feed.histories(service)))

    def _plan(self, features: Features) -> tuple[JoinPlan, FeatureService]:
        """The compiled join of a service, kept until definitions change."""
        return self._kept("join", features, lambda service: (point_in_time.planned(service), service))

    def _kept(self, purpose: str, features: Features, compile: Callable[[FeatureService], T]) -> T:
        """What is compiled of a service for a purpose; the second of each pair keeps the key's object alive."""
        now_s = time.monotonic()
        if now_s - self._checked_s >= self._refresh_s or self._registrations != self._feed.registrations:
            self._check_catalog(now_s)
        key = features if isinstance(features, str) else id(features) if isinstance(features, FeatureService) else tuple(map(str, features))
        kept = self._compiled  # another thread may find changed definitions and begin a new one: then this one's is not kept
        known = kept.get((purpose, key))
        if known is None:
            known = (compile(references.service(self._metadata, features)), features)
            if len(kept) >= _MOST_COMPILED:
                kept.clear()
            kept[purpose, key] = known
        made: T = known[0]
        return made

    def _check_catalog(self, now_s: float) -> None:
        """Forget what was compiled when definitions have changed; while the metadata store is away nobody can change them."""
        self._checked_s, self._registrations = now_s, self._feed.registrations
        try:
            version = registry.catalog(self._metadata)
        except Unavailable:
            return
        if version != self._catalog_version:
            self._compiled, self._catalog_version = {}, version

    def _targets(self, views: Sequence[str] | None) -> dict[str, str]:
        """One view for each source of the asked ones, and each version that is named."""
        if views is None:
            return {view.source.name: view.name for view in self.list_feature_views()}
        return {name if "@" in name else self.get_feature_view(name).source.name: name for name in _names(views)}

    @staticmethod
    def _answer_names(service: FeatureService, features: Sequence[str], full: bool) -> dict[str, str]:
        """Each full name with the name of its column in the answer."""
        names = {name: name if full else _own_name(service, name) for name in features}
        twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
        if twice:
            raise InvalidInput(f"the features {twice} are in several views; ask with full_feature_names=True", features=twice)
        return names


def _names(views: Sequence[str]) -> Sequence[str]:
    return [views] if isinstance(views, str) else views


def _note(service: FeatureService, read: Mapping[str, int | None], joined: pl.DataFrame) -> None:
    """Tell whoever tracks a run which sources it joined, at which version; the digest is that of the joined rows."""
    digest = digest_of(digestible(joined))
    for source, version in read.items():
        if version is not None:
            names = ", ".join(f"{view.name}:{name}" for view in service.stored_views if view.source.name == source for name in view.features)
            node = f"source:{source}@{version}"
            input_tracking.note(RunInput(source, digest, "rota_features", f"{source}@{version}", node, tags={"features": names[:MAX_TAG]}))


def _own_name(service: FeatureService, full_name: str) -> str:
    """A feature's name without its view's."""
    return next(feature for view in service.views for feature in view.features if f"{view.name}__{feature}" == full_name)


def _definitions(objects: Iterable[Definition | Entity] | Definition) -> list[Definition]:
    """What is stored of the objects: an entity is a part of its views."""
    given = [objects] if isinstance(objects, Record) else list(objects)
    unknown = [each for each in given if not isinstance(each, Definition | Entity)]
    if unknown:
        raise InvalidInput(
            f"{type(unknown[0]).__name__} is no feature definition; apply sources, feature views, on-demand views and services here, "
            "and a project's pipelines and endpoints with `rota apply`"
        )
    return [each for each in given if not isinstance(each, Entity)]


def _named(found: Sequence[N], what: str, name: str) -> N:
    for each in found:
        if each.name == name:
            return each
    raise NotFound(f"there is no {what} {str(name)[:120]!r}; there are {[each.name for each in found[:20]] or 'none'}")
