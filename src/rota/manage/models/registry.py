"""The model registry: named models, their immutable numbered versions, movable aliases. Every change is one batch with its audit entry.

Numbers grow by one and are never used again: a deleted version and a deleted model keep their records, so what was
predicted, decided or audited under a number always leads to what it was. Who may move an alias is decided in
`rota.manage.governance.decisions`; here stands only how a move is stored.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec

from rota.errors import Conflict, InvalidInput, NotFound, Refused
from rota.manage.experiments import artifacts
from rota.manage.models import sources as model_sources
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata
from rota.records.kinds import node
from rota.records.model import (
    CHAMPION,
    Alias,
    AliasMove,
    Approval,
    ModelCard,
    ModelVersion,
    PickleAllowance,
    RegisteredModel,
    ReleasePolicy,
    ReviewRequest,
    RiskAnswer,
)
from rota.records.record import check_name
from rota.records.release import Endpoint, Release
from rota.records.run import Deployed, PipelineRelease
from rota.records.signal import Event
from rota.records.time import Micros

R = TypeVar("R")

ANY = "*"
"""The model name of the policy that holds where a model has none of its own."""
ATTEMPTS = 100
ALL = 1_000_000
_NUMBER = re.compile(r"[0-9]{1,18}")
_NO_ALIAS = re.compile(r"[0-9]+|v[0-9]+|latest", re.IGNORECASE)


def create_model(metadata: Metadata, model: RegisteredModel, *, actor: str, now_us: Micros) -> RegisteredModel:
    """Register a name; `Conflict` when it is taken. A deleted model's name may be taken again: its versions go on being counted."""
    check_name("model", model.name)
    before = metadata.get(RegisteredModel, model.name)
    if (before is not None and before.deleted_us is None) or (before is None and next_number(metadata, model.name) > 1):
        raise Conflict(f"there is a model {model.name!r} already; register versions of it, or choose another name", model=model.name)
    made = msgspec.structs.replace(model, owner=model.owner or actor, created_us=now_us, updated_us=now_us, deleted_us=None)
    batch = Batch()
    batch.put(made, replacing=before)
    batch.audit(actor, "model.create", made.name, now_us, owner=made.owner, project=made.project, tags=dict(made.tags))
    metadata.commit(batch)
    return made


def get_model(metadata: Metadata, name: str) -> RegisteredModel:
    """A registered model that was not deleted, or `NotFound`."""
    found = _known(metadata, name)
    if found is None or found.deleted_us is not None:
        known = [m.name for m in metadata.find(RegisteredModel, limit=20) if m.deleted_us is None]
        raise NotFound(f"there is no model {name!r}; there are {known or 'none'}", model=name)
    return found


def update_model(
    metadata: Metadata,
    name: str,
    *,
    actor: str,
    now_us: Micros,
    description: str | None = None,
    owner: str | None = None,
    tags: Mapping[str, str] | None = None,
    removed_tags: Collection[str] = (),
) -> RegisteredModel:
    """Change what describes a model; what is not given stays. `tags` are added to those there are."""

    def change() -> RegisteredModel:
        before = get_model(metadata, name)
        changes = _changes(before, description=description, owner=owner, tags=_tags(before.tags, tags, removed_tags))
        if not changes:
            return before
        after = msgspec.structs.replace(before, **changes, updated_us=now_us)
        batch = Batch()
        batch.put(after, replacing=metadata.get(RegisteredModel, name))
        _audit_change(batch, actor, "model.change", name, now_us, before, changes)
        metadata.commit(batch)
        return after

    return retried(change)


