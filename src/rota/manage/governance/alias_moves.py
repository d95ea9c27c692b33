"""Move and remove the aliases of a model by hand: protected ones only for who may release, to a version that is ready.

Where an endpoint serves the model, its champion is what the last rollout promoted and does not move by hand.
"""

from collections.abc import Mapping
from typing import Any

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.governance import readiness
from rota.manage.models import model_aliases, model_versions, registered_models
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.model import CHAMPION, Alias, AliasMove, ModelVersion
from rota.records.record import check_spelling, folded
from rota.records.time import Micros


def move(
    repositories: Repositories,
    model: str,
    alias: str,
    number: int,
    *,
    actor: str,
    reason: str,
    may_release: bool,
    evidence: Mapping[str, Any] | None = None,
) -> Alias:
    """Point an alias at a version. A protected alias needs `may_release` and a version that is ready.

    Where an endpoint serves the model its champion is what the last rollout promoted, so a direct move is refused. Moving
    an alias to where it points is no change.
    """
    metadata = repositories.metadata
    model_aliases.check_name(alias)

    def attempt() -> Alias:
        version = model_versions.live(metadata, model, number)
        before = metadata.get(Alias, model, alias)
        if before is None:
            _check_spelling(metadata, model, alias)
        if before is not None and before.number == number:
            return before
        now_us = repositories.clock.now_us()
        found = {**(evidence or {}), **_gate_evidence(metadata, version, alias, reason, now_us=now_us, may_release=may_release)}
        moved = Alias(model, alias, number, now_us, reason)
        batch = Batch()
        batch.put(version, replacing=version)  # a version that is deleted or decided on meanwhile makes the commit a conflict
        model_aliases.move(batch, metadata, moved, actor=actor, evidence=found)
        metadata.commit(batch)
        return moved

    return transact(attempt)


def remove(repositories: Repositories, model: str, alias: str, *, actor: str, reason: str, may_release: bool) -> None:
    """Remove an alias; a protected one needs `may_release`, and the champion of an endpoint cannot be removed."""
    metadata = repositories.metadata

    def attempt() -> None:
        current = metadata.get(Alias, model, alias)
        if current is None:
            raise NotFound(f"model {model!r} has no alias {alias!r}", model=model, alias=alias)
        _check_by_hand(metadata, model, alias, reason, may_release=may_release)
        batch = Batch()
        model_aliases.remove(batch, metadata, current, actor=actor, now_us=repositories.clock.now_us(), reason=reason)
        metadata.commit(batch)

    transact(attempt)


def is_protected(metadata: Metadata, model: str, alias: str) -> bool:
    """Whether moving an alias takes the permission to release."""
    return registered_models.is_protected(metadata, model, alias)


def history(metadata: Metadata, model: str, alias: str = "") -> list[AliasMove]:
    """Every move of a model's aliases, or of one alias, oldest first."""
    where: dict[str, str | int] = {"model": model, "alias": alias} if alias else {"model": model}
    return sorted(metadata.find(AliasMove, where), key=lambda move: (move.at_us, move.alias, move.move))


def _check_spelling(metadata: Metadata, model: str, alias: str) -> None:
    """A new alias must not be taken for another one, nor for one that is protected and not there yet."""
    known = {each.alias for each in metadata.find(Alias, {"model": model})} | {CHAMPION, *registered_models.release_policy(metadata, model).protected}
    check_spelling("the alias", alias, known)


def _gate_evidence(metadata: Metadata, version: ModelVersion, alias: str, reason: str, *, now_us: Micros, may_release: bool) -> dict[str, Any]:
    """The evidence of a protected move; `Refused` when its gate is closed."""
    protected = _check_by_hand(metadata, version.model, alias, reason, may_release=may_release)
    if not protected:
        return {}
    found = readiness.check_ready(metadata, version, f"the protected alias {alias!r}", now_us=now_us)
    return {"approvals": [readiness.approval_node(a) for a in found.approvals], "reviewers": [a.reviewer for a in found.approvals]}


def _check_by_hand(metadata: Metadata, model: str, alias: str, reason: str, *, may_release: bool) -> bool:
    """Whether an alias is protected; `Refused` when it is not moved by hand here, or not by this caller."""
    served = [endpoint.name for endpoint in registered_models.endpoints(metadata, model)]
    if folded(alias) == CHAMPION and served:
        raise Refused(
            f"alias {CHAMPION!r} of {model!r} follows the rollouts of endpoints {served} and is not moved by hand: "
            f"approve a version and `rota deploy {model}@NUMBER`, or `rota rollback {served[0]} --reason ...`",
            model=model,
        )
    if not is_protected(metadata, model, alias):
        return False
    if not may_release:
        raise Refused(f"alias {alias!r} of {model!r} is protected: moving it needs the permission 'model.release'", model=model, alias=alias)
    if not reason.strip():
        raise InvalidInput(f"the move of the protected alias {alias!r} has no reason; say why, others will read it", model=model)
    return True
