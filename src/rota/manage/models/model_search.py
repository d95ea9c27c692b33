"""Search the registry: models and versions by name, tag, metric, parameter, owner, status, stage and alias.

Conditions come from `rota.manage.experiments.search_grammar`. A model is found by the metrics of its champion, or of its newest version while
it has none.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from rota.manage.experiments import search_grammar
from rota.manage.experiments.search_grammar import Fields
from rota.ports.metadata import Metadata
from rota.records.filters import Page, Query, View
from rota.records.model import CHALLENGER, CHAMPION, Alias, ModelVersion, RegisteredModel

T = TypeVar("T", ModelVersion, Alias)

ARCHIVED_TAG = "rota.archived"
STAGE_OF_ALIAS: Mapping[str, str] = {CHAMPION: "production", CHALLENGER: "staging"}


def models(metadata: Metadata, query: Query) -> Page[RegisteredModel]:
    """Registered models that meet a query, by name unless it has an order."""
    wanted = _by_model(metadata.find(ModelVersion, order="number"))
    aliases = _by_model(metadata.find(Alias))
    known = _seen(metadata.find(RegisteredModel, order="name"), query.view)

    def fields(model: RegisteredModel) -> Fields:
        speaking = _speaking(wanted.get(model.name, ()), aliases.get(model.name, ()))
        attributes = {
            "name": model.name,
            "owner": model.owner,
            "project": model.project,
            "creation_timestamp": model.created_us // 1_000,
            "last_updated_timestamp": model.updated_us // 1_000,
        }
        return {"attribute": attributes, "tag": model.tags, "metric": speaking.metrics if speaking else {}}

    return search_grammar.found(known, query, fields, scope="models")


def versions(metadata: Metadata, query: Query) -> Page[ModelVersion]:
    """Versions that meet a query, newest first unless it has an order."""
    found = sorted(metadata.find(ModelVersion), key=_newest_first)
    aliases: dict[str, list[str]] = {}
    for alias in metadata.find(Alias):
        aliases.setdefault(f"{alias.model}@{alias.number}", []).append(alias.alias)

    def fields(version: ModelVersion) -> Fields:
        named = tuple(aliases.get(version.id, ()))
        attributes = {
            "name": version.model,
            "version_number": version.number,
            "run_id": version.experiment_run or version.run,
            "source_path": version.source,
            "owner": version.owner,
            "status": version.status,
            "stage": stage(version, named),
            "alias": named or None,
            "creation_timestamp": version.created_us // 1_000,
            "last_updated_timestamp": (version.updated_us or version.created_us) // 1_000,
        }
        parameters = {key: str(value) for key, value in version.parameters.items()}
        return {"attribute": attributes, "tag": version.tags, "metric": version.metrics, "parameter": parameters}

    if query.order:
        found.sort(key=lambda version: (version.model, -version.number))  # what the order leaves open
    kept = [v for v in found if query.view == "all" or (v.status == "deleted") == (query.view == "deleted")]
    return search_grammar.found(kept, query, fields, scope="versions")


def stage(version: ModelVersion, aliases: Iterable[str]) -> str:
    """A version's stage in the words of registries that have stages: production, staging, archived or none; a view of aliases."""
    for alias, name in STAGE_OF_ALIAS.items():
        if alias in aliases:
            return name
    return "archived" if ARCHIVED_TAG in version.tags else "none"


def _newest_first(version: ModelVersion) -> tuple[int, str, int]:
    return -version.created_us, version.model, -version.number


def _seen(models: Iterable[RegisteredModel], view: View) -> list[RegisteredModel]:
    return [model for model in models if view == "all" or (model.deleted_us is not None) == (view == "deleted")]


def _by_model(records: Iterable[T]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for record in records:
        found.setdefault(record.model, []).append(record)
    return found


def _speaking(versions: Iterable[ModelVersion], aliases: Iterable[Alias]) -> ModelVersion | None:
    """The version whose metrics stand for the model."""
    champion = next((alias.number for alias in aliases if alias.alias == CHAMPION), 0)
    known = [version for version in versions if version.status != "deleted"]
    return next((version for version in known if version.number == champion), known[-1] if known else None)