def delete_model(metadata: Metadata, name: str, *, actor: str, now_us: Micros, reason: str = "", may_release: bool = False) -> None:
    """Delete a model with its versions and aliases; `Refused` while an endpoint serves it.

    One with a protected alias needs `may_release`, as moving that alias does.
    """

    def delete() -> None:
        model = get_model(metadata, name)
        _check_unserved(metadata, name, "deleted")
        aliases = metadata.find(Alias, {"model": name}, limit=ALL)
        _check_unprotected(metadata, name, aliases, "deleted", may_release=may_release)
        batch = Batch()
        for alias in aliases:
            drop_alias(batch, metadata, alias, actor=actor, now_us=now_us, reason=reason or "the model was deleted")
        for version in versions(metadata, name):
            batch.put(msgspec.structs.replace(version, status="deleted", updated_us=now_us), replacing=version)
        batch.put(msgspec.structs.replace(model, deleted_us=now_us, updated_us=now_us), replacing=metadata.get(RegisteredModel, name))
        batch.audit(actor, "model.delete", name, now_us, reason=reason)
        metadata.commit(batch)

    retried(delete)


def rename_model(
    metadata: Metadata, name: str, new_name: str, *, actor: str, now_us: Micros, reason: str = "", may_release: bool = False
) -> RegisteredModel:
    """Give a model another name: versions keep their numbers, statuses, decisions, cards and aliases under it.

    Under the old name they stay as deleted versions to which lineage, audit and the prediction log still lead. `Refused`
    while an endpoint serves the model or a pipeline registers its versions; a protected alias needs `may_release`.
    `Conflict` when the new name is, or ever was, a model's.
    """
    check_name("model", new_name)

    def rename() -> RegisteredModel:
        model = get_model(metadata, name)
        _check_unserved(metadata, name, "renamed")
        _check_untrained(metadata, name)
        aliases = metadata.find(Alias, {"model": name}, limit=ALL)
        _check_unprotected(metadata, name, aliases, "renamed", may_release=may_release)
        if metadata.get(RegisteredModel, new_name) is not None or next_number(metadata, new_name) > 1:
            raise Conflict(f"model {name!r} cannot be renamed: {new_name!r} is, or was, another model", model=new_name)
        batch = Batch()
        renamed = msgspec.structs.replace(model, name=new_name, updated_us=now_us)
        batch.create(renamed)
        batch.put(msgspec.structs.replace(model, deleted_us=now_us, updated_us=now_us), replacing=metadata.get(RegisteredModel, name))
        for version in metadata.find(ModelVersion, {"model": name}, order="number", limit=ALL):
            moved = msgspec.structs.replace(version, model=new_name)
            batch.create(moved)
            batch.put(msgspec.structs.replace(version, status="deleted", updated_us=now_us), replacing=version)
            batch.link(f"model_version:{moved.id}", [f"model_version:{version.id}"], now_us)
        for kind in (Approval, ReviewRequest, RiskAnswer, ModelCard, PickleAllowance, ReleasePolicy):
            for record in metadata.find(kind, {"model": name}, limit=ALL):
                batch.put(msgspec.structs.replace(record, model=new_name))
        evidence = {"renamed_from": name}
        for alias in aliases:
            drop_alias(batch, metadata, alias, actor=actor, now_us=now_us, reason=f"renamed to {new_name}", evidence={"renamed_to": new_name})
            again = msgspec.structs.replace(alias, model=new_name, since_us=now_us, reason=f"renamed from {name}")
            move_alias(batch, metadata, again, actor=actor, evidence=evidence)
        batch.audit(actor, "model.rename", name, now_us, to=new_name, reason=reason)
        metadata.commit(batch)
        return renamed

    return retried(rename)


def next_number(metadata: Metadata, model: str) -> int:
    """The number that the next version of a model will have."""
    newest = metadata.find(ModelVersion, {"model": model}, order="-number", limit=1)
    return newest[0].number + 1 if newest else 1


