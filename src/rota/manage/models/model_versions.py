"""Versions of a registered model: immutable, numbered by one more each time, never numbered again.

A deleted version keeps its record, so what was predicted, decided or audited under a number always leads to what it was.
Every change is one batch with its audit entry.
"""

import re
from collections.abc import Collection, Mapping

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.experiments import artifacts
from rota.manage.models import registered_models, version_sources
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.model import Alias, ModelVersion, RegisteredModel
from rota.records.record import check_name
from rota.records.release import Release
from rota.records.signal import Event
from rota.records.time import Micros

_NUMBER = re.compile(r"[0-9]{1,18}")


def next_number(metadata: Metadata, model: str) -> int:
    """The number that the next version of a model will have."""
    newest = metadata.page(ModelVersion, {"model": model}, order="-number", limit=1).items
    return newest[0].number + 1 if newest else 1


def register(batch: Batch, metadata: Metadata, version: ModelVersion, *, actor: str = "rota") -> None:
    """Store a new version with its event and audit entry, and its model when there is none yet; `Conflict` at commit when the number is taken."""
    model = metadata.get(RegisteredModel, version.model)
    if model is None or model.deleted_us is not None:
        check_name("model", version.model)
        registered_models.check_spelling(metadata, version.model)
        owner = version.owner or ("" if actor == "rota" else actor)
        at_us, project = version.created_us, registered_models.project_of(metadata, version)
        batch.put(RegisteredModel(version.model, project, owner, created_us=at_us, updated_us=at_us), replacing=model)
    else:
        registered_models.put_touched(batch, metadata, version.model, version.created_us)
    batch.create(version)
    batch.event(Event("version.registered", version.id, version.created_us, {"model": version.model, "number": version.number}))
    batch.audit(actor, "version.register", version.id, version.created_us, run=version.run or version.experiment_run, dataset=version.dataset)


def create(
    repositories: Repositories,
    *,
    model: str,
    source: str,
    run: str = "",
    tags: Mapping[str, str] | None = None,
    description: str = "",
    actor: str,
) -> ModelVersion:
    """Register what a tracked run or a logged model made as the next version of a model (`rota.manage.models.version_sources`).

    The version keeps its own copy of the files, so that nothing done to the run later changes it. Several may register at
    once; each gets a number of its own. `NotFound` when there is no such model, source or run.
    """
    metadata = repositories.metadata

    def attempt() -> ModelVersion:
        registered_models.get(metadata, model)
        draft, place = version_sources.drafted(repositories, model, source, run)
        now_us = repositories.clock.now_us()
        version = msgspec.structs.replace(
            draft,
            number=next_number(metadata, model),
            created_us=now_us,
            updated_us=now_us,
            owner=actor,
            registered_by=actor,
            description=description,
            tags=dict(tags or {}),
            artifacts=artifacts.new_version_root(model),
        )
        batch = Batch()
        artifacts.snapshot(metadata, batch, place.root, place.folder, into=version.artifacts)
        register(batch, metadata, version, actor=actor)
        batch.link(f"model_version:{version.id}", version_sources.causes(version, place), now_us)
        metadata.commit(batch)
        return version

    return transact(attempt)


def get(metadata: Metadata, model: str, number: int) -> ModelVersion:
    """A version, also a deleted one, or `NotFound` naming those that exist."""
    version = metadata.get(ModelVersion, model, number)
    if version is None:
        registered_models.get(metadata, model)
        known = [v.number for v in metadata.find(ModelVersion, {"model": model})]
        raise NotFound(f"model {model!r} has no version {number}; it has {known or 'none'}", model=model, number=number)
    return version


def live(metadata: Metadata, model: str, number: int) -> ModelVersion:
    """A version that was not deleted, or `NotFound`."""
    version = get(metadata, model, number)
    if version.status == "deleted":
        raise NotFound(f"{version.id} was deleted; its record stays, it cannot be used any more", model=model, number=number)
    return version


def of_model(metadata: Metadata, model: str) -> list[ModelVersion]:
    """The versions of a model that were not deleted, oldest first."""
    return [v for v in metadata.find(ModelVersion, {"model": model}, order="number") if v.status != "deleted"]


def resolve(metadata: Metadata, reference: str) -> ModelVersion:
    """The version of "model@3" or "model@champion"."""
    model, _, which = reference.partition("@")
    if not model or not which:
        raise InvalidInput(f'model reference {reference!r} is not MODEL@NUMBER or MODEL@ALIAS; for example "churn@3" or "churn@champion"')
    if _NUMBER.fullmatch(which):
        return get(metadata, model, int(which))
    alias = metadata.get(Alias, model, which)
    if alias is None:
        registered_models.get(metadata, model)
        known = [a.alias for a in metadata.find(Alias, {"model": model})]
        raise NotFound(f"model {model!r} has no alias {which!r}; it has {known or 'none'}", model=model, alias=which)
    return get(metadata, model, alias.number)


def update(  # noqa: PLR0913 - what may be changed, each by its name
    metadata: Metadata,
    model: str,
    number: int,
    *,
    actor: str,
    now_us: Micros,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    removed_tags: Collection[str] = (),
    owner: str | None = None,
    moved: bool = False,
) -> ModelVersion:
    """Change what describes a version; what is not given stays, and what the version is never changes.

    Its moment moves with description and owner, as in MLflow not with tags; `moved` moves it even where nothing differs.
    """

    def attempt() -> ModelVersion:
        before = live(metadata, model, number)
        after = registered_models.described(before, now_us, description=description, owner=owner, tags=tags, removed_tags=removed_tags, moved=moved)
        if after != before:
            batch = Batch()
            batch.put(after, replacing=before)
            registered_models.audit_description(batch, actor, "version.change", before.id, before, after, now_us)
            metadata.commit(batch)
        return after

    return transact(attempt)


def delete(metadata: Metadata, model: str, number: int, *, actor: str, now_us: Micros, reason: str = "") -> None:
    """Delete a version: its record stays, its number is never used again. `Refused` while an alias or a release needs it."""

    def attempt() -> None:
        version = live(metadata, model, number)
        named = [a.alias for a in metadata.find(Alias, {"model": model}) if a.number == number]
        if named:
            raise Refused(f"{version.id} cannot be deleted: aliases {named} point at it; move or remove them first", version=version.id)
        served = [e.name for e in registered_models.endpoints(metadata, model) if _serves(metadata, e.name, number)]
        if served:
            raise Refused(f"{version.id} cannot be deleted: endpoints {served} serve it; deliver another version first", version=version.id)
        batch = Batch()
        batch.put(msgspec.structs.replace(version, status="deleted", updated_us=now_us), replacing=version)
        registered_models.put_touched(batch, metadata, model, now_us)
        batch.audit(actor, "version.delete", version.id, now_us, before=version.status, reason=reason)
        metadata.commit(batch)

    transact(attempt)


def _serves(metadata: Metadata, endpoint: str, number: int) -> bool:
    newest = metadata.page(Release, {"endpoint": endpoint}, order="-revision", limit=1).items
    return bool(newest) and any(route.number == number for route in newest[0].routes)
