"""One update of the online store from a range of a source's push journal: applied exactly once, by whichever process and however often it is tried.

Four kinds of keys, in this order in the store and in an update (their first bytes sort that way):
- the state of the source (see `stream_state`): how far each journal segment is applied, the catalog version that the online rows
  were made for, and the views whose history is there. An update that does not start where the last one ended, whose views are older
  than that version, or that was made for other views than those with a history, raises `StaleUpdate`, and nothing of it is written;
  so a retry, a second process or a restart cannot apply a range twice, and none of its rows is missing in a new view.
- the de-duplication index: the ids lately pushed, hashed over buckets, each with the row as it was. A row that comes again changes
  nothing but the time it was created; a corrected row is first subtracted from the window tiles that the earlier one had
  entered, and a row that comes in behind a later version of it (another process was quicker) is left out. A bucket of more than
  four ids forgets those that no window reaches, ten minutes after they were received.
- the rows and tiles of the views; behind them the served index (see `served_index`).

A store writes each key once: what the rows of a range do to one key is worked out in its one merge. Merges may be repeated
from the first on (a store may have to begin again), so each of them leaves anew what those behind it need.
"""

import hashlib
import logging
import struct
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import cached_property, partial
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import polars as pl

from rota.manage.features.expressions import compiler
from rota.manage.features.materialization import stream_state
from rota.manage.features.materialization.served_index import ENTER, Read, ServedIndex, ServedRow, ServedRows, StaleUpdate, Vacancy, grouped, later
from rota.manage.features.online import tiles
from rota.manage.features.online.reader import StoredView
from rota.manage.features.online.row_codec import ROW, ROW_WITH_ID, RowView, entity_names, id_digest, newest
from rota.manage.features.online.row_codec_batch import FEWEST, RowBatches
from rota.manage.features.online.tiles import TileUpdate
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows.coercion import frame
from rota.manage.features.rows.source_table import CREATED, RECEIVED
from rota.ports.online import Online
from rota.records.data import Source
from rota.records.time import SECOND_US, Micros

INDEX = b"\x00j"
_STEP = b"?"
RECENT_US = 600 * SECOND_US
"""How long an id stays in the de-duplication index at least: in which time pushes of several processes overtake each other."""
_event_us = struct.Struct("<q").unpack_from  # of a stored row behind its tag, as `row_codec.event_time` reads it: one call less a row
_pack = msgspec.msgpack.Encoder().encode
_log = logging.getLogger("rota.manage")
T = TypeVar("T")


class IndexedRow(msgspec.Struct, array_like=True):
    """A pushed row in the de-duplication index: when it was created, when it happened, and the fields that windows use of it."""

    created_us: Micros
    event_us: Micros
    row: msgspec.Raw


class PushedRow(NamedTuple):
    """A checked row and when Rota received it."""

    created_us: Micros
    row: Mapping[str, Any]


class Correction(NamedTuple):
    """How a row relates to what was pushed before: the earlier row of its id that it replaces, and whether its values are new."""

    earlier: PushedRow | None
    new: bool


Bucket = dict[bytes, IndexedRow]
Places = Sequence[tuple[bytes, bytes]]
"""For each row the key of its bucket in the de-duplication index, and its place there."""
Pairs = list[tuple[bytes, bytes]]
_read_bucket = msgspec.msgpack.Decoder(dict[bytes, IndexedRow]).decode
_NO_FIELDS = msgspec.Raw(_pack({}))
_EMPTY_MAP = 0x80
"""First byte of a MessagePack map of up to 15 entries, plus how many it has."""
_SMALL = 4
_read_row = msgspec.msgpack.Decoder(dict[str, Any]).decode
_FIRST = Correction(None, new=True)
_OUTDATED = Correction(None, new=False)


def columns(source: Source, pushed: Sequence[PushedRow]) -> pl.DataFrame:
    """Pushed rows as the source's table holds them; a field that the source got later is null."""
    rows = frame([row for _, row in pushed], source.fields)
    return rows.with_columns(pl.Series(CREATED, [created_us for created_us, _ in pushed], dtype=pl.Int64))


