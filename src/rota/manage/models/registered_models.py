"""Registered models: create, describe, rename and delete the name of numbered versions; its release policy and endpoints.

A deleted or renamed model keeps its record and those of its versions, so what was predicted, decided or audited under the
old name always leads to what it was. Every change is one batch with its audit entry.
"""

from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec

from rota.errors import Conflict, NotFound, Refused
from rota.manage import spellings
from rota.manage.models import model_aliases
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.kinds import BY_RECORD
from rota.records.model import (
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
from rota.records.record import check_name, check_person, folded
from rota.records.release import Endpoint
from rota.records.run import Deployed, PipelineRelease
from rota.records.time import Micros

D = TypeVar("D", RegisteredModel, ModelVersion)

ANY = "*"
"""The model name of the policy that holds where a model has none of its own."""
OF_NAME = (ReleasePolicy, PickleAllowance)
"""What people decided for a model's name, also in advance."""
OF_VERSION = (Approval, ReviewRequest, RiskAnswer, ModelCard)
"""What people said of versions of a model."""


def create(metadata: Metadata, model: RegisteredModel, *, actor: str, now_us: Micros) -> RegisteredModel:
    """Register a name; `Conflict` when it is taken. A deleted model's name may be taken again: its versions go on being counted."""
    check_name("model", model.name)
    check_spelling(metadata, model.name)
    spellings.check(metadata, spellings.PROJECTS, model.project)
    before = metadata.get(RegisteredModel, model.name)
    known = _known(metadata, model.name)
    if known is not None and known.deleted_us is None:
        raise Conflict(f"there is a model {model.name!r} already; register versions of it, or choose another name", model=model.name)
    created = msgspec.structs.replace(
        model, owner=check_person("an owner", model.owner or actor), created_us=now_us, updated_us=now_us, deleted_us=None
    )
    batch = Batch()
    batch.put(created, replacing=before)
    batch.audit(actor, "model.create", created.name, now_us, owner=created.owner, project=created.project, tags=dict(created.tags))
    metadata.commit(batch)
    return created


def get(metadata: Metadata, name: str) -> RegisteredModel:
    """A registered model that was not deleted, or `NotFound`."""
    model = _known(metadata, name)
    if model is None or model.deleted_us is not None:
        known = [m.name for m in metadata.page(RegisteredModel, limit=20).items if m.deleted_us is None]
        raise NotFound(f"there is no model {name!r}; there are {known or 'none'}", model=name)
    return model


def update(  # noqa: PLR0913 - what may be changed, each by its name
    metadata: Metadata,
    name: str,
    *,
    actor: str,
    now_us: Micros,
    description: str | None = None,
    owner: str | None = None,
    tags: Mapping[str, str] | None = None,
    removed_tags: Collection[str] = (),
    moved: bool = False,
) -> RegisteredModel:
    """Change what describes a model; what is not given stays. `tags` are added to those there are.

    Its moment moves with description and owner, as in MLflow not with tags; `moved` moves it even where nothing differs.
    """

    def attempt() -> RegisteredModel:
        before = get(metadata, name)
        after = described(before, now_us, description=description, owner=owner, tags=tags, removed_tags=removed_tags, moved=moved)
        if after != before:
            batch = Batch()
            batch.put(after, replacing=metadata.get(RegisteredModel, name))
            audit_description(batch, actor, "model.change", name, before, after, now_us)
            metadata.commit(batch)
        return after

    return transact(attempt)


def touch(metadata: Metadata, name: str, *, now_us: Micros) -> None:
    """Move a model's moment: one of its versions came, went, or changed its stage."""

    def attempt() -> None:
        batch = Batch()
        put_touched(batch, metadata, name, now_us)
        metadata.commit(batch)

    transact(attempt)


def put_touched(batch: Batch, metadata: Metadata, name: str, now_us: Micros) -> None:
    """`touch` as a part of a batch."""
    model = metadata.get(RegisteredModel, name)
    if model is not None and model.updated_us < now_us:
        batch.put(msgspec.structs.replace(model, updated_us=now_us), replacing=model)


def delete(metadata: Metadata, name: str, *, actor: str, now_us: Micros, reason: str = "", may_release: bool = False) -> None:
    """Delete a model with its versions and aliases; `Refused` while an endpoint serves it.

    One with a protected alias needs `may_release`, as moving that alias does.
    """

    def attempt() -> None:
        model = get(metadata, name)
        _check_unserved(metadata, name, "deleted")
        aliases = metadata.find(Alias, {"model": name})
        _check_unprotected(metadata, name, aliases, "deleted", may_release=may_release)
        batch = Batch()
        for alias in aliases:
            model_aliases.remove(batch, metadata, alias, actor=actor, now_us=now_us, reason=reason or "the model was deleted")
        for version in metadata.find(ModelVersion, {"model": name}):
            if version.status == "deleted":
                continue
            batch.put(msgspec.structs.replace(version, status="deleted", updated_us=now_us), replacing=version)
        batch.put(msgspec.structs.replace(model, deleted_us=now_us, updated_us=now_us), replacing=metadata.get(RegisteredModel, name))
        batch.audit(actor, "model.delete", name, now_us, reason=reason)
        metadata.commit(batch)

    transact(attempt)


def rename(
    metadata: Metadata, name: str, new_name: str, *, actor: str, now_us: Micros, reason: str = "", may_release: bool = False
) -> RegisteredModel:
    """Give a model another name: versions keep their numbers, statuses, decisions, cards and aliases under it.

    Under the old name they stay as deleted versions to which lineage, audit and the prediction log still lead. A release policy and a
    pickle allowance of its own go with it, the allowance away from the old name, which only somebody may do who may set them
    (`rota.manage.access.governed_records`). `Refused` while an endpoint serves the model or a pipeline registers its versions; a
    protected alias needs `may_release`. `Conflict` when the new name is, or ever was, a model's, or something was decided for it already.
    """
    check_name("model", new_name)
    check_spelling(metadata, new_name, besides=name)

    def attempt() -> RegisteredModel:
        model = get(metadata, name)
        _check_unserved(metadata, name, "renamed")
        _check_untrained(metadata, name)
        aliases = metadata.find(Alias, {"model": name})
        _check_unprotected(metadata, name, aliases, "renamed", may_release=may_release)
        if _known(metadata, new_name) is not None:
            raise Conflict(f"model {name!r} cannot be renamed: {new_name!r} is, or was, another model", model=new_name)
        _check_nothing_decided(metadata, name, new_name)
        batch = Batch()
        renamed = msgspec.structs.replace(model, name=new_name, updated_us=now_us)
        batch.create(renamed)
        batch.put(msgspec.structs.replace(model, deleted_us=now_us, updated_us=now_us), replacing=metadata.get(RegisteredModel, name))
        for version in metadata.find(ModelVersion, {"model": name}, order="number"):
            moved = msgspec.structs.replace(version, model=new_name, updated_us=now_us)
            batch.create(moved)
            batch.put(msgspec.structs.replace(version, status="deleted", updated_us=now_us), replacing=version)
            batch.link(f"model_version:{moved.id}", [f"model_version:{version.id}"], now_us)
        for kind in OF_VERSION:
            for said in metadata.find(kind, {"model": name}):
                batch.create(msgspec.structs.replace(said, model=new_name))
        _move_policy(batch, metadata, name, new_name, now_us=now_us)
        evidence = {"renamed_from": name}
        for alias in aliases:
            model_aliases.remove(
                batch, metadata, alias, actor=actor, now_us=now_us, reason=f"renamed to {new_name}", evidence={"renamed_to": new_name}
            )
            again = msgspec.structs.replace(alias, model=new_name, since_us=now_us, reason=f"renamed from {name}")
            model_aliases.move(batch, metadata, again, actor=actor, evidence=evidence)
        batch.audit(actor, "model.rename", name, now_us, to=new_name, reason=reason)
        metadata.commit(batch)
        return renamed

    return transact(attempt)


def check_spelling(metadata: Metadata, name: str, *, besides: str = "") -> None:
    """Raise `Conflict` when a model, or what people decided for one in advance, has this name in another spelling."""
    spellings.check(metadata, spellings.MODELS, name, besides=[besides])


def release_policy(metadata: Metadata, model: str) -> ReleasePolicy:
    """The model's release policy, else that of "*"; without either a person approves (safe by default)."""
    own = metadata.get(ReleasePolicy, model)
    general = own or metadata.get(ReleasePolicy, ANY) or ReleasePolicy(ANY, "semi-automatic")
    return msgspec.structs.replace(general, model=model)


def is_protected(metadata: Metadata, model: str, alias: str) -> bool:
    """Whether moving an alias takes the permission to release; "Champion" is as protected as "champion"."""
    return folded(alias) in {folded(protected) for protected in release_policy(metadata, model).protected}


def endpoints(metadata: Metadata, model: str) -> list[Endpoint]:
    """The endpoints that serve a model."""
    return metadata.find(Endpoint, {"model": model})


def project_of(metadata: Metadata, version: ModelVersion) -> str:
    """A trained version's model belongs to the project whose release trained it."""
    release = metadata.get(PipelineRelease, version.release) if version.release else None
    return release.project if release else "default"


def described(
    before: D,
    now_us: Micros,
    *,
    description: str | None,
    owner: str | None,
    tags: Mapping[str, str] | None,
    removed_tags: Collection[str],
    moved: bool = False,
) -> D:
    """A model or version with another description, owner or tags; the same value when nothing differs. None leaves a field as it is."""
    merged = {key: value for key, value in {**before.tags, **(tags or {})}.items() if key not in removed_tags}
    wanted = {"description": description, "owner": None if owner is None else check_person("an owner", owner)}
    changes: dict[str, object] = {field: value for field, value in wanted.items() if value is not None and value != getattr(before, field)}
    if changes or moved:
        changes["updated_us"] = max(now_us, before.updated_us)
    return msgspec.structs.replace(before, tags=merged, **changes)


def audit_description(batch: Batch, actor: str, action: str, subject: str, before: D, after: D, now_us: Micros) -> None:
    """Write the changed fields of a model or version into the audit log, as they were and as they are; nothing when none did."""
    changed = [field for field in ("description", "owner", "tags") if getattr(before, field) != getattr(after, field)]
    if not changed:
        return
    old, new = ({field: getattr(record, field) for field in changed} for record in (before, after))
    batch.audit(actor, action, subject, now_us, before=msgspec.to_builtins(old), after=msgspec.to_builtins(new))


def _known(metadata: Metadata, name: str) -> RegisteredModel | None:
    """The record of a name. Versions registered by an older release have none: their model is the one they imply."""
    found = metadata.get(RegisteredModel, name)
    if found is None and (first := metadata.page(ModelVersion, {"model": name}, order="number", limit=1).items):
        return RegisteredModel(name, project_of(metadata, first[0]), created_us=first[0].created_us, updated_us=first[0].created_us)
    return found


def _check_nothing_decided(metadata: Metadata, name: str, new_name: str) -> None:
    """What somebody decided for a name in advance is not replaced by what another model brings along."""
    for kind in (*OF_NAME, *OF_VERSION, Alias, AliasMove):
        if metadata.page(kind, {"model": new_name}, limit=1).items:
            what = BY_RECORD[kind].name.replace("_", " ")
            raise Conflict(f"model {name!r} cannot be renamed: there is a {what} of {new_name!r} already; choose another name", model=new_name)


def _move_policy(batch: Batch, metadata: Metadata, name: str, new_name: str, *, now_us: Micros) -> None:
    """The policy holds for both names from now on; pickle is allowed under one name as before, the new one."""
    policy, allowance = metadata.get(ReleasePolicy, name), metadata.get(PickleAllowance, name)
    if policy is not None:
        batch.create(msgspec.structs.replace(policy, model=new_name))
    if allowance is not None and allowance.withdrawn_us is None:
        batch.create(msgspec.structs.replace(allowance, model=new_name))
        batch.put(msgspec.structs.replace(allowance, withdrawn_us=now_us), replacing=allowance)


def _check_unserved(metadata: Metadata, model: str, what: str) -> None:
    served = [endpoint.name for endpoint in endpoints(metadata, model)]
    if served:
        raise Refused(f"model {model!r} cannot be {what}: endpoints {served} serve it", model=model)


def _check_untrained(metadata: Metadata, model: str) -> None:
    deployed = metadata.page(Deployed, {"pipeline": model}, limit=1).items
    if deployed:
        raise Refused(f"model {model!r} cannot be renamed: the pipeline {model!r} registers its versions under this name", model=model)


def _check_unprotected(metadata: Metadata, model: str, aliases: Collection[Alias], what: str, *, may_release: bool) -> None:
    protected = [a.alias for a in aliases if is_protected(metadata, model, a.alias)]
    if protected and not may_release:
        raise Refused(
            f"model {model!r} cannot be {what}: its protected aliases {protected} are moved by somebody with the permission 'model.release'",
            model=model,
        )
