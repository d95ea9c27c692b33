"""One update of the online store from a stretch of a source's push journal: exactly once, whoever applies it and however often.

Three kinds of keys, in this order in the store and in an update (their first bytes sort that way):
- how far each journal segment of the source is applied, and which definitions the online rows were made for. An update that does
  not start where the last one ended, or that knows older definitions, raises `Moved`, and nothing of it is written; so a
  retry, a second process or a restart cannot apply a stretch twice, and none of its rows is missing in a view that is new.
- the ids lately received, hashed over buckets, each with the row as it was. A row that comes again changes nothing but the time
  it was created; a corrected row first takes back what the earlier one had added to the window tiles. A bucket forgets ids
  that no window reaches.
- the rows and tiles of the views.

A store writes each key once: what the rows of a stretch do to one key is worked out in its one merge. Merges may be repeated
from the first on (a store may have to begin again), so each of them says anew what those behind it need.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import msgspec
import polars as pl

from rota.errors import RotaError
from rota.manage.features.expressions import compiler
from rota.manage.features.online.reader import StoredView
from rota.manage.features.online.row_codec import ROW, RowView, entity_names, newest
from rota.manage.features.online.row_codec_batch import FEWEST, RowBatches
from rota.manage.features.online.tiles import Part
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows.coercion import frame
from rota.manage.features.rows.source_table import CREATED
from rota.records.data import Source
from rota.records.time import Micros

_APPLIED, _IDS = b"\x00a", b"\x00j"
_STEP = b"?"
_STAMP = ""
_pack = msgspec.msgpack.Encoder().encode


class Moved(RotaError):
    """Somebody else has applied a part of this stretch; read again where the source stands. Stays inside this package."""


class Remembered(msgspec.Struct, array_like=True):
    """A received row by its id: when it was created, when it happened, and what the windows took from it."""

    created_us: Micros
    event_us: Micros
    row: msgspec.Raw


class Received(NamedTuple):
    """A checked row and when Rota received it."""

    created_us: Micros
    row: Mapping[str, Any]


def columns(source: Source, received: Sequence[Received]) -> pl.DataFrame:
    """Received rows as the source's table holds them; a field that the source got later is null."""
    made = frame([row for _, row in received], source.fields)
    return made.with_columns(pl.Series(CREATED, [created_us for created_us, _ in received], dtype=pl.Int64))


class Change(NamedTuple):
    """What a row does to the windows: an earlier row of its id that it replaces, and whether it says anything new."""

    earlier: Received | None
    new: bool


Bucket = dict[bytes, Remembered]
Pairs = list[tuple[bytes, bytes]]
_read_bucket = msgspec.msgpack.Decoder(dict[bytes, Remembered]).decode
_read_applied = msgspec.msgpack.Decoder(dict[str, int]).decode
_read_row = msgspec.msgpack.Decoder(dict[str, Any]).decode


def applied_key(source: str) -> bytes:
    return _APPLIED + source.encode()


def applied_value(ends: Mapping[str, int], stamp: int = 0) -> bytes:
    return _pack(dict(sorted(ends.items())) | ({_STAMP: stamp} if stamp else {}))


def applied(data: bytes | None) -> dict[str, int]:
    """How far each segment of a source is applied."""
    return {segment: end for segment, end in _read_applied(data).items() if segment != _STAMP} if data else {}


def applied_stamp(data: bytes | None) -> int:
    """Which state of the catalog the online rows of a source were last made for (see `registry.catalog`)."""
    return _read_applied(data).get(_STAMP, 0) if data else 0


def without_segment(old: bytes | None, segment: bytes) -> bytes:
    """The merge that takes a dropped segment off the list of how far a source is applied."""
    return applied_value({name: end for name, end in applied(old).items() if name != segment.decode()}, applied_stamp(old))


def with_stamp(old: bytes | None, stamp: bytes) -> bytes:
    """The merge that raises the stamp."""
    return applied_value(applied(old), max(applied_stamp(old), int.from_bytes(stamp, "big")))