class History(Protocol):
    """What an update asks of the rows that were received before: seldom, for it reads the offline table."""

    def successors(self, vacancies: Sequence[Vacancy]) -> Mapping[bytes, bytes | None]: ...

    def outdated(self, pushed: Sequence[PushedRow]) -> set[int]:
        """The places of rows of which a later version is known."""
        ...


class DeduplicationIndex:
    """The lately pushed ids of a source; without an id field there is nothing to keep."""

    def __init__(self, source: Source, views: Sequence[StoredView]) -> None:
        self.windowed = [view for view in views if isinstance(view, WindowView)]
        self.needed = source.id_field is not None and bool(views)
        self.served = ServedIndex(source, views)
        self.source = source
        self._id = source.id_field or ""
        self.applied_key = stream_state.key(source.name)
        self._start = INDEX + hashlib.blake2b(source.name.encode(), digest_size=8).digest()
        used = {key for view in self.windowed for key in view.join_keys}
        used |= {name for view in self.windowed for name in compiler.columns_of_all(view.expressions, view.view.source.fields)}
        self._used = sorted(used | {source.timestamp_field}) if self.windowed else []
        self.batches = {view.prefix: RowBatches(view) for view in views if isinstance(view, RowView)}
        self.rebuilt = [view for view in views if isinstance(view, WindowView) or source.id_field is not None]
        """The views that can only be rebuilt together with the index: windowed ones, and where rows have ids scalar ones too."""
        scalar = {name for view in self.rebuilt if isinstance(view, RowView) for name in self.batches[view.prefix].columns}
        named = [source.timestamp_field, *self._used, *filter(None, [source.id_field])]
        self.columns = list(dict.fromkeys([*named, *sorted(scalar), CREATED, RECEIVED]))
        """The columns of the source's rows that these views and the index are made of."""
        self.prefixes = (self._start, self.served.start)
        """The first bytes of the keys of the index, and of the served index."""
        self.horizon_us = max((view.keep * view.hop_us for view in self.windowed), default=0)

    def places(self, rows: Sequence[Mapping[str, Any]]) -> Places:
        """Where the ids of rows lie; nothing where no index is needed."""
        if not self.needed:
            return []
        digests = [id_digest(row[self._id]) for row in rows]
        return [(self._start + digest[:2], digest) for digest in digests]

    def keys(self, places: Places) -> list[bytes]:
        """What to read before an update: how far the source is applied, and the buckets of these places."""
        return [self.applied_key, *sorted(set(map(itemgetter(0), places)))]

    def created(self, places: Places, stored: Mapping[bytes, bytes | None]) -> list[Micros | None]:
        """When the known row of each id was created; nothing where no index is needed."""
        if not places:
            return []
        known = self.known(places, stored)
        return [known[place].created_us if place in known else None for _, place in places] if known else [None] * len(places)

    def known(self, places: Places, stored: Mapping[bytes, bytes | None]) -> Bucket:
        """What the index holds of the ids; most are new, and their buckets need not be opened."""
        found: Bucket = {}
        for bucket, place in places:
            data = stored.get(bucket)
            if data and place in data and (entry := _read_bucket(data).get(place)) is not None:
                found[place] = entry
        return found

    def entry(self, pushed: PushedRow) -> IndexedRow:
        """What the index keeps of a row."""
        row = pushed.row
        used = msgspec.Raw(_pack({name: row.get(name) for name in self._used})) if self._used else _NO_FIELDS
        return IndexedRow(pushed.created_us, row[self.source.timestamp_field], used)

    def with_new(self, old: bytes | None, place: bytes, entry: IndexedRow) -> bytes:
        """A bucket's bytes with an id that it does not hold; a small one is not looked through for ids to forget."""
        added = _pack({place: entry})
        if not old or old[0] == _EMPTY_MAP:
            return added
        if old[0] < _EMPTY_MAP + _SMALL:
            return bytes((old[0] + 1,)) + old[1:] + added[1:]
        return self.encode({**_read_bucket(old), place: entry})

    def encode(self, bucket: Bucket) -> bytes:
        """A bucket's bytes, without the ids that no window can reach any more and that did not come lately."""
        oldest = max([entry.event_us for entry in bucket.values()]) - self.horizon_us
        recent = max([entry.created_us for entry in bucket.values()]) - RECENT_US
        return _pack({place: entry for place, entry in bucket.items() if entry.event_us >= oldest or entry.created_us >= recent})