def register(batch: Batch, metadata: Metadata, version: ModelVersion, *, actor: str = "rota") -> None:
    """Store a new version with its event and audit entry, and its model when there is none yet; `Conflict` at commit when the number is taken."""
    model = metadata.get(RegisteredModel, version.model)
    if model is None or model.deleted_us is not None:
        check_name("model", version.model)
        owner = version.owner or ("" if actor == "rota" else actor)
        at_us, project = version.created_us, _project_of(metadata, version)
        batch.put(RegisteredModel(version.model, project, owner, created_us=at_us, updated_us=at_us), replacing=model)
    batch.create(version)
    batch.event(Event("version.registered", version.id, version.created_us, {"model": version.model, "number": version.number}))
    batch.audit(actor, "version.register", version.id, version.created_us, run=version.run or version.experiment_run, dataset=version.dataset)


def create_version(
    repositories: Repositories,
    *,
    model: str,
    source: str,
    run: str = "",
    tags: Mapping[str, str] | None = None,
    description: str = "",
    actor: str,
) -> ModelVersion:
    """Register what a tracked run or a logged model made as the next version of a model (`rota.manage.models.sources`).

    The version keeps its own copy of the files, so that nothing done to the run later changes it. Several may register at
    once; each gets a number of its own. `NotFound` when there is no such model, source or run.
    """
    metadata = repositories.metadata

    def create() -> ModelVersion:
        get_model(metadata, model)
        draft, place = model_sources.drafted(repositories, model, source, run)
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
        batch.link(f"model_version:{version.id}", model_sources.causes(version, place), now_us)
        metadata.commit(batch)
        return version

    return retried(create)


def get(metadata: Metadata, model: str, number: int) -> ModelVersion:
    """A version, also a deleted one, or `NotFound` naming those that exist."""
    version = metadata.get(ModelVersion, model, number)
    if version is None:
        known = [v.number for v in metadata.find(ModelVersion, {"model": model})]
        raise NotFound(f"model {model!r} has no version {number}; it has {known or 'none'}", model=model, number=number)
    return version


def live(metadata: Metadata, model: str, number: int) -> ModelVersion:
    """A version that was not deleted, or `NotFound`."""
    version = get(metadata, model, number)
    if version.status == "deleted":
        raise NotFound(f"{version.id} was deleted; its record stays, it cannot be used any more", model=model, number=number)
    return version


def versions(metadata: Metadata, model: str) -> list[ModelVersion]:
    """The versions of a model that were not deleted, oldest first."""
    return [v for v in metadata.find(ModelVersion, {"model": model}, order="number", limit=ALL) if v.status != "deleted"]


def resolve(metadata: Metadata, reference: str) -> ModelVersion:
    """The version of "model@3" or "model@champion"."""
    model, _, which = reference.partition("@")
    if not model or not which:
        raise InvalidInput(f'model reference {reference!r} is not MODEL@NUMBER or MODEL@ALIAS; for example "churn@3" or "churn@champion"')
    if _NUMBER.fullmatch(which):
        return get(metadata, model, int(which))
    alias = metadata.get(Alias, model, which)
    if alias is None:
        known = [a.alias for a in metadata.find(Alias, {"model": model})]
        raise NotFound(f"model {model!r} has no alias {which!r}; it has {known or 'none'}", model=model, alias=which)
    return get(metadata, model, alias.number)


def change_version(  # noqa: PLR0913 - what may be changed, each by its name
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
) -> ModelVersion:
    """Change what describes a version; what is not given stays, and what the version is never changes."""

    def change() -> ModelVersion:
        before = live(metadata, model, number)
        changes = _changes(before, description=description, owner=owner, tags=_tags(before.tags, tags, removed_tags))
        if not changes:
            return before
        after = msgspec.structs.replace(before, **changes, updated_us=now_us)
        batch = Batch()
        batch.put(after, replacing=before)
        _audit_change(batch, actor, "version.change", before.id, now_us, before, changes)
        metadata.commit(batch)
        return after

    return retried(change)