class Ids:
    """The remembered ids of a source with windowed views; without an id field or windows there is nothing to remember."""

    def __init__(self, source: Source, views: Sequence[StoredView]) -> None:
        self.windowed = [view for view in views if isinstance(view, WindowView)]
        self.needed = source.id_field is not None and bool(self.windowed)
        self.source = source
        self._id = source.id_field or ""
        self._start = _IDS + hashlib.blake2b(source.name.encode(), digest_size=8).digest()
        self._used = sorted(
            {source.timestamp_field}
            | {key for view in self.windowed for key in view.join_keys}
            | {name for view in self.windowed for name in compiler.columns_of_all(view.expressions, view.view.source.fields)}
        )
        self.columns = list(dict.fromkeys([*self._used, *filter(None, [source.id_field]), CREATED]))
        """What of the source's rows the windows and the remembered ids are made of."""
        self.batches = {view.prefix: RowBatches(view) for view in views if isinstance(view, RowView)}
        self.horizon_us = max((view.keep * view.hop_us for view in self.windowed), default=0)

    def key(self, row: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The bucket's key and the id's place in it."""
        place = hashlib.blake2b(repr(row[self._id]).encode(), digest_size=16).digest()
        return self._start + place[:2], place

    def remembered(self, received: Received) -> Remembered:
        row = received.row
        return Remembered(received.created_us, row[self.source.timestamp_field], msgspec.Raw(_pack({name: row.get(name) for name in self._used})))

    def encode(self, bucket: Bucket) -> bytes:
        """The bucket without the ids that no window can reach any more."""
        oldest = max([entry.event_us for entry in bucket.values()]) - self.horizon_us
        return _pack({place: entry for place, entry in bucket.items() if entry.event_us >= oldest})


class Delivery:
    """The rows of one stretch of the journal as one `Online.update`: give it `pairs()` and `merge`.

    `stamp` is the state of the catalog that `views` were read at.
    """

    def __init__(self, ids: Ids, views: Sequence[StoredView], received: Sequence[Received], stamp: int = 0) -> None:
        self._source = ids.source
        self._views = views
        self._received = received
        self._ids = ids
        self._stamp = stamp
        self._places = [ids.key(each.row) for each in received] if ids.needed else []
        self._seen: dict[bytes, Remembered] = {}  # place -> what was remembered when the update was prepared
        self._changes: list[Change] = [Change(None, new=True)] * len(received)
        self._steps: list[Callable[[bytes | None], bytes]] = []

    def id_keys(self) -> list[bytes]:
        """The buckets whose present values `pairs` wants to know."""
        return sorted({bucket for bucket, _ in self._places})

    def pairs(self, segment: str, start: int, end: int, buckets: Mapping[bytes, bytes | None]) -> Pairs:
        """Everything the update writes, in key order."""
        pairs = [(applied_key(self._source.name), self._step(partial(self._advance, segment, start, end)))]
        if self._ids.needed:
            for data in filter(None, buckets.values()):
                self._seen |= _read_bucket(data)
            pairs += [
                (bucket, self._step(partial(self._remember, rows))) for bucket, rows in _grouped([bucket for bucket, _ in self._places]).items()
            ]
        names: dict[tuple[str, ...], list[bytes | None]] = {}
        for view in self._views:
            if view.join_keys not in names:
                names[view.join_keys] = entity_names([[each.row.get(key) for each in self._received] for key in view.join_keys])
            pairs += self._tiles(view, names[view.join_keys]) if isinstance(view, WindowView) else self._rows(view, names[view.join_keys])
        pairs.sort(key=lambda pair: pair[0])
        return pairs

    def merge(self, old: bytes | None, new: bytes) -> bytes:
        """What `Online.update` calls inside its transaction, in key order."""
        if new[:1] == ROW:
            return newest(old, new) if old else new
        return self._steps[int.from_bytes(new[1:], "big")](old)

    def _step(self, change: Callable[[bytes | None], bytes]) -> bytes:
        self._steps.append(change)
        return _STEP + (len(self._steps) - 1).to_bytes(4, "big")

    def _advance(self, segment: str, start: int, end: int, old: bytes | None) -> bytes:
        ends, stamp = applied(old), applied_stamp(old)
        if ends.get(segment, 0) != start or stamp > self._stamp:
            raise Moved(f"segment {segment} of source {self._source.name!r} is applied to {ends.get(segment, 0)}, not to {start}")
        return applied_value(ends | {segment: end}, stamp)

    @cached_property
    def _columns(self) -> pl.DataFrame:
        return columns(self._source, self._received)

    def _rows(self, view: RowView, names: Sequence[bytes | None]) -> Pairs:
        """The newest row of each entity."""
        if len(self._received) < FEWEST:
            stored = [view.encode(row, created_us) for created_us, row in self._received]
        else:
            stored = self._ids.batches[view.prefix].stored(self._columns)
        best: dict[bytes, bytes] = {}
        for name, data in zip(names, stored, strict=True):
            if name is not None:
                known = best.get(name)
                best[name] = data if known is None else newest(known, data)
        start = view.prefix
        return [(start + name, data) for name, data in best.items()]

    def _tiles(self, view: WindowView, names: Sequence[bytes | None]) -> Pairs:
        """Each entity that a row belongs to now, or may have belonged to before it was corrected."""
        touched = _grouped(names)
        if not self._ids.needed:
            parts = [view.part(row, created_us) for created_us, row in self._received]
            return [(view.prefix + name, self._step(partial(self._add, view, [parts[i] for i in rows]))) for name, rows in touched.items()]
        for name, i in self._left(view):
            rows = touched.setdefault(name, [])
            if i not in rows:
                rows.append(i)
        return [(view.prefix + name, self._step(partial(self._count, view, name, names, sorted(rows)))) for name, rows in touched.items()]

    def _left(self, view: WindowView) -> list[tuple[bytes, int]]:
        """The entities that earlier rows with the same id belonged to, before the update and within it, with the row's index."""
        found: list[tuple[bytes, int]] = []
        earlier: dict[bytes, set[bytes]] = {}
        for i, (_, place) in enumerate(self._places):
            names = earlier.get(place)
            if names is None:
                names = earlier[place] = set()
                if place in self._seen:
                    names.update(filter(None, [_name(view, _read_row(self._seen[place].row))]))
            found += [(name, i) for name in names]
            names.update(filter(None, [_name(view, self._received[i].row)]))
        return found

    def _remember(self, rows: Sequence[int], old: bytes | None) -> bytes:
        bucket: Bucket = _read_bucket(old) if old else {}
        started: set[bytes] = set()
        for i in rows:
            place = self._places[i][1]
            known, entry = bucket.get(place), self._ids.remembered(self._received[i])
            if place not in started and known != self._seen.get(place):
                raise Moved(f"a row of source {self._source.name!r} was corrected by another process at the same time")
            started.add(place)
            if known is None:
                self._changes[i] = Change(None, new=True)
            elif known.created_us > entry.created_us:
                self._changes[i] = Change(None, new=False)
                continue
            else:
                self._changes[i] = Change(Received(known.created_us, _read_row(known.row)), new=bytes(known.row) != bytes(entry.row))
            bucket[place] = entry
        return self._ids.encode(bucket)

    @staticmethod
    def _add(view: WindowView, parts: Sequence[Part], old: bytes | None) -> bytes:
        return view.changed(old, [(None, part) for part in parts])

    def _count(self, view: WindowView, name: bytes, names: Sequence[bytes | None], rows: Sequence[int], old: bytes | None) -> bytes:
        changes: list[tuple[Part | None, Part | None]] = []
        for i in rows:
            earlier, new = self._changes[i]
            if (earlier is None and not new) or (not new and not view.shape.plan):
                continue
            taken = view.part(earlier.row, earlier.created_us) if earlier is not None and _name(view, earlier.row) == name else None
            added = view.part(self._received[i].row, self._received[i].created_us) if names[i] == name else None
            if taken is not None or added is not None:
                changes.append((taken, added))
        return view.changed(old, changes) if changes else old or b""


def _grouped(names: Sequence[bytes | None]) -> dict[bytes, list[int]]:
    """The places of each name, without those that have none."""
    groups: dict[bytes, list[int]] = {}
    for i, name in enumerate(names):
        if name is not None:
            groups.setdefault(name, []).append(i)
    return groups


def _name(view: WindowView, row: Mapping[str, Any]) -> bytes | None:
    (name,) = entity_names([[row.get(key)] for key in view.join_keys])
    return name
