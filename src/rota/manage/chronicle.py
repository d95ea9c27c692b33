"""The chronicle: the newest events, and the proof that the audit log is the one that was written."""

from dataclasses import dataclass

import msgspec

from rota.ports.metadata import Metadata
from rota.records.record import digest, encode
from rota.records.signal import AuditEntry, Event

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """How many entries are sound, and at which position (and why) the chain breaks; 0 when it is whole."""

    entries: int
    broken_at: int = 0
    reason: str = ""


def newest_events(metadata: Metadata, *, limit: int = 50) -> list[Event]:
    """The last events, newest first; costs some forty short queries, whatever the length of the log."""
    last, reach = _last_position(metadata), limit
    while True:
        found = metadata.events(max(0, last - reach), limit=reach)
        if len(found) >= limit or reach >= last:
            return found[::-1][:limit]
        reach *= 2  # positions may have gaps


def verify_audit(metadata: Metadata) -> AuditCheck:
    """Recompute every hash: SHA-256 over the previous hash and the entry's canonical JSON without its own hash."""
    checked, previous = 0, ""
    while entries := metadata.audit(checked, limit=_PAGE):
        for entry in entries:
            if reason := _fault(entry, checked + 1, previous):
                return AuditCheck(checked, checked + 1, reason)
            checked, previous = entry.position, entry.hash
    return AuditCheck(checked)


def _fault(entry: AuditEntry, expected: int, previous: str) -> str:
    if entry.position != expected:
        return f"an entry is missing: {entry.position} follows {expected - 1}"
    if entry.previous != previous:
        return "it does not follow from the entry before it"
    text = encode(msgspec.structs.replace(entry, hash=""))
    return "" if digest(previous.encode() + text) == entry.hash else "its content is not what was written"


def _last_position(metadata: Metadata) -> int:
    """The position of the newest event, found by doubling and halving; 0 without events."""
    low, high = 0, 1
    while metadata.events(high, limit=1):
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if metadata.events(middle, limit=1):
            low = middle + 1
        else:
            high = middle
    return high if metadata.events(high - 1, limit=1) else 0
