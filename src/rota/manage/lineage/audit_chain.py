"""Verify the hash chain of the audit log, and list the newest events.

The chain of hashes finds an edited, removed, inserted or moved entry, but not a tail that was cut off, nor a log that was
rewritten from its beginning: both are whole chains. That takes a `Head` kept where the log's owner cannot reach it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from rota.errors import InvalidInput
from rota.ports.metadata import Metadata
from rota.records.record import digest, encode
from rota.records.signal import AuditEntry, Event

_PAGE = 1_000
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64}|)")


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """How many entries are sound, and at which position (and why) the chain breaks; 0 when it is whole."""

    entries: int
    broken_at: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the audit log ended at a moment; its text "POSITION:HASH" is what to keep elsewhere."""

    position: int
    hash: str

    def __str__(self) -> str:
        return f"{self.position}:{self.hash}"


def parse_head(text: str) -> Head:
    """The head that was printed as "POSITION:HASH"."""
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"head {text[:100]!r} is not POSITION:HASH as `rota audit head` prints it", head=text[:100])
    return Head(int(match[1]), match[2])


def head(metadata: Metadata) -> Head:
    """The end of the audit log; position 0 for an empty one. Costs some forty short queries."""
    position = _last(lambda after: bool(metadata.audit(after, limit=1)))
    entries = metadata.audit(position - 1, limit=1) if position else ()
    return Head(position, entries[0].hash) if entries else Head(0, "")


def newest_events(metadata: Metadata, *, limit: int = 50) -> list[Event]:
    """The last events, newest first; costs some forty short queries, whatever the length of the log."""
    last, reach = _last(lambda after: bool(metadata.events(after, limit=1))), limit
    while True:
        found = metadata.events(max(0, last - reach), limit=reach)
        if len(found) >= limit or reach >= last:
            return found[::-1][:limit]
        reach *= 2  # positions may have gaps


def verify_audit(metadata: Metadata, kept: Head | None = None) -> AuditCheck:
    """Recompute every hash: SHA-256 over the previous hash and the entry's canonical JSON without its own hash.

    Against a head kept elsewhere the log must also still reach it, with the same hash there.
    """
    checked, previous = 0, ""
    while entries := metadata.audit(checked, limit=_PAGE):
        for entry in entries:
            if reason := _fault(entry, checked + 1, previous):
                return AuditCheck(checked, checked + 1, reason)
            if kept is not None and entry.position == kept.position and entry.hash != kept.hash:
                return AuditCheck(checked, entry.position, "it is another entry than the kept head: the log was written anew")
            checked, previous = entry.position, entry.hash
    if kept is not None and checked < kept.position:
        return AuditCheck(checked, checked + 1, f"the log ends at {checked}, the kept head is {kept.position}: its tail was cut off")
    return AuditCheck(checked)


def _fault(entry: AuditEntry, expected: int, previous: str) -> str:
    if entry.position != expected:
        return f"an entry is missing: {entry.position} follows {expected - 1}"
    if entry.previous != previous:
        return "it does not follow from the entry before it"
    text = encode(msgspec.structs.replace(entry, hash=""))
    return "" if digest(previous.encode() + text) == entry.hash else "its content is not what was written"


def _last(more_after: Callable[[int], bool]) -> int:
    """The largest position of a log, found by doubling and halving; 0 when it is empty."""
    low, high = 0, 1
    while more_after(high):
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if more_after(middle):
            low = middle + 1
        else:
            high = middle
    return high if more_after(high - 1) else 0
