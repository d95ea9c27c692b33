"""Search the audit log from its end: the newest entries by actor, action or subject."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rota.manage.lineage import audit_chain
from rota.ports.metadata import Metadata
from rota.records.signal import AuditEntry
from rota.records.time import Micros

_PAGE = 1_000
MOST_READ = 20_000
"""Entries that are looked at before a search gives up: the log has no index but its order."""


@dataclass(frozen=True, slots=True)
class Trail:
    """Entries, newest first; `cut_at` is the position before which nothing was looked at, 0 when all was."""

    entries: tuple[AuditEntry, ...]
    cut_at: int = 0


def newest(metadata: Metadata, wanted: Mapping[str, str], *, limit: int = 100, before: int = 0) -> Trail:
    """The newest entries (below position `before`, if given) whose actor is, and whose action and subject begin with, what is wanted."""
    found: list[AuditEntry] = []
    for looked, entry in enumerate(_backwards(metadata, before), 1):
        if _meets(entry, wanted):
            found.append(entry)
        if entry.position > 1 and (len(found) == limit or looked == MOST_READ):
            return Trail(tuple(found), entry.position)
    return Trail(tuple(found))


def of_subject(metadata: Metadata, subject: str, *, since_us: Micros, limit: int = 100) -> Trail:
    """What was done to a thing since it came to be."""
    found: list[AuditEntry] = []
    for looked, entry in enumerate(_backwards(metadata, 0), 1):
        if entry.subject == subject:
            found.append(entry)
        if entry.at_us < since_us:
            break
        if entry.position > 1 and (len(found) == limit or looked == MOST_READ):
            return Trail(tuple(found), entry.position)
    return Trail(tuple(found))


def _meets(entry: AuditEntry, wanted: Mapping[str, str]) -> bool:
    if wanted.get("actor") and entry.actor != wanted["actor"]:
        return False
    return all(getattr(entry, name).startswith(wanted.get(name, "")) for name in ("action", "subject"))


def _backwards(metadata: Metadata, before: int) -> Iterator[AuditEntry]:
    """Entries below a position, or all, newest first."""
    end = audit_chain.head(metadata).position
    last = min(before - 1, end) if before else end
    while last > 0:
        first = max(0, last - _PAGE)
        yield from reversed(metadata.audit(first, limit=last - first))
        last = first
