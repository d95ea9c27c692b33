"""Verify the hash chain of the audit log, and list the newest events.

The chain of hashes finds an edited, removed, inserted or moved entry, but not a tail that was cut off, nor a log that was
rewritten from its beginning: both are whole chains. That takes a `Head` kept where the log's owner cannot reach it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from rota.errors import Corrupt, InvalidInput
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


def parse_heads(text: str) -> list[Head]:
    """The heads of a file in which each line begins with one, as `audit_head_file` gets them; empty lines are none."""
    found = [parse_head(line.split()[0]) for line in text.splitlines() if line.strip()]
    if not found:
        raise InvalidInput("the file of heads holds none; its lines are POSITION:HASH TIME")
    return found


def verify_audit(metadata: Metadata, *kept: Head) -> AuditCheck:
    """Recompute every hash: SHA-256 over the previous hash and the entry's canonical JSON without its own hash.

    Against heads kept elsewhere the log must also still reach each of them, with the same hash there. An entry that cannot be read
    at all breaks the chain like one that was changed.
    """
    expected = {head.position: head.hash for head in kept}
    if any(expected[head.position] != head.hash for head in kept):
        return AuditCheck(0, min(expected), "the kept heads contradict each other: one log was kept after the other")
    checked, previous = 0, ""
    while True:
        entries, reason = _readable(metadata, checked)
        for entry in entries:
            if fault := _fault(entry, checked + 1, previous):
                return AuditCheck(checked, checked + 1, fault)
            if expected.get(entry.position, entry.hash) != entry.hash:
                return AuditCheck(checked, entry.position, "it is another entry than the kept head: the log was written anew")
            checked, previous = entry.position, entry.hash
        if reason:
            return AuditCheck(checked, checked + 1, reason)
        if not entries:
            break
    last = max(expected, default=0)
    if checked < last:
        return AuditCheck(checked, checked + 1, f"the log ends at {checked}, the kept head is {last}: its tail was cut off")
    return AuditCheck(checked)


def _readable(metadata: Metadata, after: int) -> tuple[Sequence[AuditEntry], str]:
    """The next entries, up to one that cannot be read, and why it cannot."""
    try:
        return metadata.audit(after, limit=_PAGE), ""
    except Corrupt:
        pass  # one of them cannot be read; which one is found by reading them alone
    entries = list[AuditEntry]()
    while True:
        try:
            following = metadata.audit(after + len(entries), limit=1)
        except Corrupt as error:
            return entries, f"it cannot be read: {error}"
        if not following or len(entries) == _PAGE:
            return entries, ""
        entries += following


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