def delete_version(metadata: Metadata, model: str, number: int, *, actor: str, now_us: Micros, reason: str = "") -> None:
    """Delete a version: its record stays, its number is never used again. `Refused` while an alias or a release needs it."""

    def delete() -> None:
        version = live(metadata, model, number)
        named = [a.alias for a in metadata.find(Alias, {"model": model}, limit=ALL) if a.number == number]
        if named:
            raise Refused(f"{version.id} cannot be deleted: aliases {named} point at it; move or remove them first", version=version.id)
        served = [e.name for e in metadata.find(Endpoint, {"model": model}) if _serves(metadata, e.name, number)]
        if served:
            raise Refused(f"{version.id} cannot be deleted: endpoints {served} serve it; deliver another version first", version=version.id)
        batch = Batch()
        batch.put(msgspec.structs.replace(version, status="deleted", updated_us=now_us), replacing=version)
        batch.audit(actor, "version.delete", version.id, now_us, before=version.status, reason=reason)
        metadata.commit(batch)

    retried(delete)


def aliased(metadata: Metadata, model: str, alias: str = CHAMPION) -> ModelVersion | None:
    """The version an alias points to, or None."""
    found = metadata.get(Alias, model, alias)
    return metadata.get(ModelVersion, model, found.number) if found else None


def move_alias(batch: Batch, metadata: Metadata, alias: Alias, *, actor: str, evidence: Mapping[str, Any] | None = None) -> None:
    """Point an alias at a version, with an entry in its history and in the audit log. Of two moves from one state, one is a `Conflict`."""
    before = metadata.get(Alias, alias.model, alias.alias)
    batch.put(alias, replacing=before)
    _move(batch, metadata, alias, alias.number, actor=actor, before=before.number if before else 0, evidence=evidence or {})


def drop_alias(
    batch: Batch, metadata: Metadata, alias: Alias, *, actor: str, now_us: Micros, reason: str, evidence: Mapping[str, Any] | None = None
) -> None:
    """Remove an alias; its history stays and ends with number 0."""
    batch.remove(alias)
    gone = msgspec.structs.replace(alias, since_us=now_us, reason=reason)
    _move(batch, metadata, gone, 0, actor=actor, before=alias.number, evidence=evidence or {})


def newest_move(metadata: Metadata, model: str, alias: str) -> AliasMove | None:
    """The last entry of an alias's history."""
    newest = metadata.find(AliasMove, {"model": model, "alias": alias}, order="-move", limit=1)
    return newest[0] if newest else None


def alias_at(metadata: Metadata, model: str, alias: str, at_us: Micros) -> AliasMove | None:
    """The move that an alias rested on at a moment; None when it pointed nowhere then. Costs a look-up for each doubling of the history."""
    newest = newest_move(metadata, model, alias)
    low, high = 0, newest.move if newest else 0
    while low < high:
        middle = (low + high + 1) // 2
        move = metadata.get(AliasMove, model, alias, middle)
        assert move is not None
        low, high = (middle, high) if move.at_us <= at_us else (low, middle - 1)
    found = metadata.get(AliasMove, model, alias, low) if low else None
    return found if found is not None and found.number else None


def check_alias(alias: str) -> str:
    """The alias itself, when no reference can take it for a version's number."""
    check_name("alias", alias)
    if _NO_ALIAS.fullmatch(alias):
        raise InvalidInput(f'alias {alias!r} reads as a version; choose a word such as "champion" or "candidate"', alias=alias)
    return alias


def policy(metadata: Metadata, model: str) -> ReleasePolicy:
    """The model's release policy, else that of "*"; without either a person approves (safe by default)."""
    own = metadata.get(ReleasePolicy, model)
    general = own or metadata.get(ReleasePolicy, ANY) or ReleasePolicy(ANY, "semi-automatic")
    return msgspec.structs.replace(general, model=model)


def endpoints(metadata: Metadata, model: str) -> list[Endpoint]:
    """The endpoints that serve a model."""
    return metadata.find(Endpoint, {"model": model})


def retried(act: Callable[[], R]) -> R:
    """Read and write again when somebody else was faster; each failure means that another's change came through, so this ends."""
    for _ in range(ATTEMPTS - 1):
        try:
            return act()
        except Conflict:
            continue
    return act()


