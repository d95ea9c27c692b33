"""The catalog: finding features and what is around them, and everybody who uses one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from rota.errors import Corrupt, NotFound
from rota.manage.features.definitions import references, versions
from rota.manage.features.definitions.versions import View
from rota.manage.features.expressions import compiler
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records.data import Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.dataset import Dataset, DatasetVersion
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode
from rota.records.release import Endpoint, Release
from rota.records.run import Deployed
from rota.records.schema import Type

Kind = Literal["feature", "feature_view", "on_demand_feature_view", "source", "feature_service", "dataset"]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A line of the catalog. A feature is named as it is asked for, `view:feature`, and has its view's owner and tags."""

    kind: Kind
    name: str
    owner: str
    description: str
    tags: Mapping[str, str]
    entities: tuple[str, ...] = ()
    type: Type | None = None
    definition: str = ""

    def text(self) -> str:
        """Everything that a search looks through."""
        words = [self.name, self.owner, self.description, self.definition, *self.entities]
        return " ".join([*words, *(f"{key}={value}" for key, value in self.tags.items())]).casefold()


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who reads features of a view: which of them, and in which version (0: one that is not kept any more, or not known)."""

    kind: str
    name: str
    features: tuple[str, ...]
    version: int = 0


def search(
    metadata: Metadata, text: str = "", *, owner: str = "", tag: str = "", entity: str = "", type: str = "", kind: str = ""
) -> list[CatalogEntry]:
    """The entries that hold every word of `text` and fit the rest; those with a word in their name first.

    `tag` is KEY or KEY=VALUE. Upper and lower case are alike.
    """
    words = text.casefold().split()
    found = [
        entry
        for entry in entries(metadata)
        if all(word in entry.text() for word in words)
        and (not owner or entry.owner.casefold() == owner.casefold())
        and (not tag or _tagged(entry, tag))
        and (not entity or entity in entry.entities)
        and (not type or entry.type == type)
        and (not kind or entry.kind == kind)
    ]
    return sorted(found, key=lambda entry: not any(word in entry.name.casefold() for word in words))


def entries(metadata: Metadata) -> Iterator[CatalogEntry]:
    """The whole catalog: views with their features, sources, services, datasets."""
    for view in metadata.find(FeatureView):
        yield from _of_view(view)
    for request in metadata.find(OnDemandFeatureView):
        yield from _of_view(request)
    for source in metadata.find(Source):
        fields = ", ".join(f"{name} {kind}" for name, kind in source.fields.items())
        yield CatalogEntry("source", source.name, source.owner, source.description, source.tags, definition=fields)
    for service in metadata.find(FeatureService):
        yield CatalogEntry(
            "feature_service", service.name, service.owner, service.description, service.tags, definition=", ".join(service.feature_names)
        )
    for dataset in metadata.find(Dataset):
        definition = (
            f"{dataset.definition.label.text} from {dataset.definition.labels.name} with {', '.join(dataset.definition.features.feature_names)}"
        )
        yield CatalogEntry("dataset", dataset.name, dataset.owner, dataset.description, dataset.tags, definition=definition)


def usage(repositories: Repositories, view: str, feature: str = "") -> list[User]:
    """Every user of a view, or of one of its features: services, pipelines, datasets and their versions, model versions, endpoints."""
    metadata = repositories.metadata
    references.view_of_any_age(metadata, view, feature)
    reading = _Reading(metadata, view, feature)
    users = [reading.user("feature_service", each.name, each) for each in metadata.find(FeatureService)]
    users += [
        reading.user("pipeline", f"{each.pipeline} in {each.environment}", each.definition.dataset.features) for each in metadata.find(Deployed)
    ]
    users += [reading.user("dataset", each.name, each.definition.features) for each in metadata.find(Dataset)]
    users += [reading.columns(repositories, version) for version in metadata.find(DatasetVersion, order="-created_us")]
    models = {version.id: reading.model(repositories, version) for version in metadata.find(ModelVersion, order="-created_us")}
    users += models.values()
    for endpoint in metadata.find(Endpoint):
        for number in _served(metadata, endpoint):
            found = models.get(f"{endpoint.model}@{number}")
            users.append(User("endpoint", f"{endpoint.name} ({endpoint.model}@{number})", found.features, found.version) if found else None)
    return [user for user in users if user is not None]


def users_of_version(repositories: Repositories, view: str, number: int) -> list[User]:
    """Who needs the online rows of one version of a view: services, pipelines, named datasets, model versions not rejected, endpoints."""
    rejected = {f"{each.id}" for each in repositories.metadata.find(ModelVersion, {"status": "rejected"})}
    return [
        user
        for user in usage(repositories, view)
        if user.version == number and user.kind != "dataset_version" and not (user.kind == "model_version" and user.name in rejected)
    ]


def type_of(view: View, feature: Feature) -> Type:
    """The type of a feature's values."""
    if feature.aggregation == "count":
        return "int"
    if feature.aggregation in ("mean", "sum", "share"):
        return "float"
    return compiler.type_of(feature.expression, view.source.fields if isinstance(view, FeatureView) else view.inputs)