class OnlineUpdate:
    """The rows of one journal range as one `Online.update`: give it `pairs()` and `merge`.

    `catalog_version` is the version of the catalog that `views` were read at; `places` those of the rows if they are known already.
    Views without a history online are left out; with `all_views` (for values that are not in the store yet) none is.
    `cautious` is for a range whose update was stale before: it looks closer, so that what others do meanwhile seldom matters.
    """

    def __init__(
        self,
        index: DeduplicationIndex,
        views: Sequence[StoredView],
        pushed: Sequence[PushedRow],
        catalog_version: int = 0,
        *,
        history: History,
        places: Places | None = None,
        all_views: bool = False,
        cautious: bool = False,
    ) -> None:
        self._source = index.source
        self._views = views
        self._all_views = all_views
        self._written: AbstractSet[bytes] = frozenset()  # the views with a history online, as `pairs` was told
        self._pushed = pushed
        self._index = index
        self._version = catalog_version
        self._history = history
        self._cautious = cautious
        self._places = index.places([row for _, row in pushed]) if places is None else places
        self._names: dict[tuple[str, ...], list[bytes | None]] = {}
        self._seen: dict[bytes, IndexedRow] = {}  # place -> what the index held when the update was prepared
        self._outdated: set[int] = set()
        self._served: ServedRows | None = None
        self._corrections: list[Correction] = [_FIRST] * len(pushed)
        self._steps: list[Callable[[bytes | None], bytes]] = []

    @property
    def keys(self) -> list[bytes]:
        """What `apply` needs the present values of."""
        return self._index.keys(self._places)

    def apply(self, online: Online, segment: str, start: int, end: int, stored: Mapping[bytes, bytes | None]) -> bool:
        """Bring the range online; False when the online store is not at its start, or knows a newer catalog. `stored` are the values of `keys`."""
        try:
            online.update(self.pairs(segment, start, end, stored, online.read), self.merge)
        except StaleUpdate:
            return False
        return True

    def pairs(self, segment: str, start: int, end: int, stored: Mapping[bytes, bytes | None], read: Read) -> Pairs:
        """Everything the update writes, in key order; `stored` are the values of `keys`, `read` reads others as they are now."""
        state = stored.get(self._index.applied_key)
        self._written = stream_state.written(state)
        pairs = [(self._index.applied_key, self._step(partial(self._advance, segment, start, end, state)))]
        if self._places:
            self._outdated = self._history.outdated(self._pushed)
            by_bucket = grouped([bucket for bucket, _ in self._places])
            self._seen = self._index.known(self._places, stored)
            pairs += [(bucket, self._step(partial(self._remember, rows))) for bucket, rows in by_bucket.items()]
        scalar = []
        for view in self._views:
            if view.prefix not in self._written and not self._all_views:
                continue
            if view.join_keys not in self._names:
                self._names[view.join_keys] = entity_names([[each.row.get(key) for each in self._pushed] for key in view.join_keys])
            if isinstance(view, WindowView):
                pairs += self._tiles(view, self._names[view.join_keys])
            else:
                scalar.append(view)
        pairs += self._served_rows(scalar, read) if self._places else self._newest_rows(scalar)
        pairs.sort(key=itemgetter(0))
        return pairs

    def merge(self, old: bytes | None, new: bytes) -> bytes:
        """What `Online.update` calls inside its transaction, in key order."""
        kind = new[:1]
        if kind in (ROW_WITH_ID, ROW):
            if not old or _event_us(new, 1) > _event_us(old, 1):
                return new
            return newest(old, new) if kind == ROW else later(old, new)
        if self._served is not None and kind != _STEP:
            return self._served.enter(new, old) if kind == ENTER else self._served.stand(new, old)
        return self._steps[int.from_bytes(new[1:], "big")](old)

    def _newest_rows(self, views: Sequence[RowView]) -> Pairs:
        """The newest of the rows for each entity; the store keeps the newer one."""
        pairs: Pairs = []
        for view in views:
            forms = self._stored_forms(view)
            names = [name if data else None for name, data in zip(self._names[view.join_keys], forms, strict=True)]
            pairs += view.newest_rows(names, forms)
        return pairs

    def _served_rows(self, views: Sequence[RowView], read: Read) -> Pairs:
        """The same where rows have ids: a row that takes the place of an earlier one takes that away from where it stands."""
        if not views:
            return []
        forms = {view.prefix: self._stored_forms(view) for view in views}
        name, timestamp = self._source.id_field or "", self._source.timestamp_field
        identities = [identity for _, identity in self._places]
        orders = [(row[timestamp], created_us, identity) for (created_us, row), identity in zip(self._pushed, identities, strict=True)]
        rows = list(map(ServedRow, [row[name] for _, row in self._pushed], orders))
        standing = dict(zip(identities, range(len(rows)), strict=True))
        if self._seen or self._outdated:
            standing = {}
            for i, (_, created_us, identity) in enumerate(orders):
                known = self._seen.get(identity)
                if (known is None or known.created_us <= created_us) and i not in self._outdated:
                    standing[identity] = i
        self._served = ServedRows(self._index.served, views, rows, forms, self._names, standing, cautious=self._cautious)
        self._served.prepare(read, self._history.successors)
        return self._served.pairs()

    def _stored_forms(self, view: RowView) -> list[bytes]:
        """The rows as a view stores them; one that the view cannot compute is left out of it (b""), for the others must not wait for it."""
        try:
            if len(self._pushed) >= FEWEST:
                return self._index.batches[view.prefix].stored(self._columns, [identity for _, identity in self._places])
            identities = [identity for _, identity in self._places] or repeat(None)
            return [view.encode(row, created_us, identity) for (created_us, row), identity in zip(self._pushed, identities, strict=False)]
        except Exception:  # noqa: BLE001 - the row is acknowledged: whatever is wrong with it, the source goes on
            return [self._computed(view, partial(view.encode, each.row, each.created_us)) or b"" for each in self._pushed]

    def _tile_updates(self, view: WindowView) -> list[TileUpdate | None]:
        try:
            return list(view.tile_updates(self._pushed))
        except Exception:  # noqa: BLE001 - as above
            return [self._computed(view, partial(view.tile_update, each.row, each.created_us)) for each in self._pushed]

    def _computed(self, view: StoredView, compute: Callable[[], T]) -> T | None:
        try:
            return compute()
        except Exception:  # noqa: BLE001 - as above
            extra = {"action": "push", "source": self._source.name, "view": view.view.name}
            _log.exception("a row was left out of a view, which cannot compute it", extra=extra)
            return None

    def _step(self, change: Callable[[bytes | None], bytes]) -> bytes:
        self._steps.append(change)
        return _STEP + (len(self._steps) - 1).to_bytes(4, "big")

    def _advance(self, segment: str, start: int, end: int, before: bytes | None, old: bytes | None) -> bytes:
        """How far the source is applied behind this update."""
        state = stream_state.decoded(old)
        known = state.ends.get(segment, 0)
        if known != start or state.catalog_version > self._version:
            raise StaleUpdate(f"segment {segment} of source {self._source.name!r} is applied to {known}, not to {start}")
        if self._written != state.history.keys():
            raise StaleUpdate(f"the history of other views over source {self._source.name!r} is online than when the update was made")
        if self._served is not None:
            self._served.begin(moved_on=old != before and stream_state.beside(before, segment) != stream_state.beside(old, segment))
        ours = {view.prefix for view in self._views}  # of a view that nobody reads any more the next rows are missing
        history = state.history if self._written <= ours else {view: mark for view, mark in state.history.items() if view in ours}
        return replace(state, ends={**state.ends, segment: end}, history=history).encoded()

    @cached_property
    def _columns(self) -> pl.DataFrame:
        return columns(self._source, self._pushed)

    def _tiles(self, view: WindowView, names: Sequence[bytes | None]) -> Pairs:
        """Each entity that a row belongs to now, or may have belonged to before it was corrected."""
        updates = self._tile_updates(view)
        names = [name if update is not None else None for name, update in zip(names, updates, strict=True)]
        by_entity = grouped(names)
        if not self._index.needed:
            return [
                (view.prefix + name, self._step(partial(tiles.changed, view.layout, [(None, updates[i]) for i in rows])))
                for name, rows in by_entity.items()
            ]
        for name, i in self._left(view, names):
            rows = by_entity.setdefault(name, [])
            if i not in rows:
                rows.append(i)
        return [
            (
                view.prefix + name,
                self._step(partial(self._correct, view, name, [(i, updates[i] if names[i] == name else None) for i in sorted(rows)])),
            )
            for name, rows in by_entity.items()
        ]

    def _left(self, view: WindowView, names: Sequence[bytes | None]) -> list[tuple[bytes, int]]:
        """The entities that earlier rows with the same id belonged to, before the update and within it, with the row's index."""
        found: list[tuple[bytes, int]] = []
        earlier: dict[bytes, set[bytes]] = {}
        for i, (_, place) in enumerate(self._places):
            left = earlier.get(place)
            if left is None:
                left = earlier[place] = set()
                if place in self._seen:
                    left.update(filter(None, [_name(view, _read_row(self._seen[place].row))]))
            found += [(name, i) for name in left]
            left.update(filter(None, [names[i]]))
        return found

    def _remember(self, rows: Sequence[int], old: bytes | None) -> bytes:
        """A bucket with these rows; what they correct is left for the tiles, which come behind it."""
        first = self._places[rows[0]][1]
        if len(rows) == 1 and first not in self._seen and not (old and first in old) and rows[0] not in self._outdated:
            self._corrections[rows[0]] = _FIRST
            if self._served is not None:
                self._served.standing[first] = rows[0]
            return self._index.with_new(old, first, self._index.entry(self._pushed[rows[0]]))
        bucket: Bucket = _read_bucket(old) if old else {}
        started: set[bytes] = set()
        for i in rows:
            place = self._places[i][1]
            known, entry = bucket.get(place), self._index.entry(self._pushed[i])
            if place not in started and self._served is not None:
                self._served.standing.pop(place, None)
            if place not in started and known != self._seen.get(place):
                raise StaleUpdate(f"a row of source {self._source.name!r} was corrected by another process at the same time")
            started.add(place)
            if i in self._outdated or (known is not None and known.created_us > entry.created_us):
                self._corrections[i] = _OUTDATED
                continue
            if self._served is not None:
                self._served.standing[place] = i
            if known is None:
                self._corrections[i] = _FIRST
            else:
                self._corrections[i] = Correction(PushedRow(known.created_us, _read_row(known.row)), new=bytes(known.row) != bytes(entry.row))
            bucket[place] = entry
        return self._index.encode(bucket) if bucket else old or _pack(bucket)

    def _correct(self, view: WindowView, name: bytes, updates: Sequence[tuple[int, TileUpdate | None]], old: bytes | None) -> bytes:
        """The tiles of an entity: rows that it had before subtracted, rows that belong to it now added."""
        changes: list[tuple[TileUpdate | None, TileUpdate | None]] = []
        for i, added in updates:
            earlier, new = self._corrections[i]
            if (earlier is None and not new) or (not new and not view.layout.folds):
                continue
            taken = None
            if earlier is not None and _name(view, earlier.row) == name:
                taken = self._computed(view, partial(view.tile_update, earlier.row, earlier.created_us))
            if taken is not None or added is not None:
                changes.append((taken, added))
        return tiles.changed(view.layout, changes, old) if changes else old or b""


def _name(view: WindowView, row: Mapping[str, Any]) -> bytes | None:
    (name,) = entity_names([[row.get(key)] for key in view.join_keys])
    return name
