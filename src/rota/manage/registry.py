"""The model registry: immutable numbered versions, movable aliases, approvals. Every change is one batch with its audit entry."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.ports.metadata import Batch, Metadata
from rota.records.model import CHAMPION, Alias, Approval, ModelVersion, ReleasePolicy
from rota.records.signal import Event
from rota.records.time import Micros

_NUMBER = re.compile(r"[0-9]{1,18}")


def next_number(metadata: Metadata, model: str) -> int:
    """The number that the next version of a model will have."""
    newest = metadata.find(ModelVersion, {"model": model}, order="-number", limit=1)
    return newest[0].number + 1 if newest else 1


def register(batch: Batch, version: ModelVersion) -> None:
    """Store a new version with its event and audit entry; `Conflict` at commit when the number is taken."""
    batch.create(version)
    batch.event(Event("version.registered", version.id, version.created_us, {"model": version.model, "number": version.number}))
    batch.audit("rota", "version.register", version.id, version.created_us, run=version.run, dataset=version.dataset)


def get(metadata: Metadata, model: str, number: int) -> ModelVersion:
    """A version, or `NotFound` naming those that exist."""
    version = metadata.get(ModelVersion, model, number)
    if version is None:
        known = [v.number for v in metadata.find(ModelVersion, {"model": model})]
        raise NotFound(f"model {model!r} has no version {number}; it has {known or 'none'}", model=model, number=number)
    return version


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


def aliased(metadata: Metadata, model: str, alias: str = CHAMPION) -> ModelVersion | None:
    """The version an alias points to, or None."""
    found = metadata.get(Alias, model, alias)
    return metadata.get(ModelVersion, model, found.number) if found else None


def move_alias(batch: Batch, metadata: Metadata, alias: Alias, *, actor: str) -> None:
    """Point an alias at a version; the audit entry keeps where it pointed before, and why it moved."""
    before = metadata.get(Alias, alias.model, alias.alias)
    batch.put(alias, replacing=before)
    batch.audit(
        actor,
        "alias.move",
        f"{alias.model}@{alias.alias}",
        alias.since_us,
        before=before.number if before else None,
        after=alias.number,
        reason=alias.reason,
    )


def policy(metadata: Metadata, model: str) -> ReleasePolicy:
    """The model's release policy; without one a person approves (safe by default)."""
    return metadata.get(ReleasePolicy, model) or ReleasePolicy(model, "semi-automatic")


def decide(
    version: ModelVersion,
    decision: Literal["approve", "reject", "request_changes"],
    *,
    reviewer: str,
    reason: str,
    now_us: Micros,
    evidence: Mapping[str, Any] | None = None,
) -> Batch:
    """The batch that records a governance decision; approving a rejected version, or twice, is refused."""
    if version.status != "registered" and decision != "request_changes":
        raise Refused(f"{version.id} is already {version.status}; a decision is made once, register a new version instead", version=version.id)
    batch = Batch()
    status = {"approve": "approved", "reject": "rejected", "request_changes": version.status}[decision]
    batch.put(msgspec.structs.replace(version, status=status), replacing=version)
    batch.create(Approval(version.model, version.number, decision, reviewer, reason, dict(evidence or {}), now_us))
    batch.audit(reviewer, f"version.{decision}", version.id, now_us, reason=reason, before=version.status, after=status)
    batch.link(f"approval:{version.model}@{version.number}@{now_us}", [f"model_version:{version.id}"], now_us)
    if decision == "approve":
        batch.event(Event("version.approved", version.id, now_us, {"model": version.model, "number": version.number, "reviewer": reviewer}))
    return batch
