"""One update of the online store from a stretch of a source's push journal: exactly once, whoever applies it and however often.

Three kinds of keys, in this order in the store and in an update (their first bytes sort that way):
- how far each journal segment of the source is applied. An update that does not start where the last one ended raises
  `Moved`, and nothing of it is written; so a retry, a second process or a restart cannot apply a stretch twice.
- the ids lately received, hashed over buckets, each with the row as it was. A row that comes again changes nothing; a
  corrected row first takes back what the earlier one had added to the window tiles. A bucket forgets ids that no window reaches.
- the rows and tiles of the views.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rota.errors import RotaError
from rota.manage.features import expressions
from rota.manage.features.online import StoredView, merge
from rota.manage.features.windows import TILES, WindowView
from rota.records.data import Source
from rota.records.time import Micros

_APPLIED, _IDS = b"\x00a", b"\x00i"
_STEP = struct.Struct("<cI")
_STEP_TAG = b"?"
_BUCKETS = 4_096
_pack = msgspec.msgpack.encode


class Moved(RotaError):
    """Somebody else has applied a part of this stretch; read again where the source stands. Stays inside this package."""


class Remembered(msgspec.Struct, array_like=True):
    """A received row by its id: when it was created, when it happened, and what the windows took from it."""

    created_us: Micros
    event_us: Micros
    row: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Received:
    """A checked row and when Rota received it."""

    created_us: Micros
    row: Mapping[str, Any]


Bucket = dict[bytes, Remembered]
_read_bucket = msgspec.msgpack.Decoder(dict[bytes, Remembered]).decode
_read_applied = msgspec.msgpack.Decoder(dict[str, int]).decode
_read_row = msgspec.msgpack.Decoder(dict[str, Any]).decode


def applied_key(source: str) -> bytes:
    return _APPLIED + source.encode()


def applied_value(ends: Mapping[str, int]) -> bytes:
    return _pack(dict(sorted(ends.items())))


def applied(data: bytes | None) -> dict[str, int]:
    """How far each segment of a source is applied."""
    return _read_applied(data) if data else {}


def without_segment(old: bytes | None, segment: bytes) -> bytes:
    """The merge that takes a dropped segment off the list of how far a source is applied."""
    return applied_value({name: end for name, end in applied(old).items() if name != segment.decode()})


class Ids:
    """The remembered ids of a source with windowed views; without an id field or windows there is nothing to remember."""

    def __init__(self, source: Source, views: Sequence[StoredView]) -> None:
        self.windowed = [view for view in views if isinstance(view, WindowView)]
        self.needed = source.id_field is not None and bool(self.windowed)
        self.source = source
        self._used = sorted(
            {source.timestamp_field}
            | {key for view in self.windowed for key in view.join_keys}
            | {name for view in self.windowed for sql in view.sqls for name in expressions.columns_of(sql, view.view.source.fields)}
        )
        self.horizon_us = max((view.keep * view.hop_us for view in self.windowed), default=0)

    def key(self, row: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The bucket's key and the id's place in it."""
        data = hashlib.blake2b(repr(row[self.source.id_field or ""]).encode(), digest_size=16).digest()
        bucket = int.from_bytes(data[:2], "big") % _BUCKETS
        return _IDS + hashlib.blake2b(self.source.name.encode(), digest_size=8).digest() + bucket.to_bytes(2, "big"), data

    def remembered(self, received: Received) -> Remembered:
        row = {name: received.row.get(name) for name in self._used}
        return Remembered(received.created_us, received.row[self.source.timestamp_field], msgspec.Raw(_pack(row)))

    def encode(self, bucket: Bucket) -> bytes:
        """The bucket without the ids that no window can reach any more."""
        oldest = max(entry.event_us for entry in bucket.values()) - self.horizon_us
        return _pack({place: entry for place, entry in bucket.items() if entry.event_us >= oldest})


