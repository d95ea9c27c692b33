"""Aliases of a registered model: movable names such as "champion" of one version, with the history of every move.

Who may move an alias is decided in `rota.manage.governance.decisions`; here is how a move is stored, in one batch with its audit entry.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from rota.errors import InvalidInput
from rota.ports.metadata import Batch, Metadata
from rota.records.kinds import node
from rota.records.model import CHAMPION, Alias, AliasMove, ModelVersion
from rota.records.record import check_name as check_record_name
from rota.records.time import Micros

_READS_AS_VERSION = re.compile(r"[0-9]+|v[0-9]+|latest", re.IGNORECASE)


def aliased_version(metadata: Metadata, model: str, alias: str = CHAMPION) -> ModelVersion | None:
    """The version an alias points to, or None."""
    pointer = metadata.get(Alias, model, alias)
    return metadata.get(ModelVersion, model, pointer.number) if pointer else None


def move(batch: Batch, metadata: Metadata, alias: Alias, *, actor: str, evidence: Mapping[str, Any] | None = None) -> None:
    """Point an alias at a version, with an entry in its history and in the audit log. Of two moves from one state, one is a `Conflict`."""
    before = metadata.get(Alias, alias.model, alias.alias)
    batch.put(alias, replacing=before)
    _store_move(batch, metadata, alias, alias.number, actor=actor, before=before.number if before else 0, evidence=evidence or {})


def remove(
    batch: Batch, metadata: Metadata, alias: Alias, *, actor: str, now_us: Micros, reason: str, evidence: Mapping[str, Any] | None = None
) -> None:
    """Remove an alias; its history stays and ends with number 0."""
    batch.remove(alias)
    gone = msgspec.structs.replace(alias, since_us=now_us, reason=reason)
    _store_move(batch, metadata, gone, 0, actor=actor, before=alias.number, evidence=evidence or {})


def last_move(metadata: Metadata, model: str, alias: str) -> AliasMove | None:
    """The last entry of an alias's history."""
    newest = metadata.page(AliasMove, {"model": model, "alias": alias}, order="-move", limit=1).items
    return newest[0] if newest else None


def at(metadata: Metadata, model: str, alias: str, at_us: Micros) -> AliasMove | None:
    """The move that an alias rested on at a moment; None when it pointed nowhere then. Costs a look-up for each doubling of the history."""
    newest = last_move(metadata, model, alias)
    low, high = 0, newest.move if newest else 0
    while low < high:
        middle = (low + high + 1) // 2
        move = metadata.get(AliasMove, model, alias, middle)
        assert move is not None
        low, high = (middle, high) if move.at_us <= at_us else (low, middle - 1)
    found = metadata.get(AliasMove, model, alias, low) if low else None
    return found if found is not None and found.number else None


def check_name(alias: str) -> str:
    """The alias itself, when no reference can take it for a version's number."""
    check_record_name("alias", alias)
    if _READS_AS_VERSION.fullmatch(alias):
        raise InvalidInput(f'alias {alias!r} reads as a version; choose a word such as "champion" or "candidate"', alias=alias)
    return alias


def _store_move(batch: Batch, metadata: Metadata, alias: Alias, number: int, *, actor: str, before: int, evidence: Mapping[str, Any]) -> None:
    last = last_move(metadata, alias.model, alias.alias)
    at_us = max(alias.since_us, last.at_us) if last else alias.since_us  # a replayed clock may stand still, a history never goes back
    entry = AliasMove(alias.model, alias.alias, last.move + 1 if last else 1, number, before, at_us, actor, alias.reason, dict(evidence))
    batch.create(entry)
    batch.link(node(entry), _causes(entry), at_us)
    action = "alias.move" if number else "alias.remove"
    body = {"before": before or None, "after": number or None, "move": entry.move, "reason": alias.reason}
    batch.audit(actor, action, f"{alias.model}@{alias.alias}", at_us, **body)


def _causes(move: AliasMove) -> list[str]:
    """Lineage nodes that a move came from: the version, and the approvals or the rollout in its evidence."""
    nodes = [f"model_version:{move.model}@{move.number}"] if move.number else []
    nodes += [str(approval) for approval in move.evidence.get("approvals", ())]
    return nodes + ([f"rollout:{move.evidence['rollout']}"] if "rollout" in move.evidence else [])