class _Reading:
    """Who reads a view, or one feature of it."""

    def __init__(self, metadata: Metadata, view: str, feature: str) -> None:
        self._view = view
        self._wanted = f"{view}__{feature}" if feature else ""
        self._numbers = {versions.identity(version.view): version.number for version in versions.of(metadata, view)}

    def user(self, kind: str, name: str, service: FeatureService) -> User | None:
        held = next((each for each in service.views if each.name == self._view), None)
        if held is None:
            return None
        return self._named(kind, name, list(service.feature_names), self._numbers.get(versions.identity(held), 0))

    def model(self, repositories: Repositories, version: ModelVersion) -> User | None:
        try:
            bundle = decode(repositories.blobs.get(version.bundle), ModelBundle)
        except (NotFound, Corrupt):  # its bundle is gone: it can neither be served nor say what it read
            return None
        return self.user("model_version", version.id, bundle.features)

    def columns(self, repositories: Repositories, version: DatasetVersion) -> User | None:
        """A dataset version says by its columns which features it holds."""
        try:
            names = repositories.tables.scan(version.table, version=version.table_version).collect_schema().names()
        except (NotFound, Corrupt):
            return None
        return self._named("dataset_version", f"{version.name}@{version.number}", names, 0)

    def _named(self, kind: str, name: str, columns: list[str], number: int) -> User | None:
        start = f"{self._view}__"
        found = tuple(column.removeprefix(start) for column in columns if (column == self._wanted if self._wanted else column.startswith(start)))
        return User(kind, name, found, number) if found else None


def _of_view(view: View) -> Iterator[CatalogEntry]:
    stored = isinstance(view, FeatureView)
    entities = tuple(entity.name for entity in view.entities) if isinstance(view, FeatureView) else ()
    made_of = f"from {view.source.name}" if isinstance(view, FeatureView) else "from the request"
    kind: Kind = "feature_view" if stored else "on_demand_feature_view"
    yield CatalogEntry(kind, view.name, view.owner, view.description, view.tags, entities, definition=made_of)
    for name, feature in view.features.items():
        described = view.descriptions.get(name, "")
        yield CatalogEntry(
            "feature",
            f"{view.name}:{name}",
            view.owner,
            described,
            view.tags,
            entities,
            type_of(view, feature),
            f"{versions.shown(feature)} {made_of}",
        )


def _served(metadata: Metadata, endpoint: Endpoint) -> list[int]:
    """The model versions that an endpoint's newest release sends requests to."""
    newest = metadata.page(Release, {"endpoint": endpoint.name}, order="-revision", limit=1).items
    return sorted({route.number for release in newest for route in release.routes})


def _tagged(entry: CatalogEntry, tag: str) -> bool:
    key, separator, value = tag.partition("=")
    return entry.tags.get(key) == value if separator else key in entry.tags