def _known(metadata: Metadata, name: str) -> RegisteredModel | None:
    """The record of a name. Versions registered by an older release have none: their model is the one they imply."""
    found = metadata.get(RegisteredModel, name)
    if found is None and (first := metadata.find(ModelVersion, {"model": name}, order="number", limit=1)):
        return RegisteredModel(name, _project_of(metadata, first[0]), created_us=first[0].created_us, updated_us=first[0].created_us)
    return found


def _project_of(metadata: Metadata, version: ModelVersion) -> str:
    """A trained version's model belongs to the project whose release trained it."""
    release = metadata.get(PipelineRelease, version.release) if version.release else None
    return release.project if release else "default"


def _move(batch: Batch, metadata: Metadata, alias: Alias, number: int, *, actor: str, before: int, evidence: Mapping[str, Any]) -> None:
    last = newest_move(metadata, alias.model, alias.alias)
    at_us = max(alias.since_us, last.at_us) if last else alias.since_us  # a replayed clock may stand still, a history never goes back
    entry = AliasMove(alias.model, alias.alias, last.move + 1 if last else 1, number, before, at_us, actor, alias.reason, dict(evidence))
    batch.create(entry)
    batch.link(node(entry), _rests_on(entry), at_us)
    action = "alias.move" if number else "alias.remove"
    body = {"before": before or None, "after": number or None, "move": entry.move, "reason": alias.reason}
    batch.audit(actor, action, f"{alias.model}@{alias.alias}", at_us, **body)


def _rests_on(move: AliasMove) -> list[str]:
    """Lineage nodes that a move came from: the version, and the approvals or the rollout in its evidence."""
    nodes = [f"model_version:{move.model}@{move.number}"] if move.number else []
    nodes += [str(approval) for approval in move.evidence.get("approvals", ())]
    return nodes + ([f"rollout:{move.evidence['rollout']}"] if "rollout" in move.evidence else [])


def _check_unserved(metadata: Metadata, model: str, what: str) -> None:
    served = [endpoint.name for endpoint in endpoints(metadata, model)]
    if served:
        raise Refused(f"model {model!r} cannot be {what}: endpoints {served} serve it", model=model)


def _check_untrained(metadata: Metadata, model: str) -> None:
    deployed = metadata.find(Deployed, {"pipeline": model}, limit=1)
    if deployed:
        raise Refused(f"model {model!r} cannot be renamed: the pipeline {model!r} registers its versions under this name", model=model)


def _check_unprotected(metadata: Metadata, model: str, aliases: Collection[Alias], what: str, *, may_release: bool) -> None:
    protected = [a.alias for a in aliases if a.alias in policy(metadata, model).protected]
    if protected and not may_release:
        raise Refused(
            f"model {model!r} cannot be {what}: its protected aliases {protected} are moved by somebody with the permission 'model.release'",
            model=model,
        )


def _serves(metadata: Metadata, endpoint: str, number: int) -> bool:
    newest = metadata.find(Release, {"endpoint": endpoint}, order="-revision", limit=1)
    return bool(newest) and any(route.number == number for route in newest[0].routes)


def _tags(before: Mapping[str, str], added: Mapping[str, str] | None, removed: Collection[str]) -> dict[str, str]:
    return {key: value for key, value in {**before, **(added or {})}.items() if key not in removed}


def _changes(before: RegisteredModel | ModelVersion, **wanted: Any) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if value is not None and value != getattr(before, name)}


def _audit_change(
    batch: Batch, actor: str, action: str, subject: str, now_us: Micros, before: RegisteredModel | ModelVersion, changes: Mapping[str, Any]
) -> None:
    old = {name: getattr(before, name) for name in changes}
    batch.audit(actor, action, subject, now_us, before=msgspec.to_builtins(old), after=msgspec.to_builtins(dict(changes)))