class Delivery:
    """The rows of one stretch of the journal as one `Online.update`: give it `pairs()` and `merge`."""

    def __init__(self, ids: Ids, views: Sequence[StoredView], received: Sequence[Received]) -> None:
        self._source = ids.source
        self._views = views
        self._received = received
        self._ids = ids
        self._new: dict[int, bool] = {}  # row -> it counts (not a repetition, not older than what is known)
        self._replaced: dict[int, Mapping[str, Any]] = {}  # row -> the earlier row it corrects
        self._steps: list[tuple[WindowView | None, bytes, int, float]] = []

    def id_keys(self) -> list[bytes]:
        """The buckets whose present values `pairs` wants to know."""
        return sorted({self._ids.key(received.row)[0] for received in self._received}) if self._ids.needed else []

    def pairs(self, segment: str, start: int, end: int, buckets: Mapping[bytes, bytes | None]) -> list[tuple[bytes, bytes]]:
        """Everything the update writes, in key order."""
        pairs = [(applied_key(self._source.name), _pack([segment, start, end]))]
        if self._ids.needed:
            earlier = self._earlier(buckets)
            pairs += [(self._ids.key(received.row)[0], self._step(None, b"", i, 1.0)) for i, received in enumerate(self._received)]
        for view in self._views:
            for i, received in enumerate(self._received):
                if self._ids.needed and isinstance(view, WindowView):
                    pairs += self._window_steps(view, i, earlier[i])
                elif (key := view.key(received.row)) is not None:
                    pairs.append((key, view.encode(received.row) if isinstance(view, WindowView) else view.encode(received.row, received.created_us)))
        return sorted(pairs, key=lambda pair: pair[0])

    def merge(self, old: bytes | None, new: bytes) -> bytes:
        """What `Online.update` calls inside its transaction, in key order."""
        if new[:1] == _STEP_TAG:
            view, key, index, sign = self._steps[_STEP.unpack(new)[1]]
            return self._remember(index, old) if view is None else self._count(view, key, index, sign, old)
        if new[:1] in (b"R", TILES):
            return merge(old, new)
        return self._advance(old, new)

    def _advance(self, old: bytes | None, new: bytes) -> bytes:
        segment, start, end = msgspec.msgpack.decode(new)
        ends = applied(old)
        if ends.get(segment, 0) != start:
            raise Moved(f"segment {segment} of source {self._source.name!r} is applied to {ends.get(segment, 0)}, not to {start}")
        return applied_value(ends | {segment: end})

    def _earlier(self, buckets: Mapping[bytes, bytes | None]) -> list[list[Mapping[str, Any]]]:
        """For each row the earlier rows with its id, before the update and within it: whose tiles may have to give."""
        arriving = {self._ids.key(received.row)[1] for received in self._received}
        seen: dict[bytes, list[Mapping[str, Any]]] = {}
        for data in filter(None, buckets.values()):
            seen |= {place: [_read_row(entry.row)] for place, entry in _read_bucket(data).items() if place in arriving}
        earlier = []
        for received in self._received:
            known = seen.setdefault(self._ids.key(received.row)[1], [])
            earlier.append(list(known))
            known.append(received.row)
        return earlier

    def _window_steps(self, view: WindowView, index: int, earlier: Sequence[Mapping[str, Any]]) -> list[tuple[bytes, bytes]]:
        """Take the earlier row away from wherever it may be, then count the new one."""
        taken = {key for key in map(view.key, earlier) if key is not None}
        steps = [(key, self._step(view, key, index, -1.0)) for key in sorted(taken)]
        key = view.key(self._received[index].row)
        return steps if key is None else [*steps, (key, self._step(view, key, index, 1.0))]

    def _step(self, view: WindowView | None, key: bytes, index: int, sign: float) -> bytes:
        self._steps.append((view, key, index, sign))
        return _STEP.pack(_STEP_TAG, len(self._steps) - 1)

    def _remember(self, index: int, old: bytes | None) -> bytes:
        bucket: Bucket = _read_bucket(old) if old else {}
        entry = self._ids.remembered(self._received[index])
        _, place = self._ids.key(self._received[index].row)
        known = bucket.get(place)
        self._replaced.pop(index, None)
        self._new[index] = known is None or (known.created_us <= entry.created_us and bytes(known.row) != bytes(entry.row))
        if known is not None and self._new[index]:
            self._replaced[index] = _read_row(known.row)
        if known is None or known.created_us <= entry.created_us:
            bucket[place] = entry
        return self._ids.encode(bucket)

    def _count(self, view: WindowView, key: bytes, index: int, sign: float, old: bytes | None) -> bytes:
        kept = old or b""
        if not self._new[index]:
            return kept
        if sign > 0:
            return merge(kept, view.encode(self._received[index].row))
        replaced = self._replaced.get(index)
        if replaced is None or not kept or view.key(replaced) != key:
            return kept
        return merge(kept, view.encode(replaced, -1.0))
