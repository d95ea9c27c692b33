"""Corrections of rows with ids in scalar views: a row that moves to another entity, or to another time, leaves no ghost.

The online store holds of each entity its newest row alone, so it has to be known, when an id comes again, which entity its earlier
row still stands for: that is the served index. It holds one entry for each id that stands online, in buckets by the id's digest:
for each set of join keys the entity. An entity whose row went away gets the newest of its other rows, out of the history
(see `live_rows`), unless a row of the same update is newer.

Buckets sort behind the rows of the views, so that they hold what has become of those. What an update will do to which key is foreseen
from what was read before it; where the store has moved on since, `StaleUpdate` is raised, and nothing of the update is written.

Most often a row with a new id takes the place of an earlier row of its entity, or the first one, in all views alike. Such a row is
settled before the transaction (`_settle_usual`): in it the later of two rows stays, and the two ids change places in the index.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from rota.errors import RotaError
from rota.manage.features.online.reader import StoredView
from rota.manage.features.online.row_codec import ROW_WITH_ID, VIEW, RowView
from rota.records.data import Source
from rota.records.time import Micros

SERVED = b"w"
STAND, ENTER = b"!", b"#"
"""First bytes of what stands in an update for the row of an entity, and for a bucket of the index."""
assert SERVED > VIEW, "buckets are written behind the rows of views"
Places = dict[bytes, dict[bytes, bytes]]
"""Of each id in a bucket, by its digest: for each set of join keys (by its tag) the entity that the id's row stands for."""
Pairs = list[tuple[bytes, bytes]]
Moves = list[tuple[bytes, bytes, bytes, bool]]
"""Changes of a bucket: id's digest, tag, entity, whether the id's row stands for it from now on or does not any more."""
Read = Callable[[Sequence[bytes]], Sequence[bytes | None]]
_read_bucket = msgspec.msgpack.Decoder(Places).decode
_pack = msgspec.msgpack.Encoder().encode
_NO_MOVES: Moves = []
_EMPTY = _pack({})
_times = struct.Struct("<qq").unpack_from


class StaleUpdate(RotaError):
    """The online store is not where this update starts, or knows a newer catalog: read both again. Stays inside this package."""


@dataclass(frozen=True, slots=True)
class Vacancy:
    """An entity of a view whose row went away: its key in the online store, and the id whose earlier row stood there."""

    view: RowView
    key: bytes
    id: Any


Successors = Callable[[Sequence[Vacancy]], Mapping[bytes, bytes | None]]
"""Finds in the history what stands next for entities: the stored row by key, None for an entity without another row."""


@dataclass(frozen=True, slots=True)
class EntityGroup:
    """The scalar views of a source that are found by the same join keys: the same row is the newest in all of them."""

    tag: bytes
    join_keys: tuple[str, ...]
    views: tuple[RowView, ...]


class ServedIndex:
    """Which ids of a source stand online in its scalar views, and for which entities."""

    def __init__(self, source: Source, views: Sequence[StoredView]) -> None:
        grouped: dict[tuple[str, ...], list[RowView]] = {}
        for view in views if source.id_field is not None else ():
            if isinstance(view, RowView):
                grouped.setdefault(view.join_keys, []).append(view)
        self.groups = tuple(EntityGroup(_digest(repr(keys), 4), keys, tuple(found)) for keys, found in grouped.items())
        self.start = SERVED + _digest(repr((source.name, source.id_field)), 8)

    def groups_of(self, views: Sequence[RowView]) -> tuple[EntityGroup, ...]:
        """The groups with these of their views alone."""
        chosen = [replace(group, views=tuple(view for view in group.views if view in views)) for group in self.groups]
        return tuple(group for group in chosen if group.views)

    def bucket(self, identity: bytes) -> bytes:
        """The key of the bucket of an id's digest."""
        return self.start + identity[:2]

    def buckets(self, standing: Iterable[tuple[EntityGroup, bytes, bytes]]) -> Pairs:
        """Whole buckets for (group, entity, id's digest) that stand online."""
        found: dict[bytes, Places] = {}
        for group, name, identity in standing:
            found.setdefault(self.bucket(identity), {}).setdefault(identity, {})[group.tag] = name
        return [(key, encoded(places)) for key, places in found.items()]


def united(old: bytes | None, new: bytes) -> bytes:
    """A bucket with the entries of both; where they differ, of the new one. An entry too many does no harm: it is looked up in vain."""
    if not old:
        return new
    places: Places = _read_bucket(old)
    for identity, held in _read_bucket(new).items():
        places[identity] = places.get(identity, {}) | held
    return encoded(places)


def encoded(places: Places) -> bytes:
    """A bucket's bytes: the same for the same entries."""
    if len(places) > 1:
        places = {identity: places[identity] for identity in sorted(places)}
    return _pack({identity: _in_order(names) for identity, names in places.items()})


def _in_order(names: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return names if len(names) == 1 else dict(sorted(names.items()))


def later(old: bytes | None, new: bytes) -> bytes:
    """Of two stored rows of one entity with different ids: the later event, then the later created."""
    if not old:
        return new
    before, after = _times(old, 1), _times(new, 1)
    if before == after:
        raise StaleUpdate("an entity was changed by another process at the same time")
    return new if after > before else old


class ServedRow(NamedTuple):
    """A row of an update: its id, and what the newest row of an entity is the largest of: event time, created time, the id's digest."""

    id: Any
    order: tuple[Micros, Micros, bytes]


class ServedRows:
    """What one update does to the scalar views of a source whose rows have ids, and to the served index."""

    def __init__(
        self,
        index: ServedIndex,
        views: Sequence[RowView],
        rows: Sequence[ServedRow],
        forms: Mapping[bytes, Sequence[bytes]],
        names: Mapping[tuple[str, ...], Sequence[bytes | None]],
        standing: dict[bytes, int],
        *,
        cautious: bool,
    ) -> None:
        self._index = index
        self._groups = index.groups_of(views)
        self._cautious = cautious
        self._rows = rows
        self._forms = forms  # by a view's prefix what it stores of each row; b"" where it cannot compute the row
        self._bests: dict[tuple[bytes, bytes], int | None] = {}
        self._names = names
        self.standing = standing
        """By the id's digest the row that counts of each id: the last one, unless the de-duplication index knows a later one."""
        self._identities: dict[bytes, set[bytes]] = {}
        for _, (_, _, identity) in rows:
            self._identities.setdefault(index.bucket(identity), set()).add(identity)
        self._gaps = not all(map(all, forms.values()))
        self._known: Places = {}
        self._usual: Pairs = []
        self._usual_moves: dict[bytes, Moves] = {}
        self._buckets: list[bytes] = []
        self._touched: list[tuple[EntityGroup, bytes, list[int]]] = []
        self._targets: list[tuple[EntityGroup, RowView, bytes, list[int]]] = []
        self._foreseen: set[bytes] = set()
        self._vacancies: list[Vacancy] = []
        self._find: Successors = lambda _: {}
        self._successors: Mapping[bytes, bytes | None] = {}
        self._moved_on = False
        self._moves: dict[bytes, Moves] = {}
        self._held: dict[tuple[bytes, bytes], set[bytes]] = {}

    def prepare(self, read: Read, successors: Successors) -> None:
        """Look up what the update changes."""
        self._find = successors
        buckets = sorted(self._identities)
        touched = {(group.tag, name): rows for group in self._groups for name, rows in grouped(self._names[group.join_keys]).items()}
        groups = {group.tag: group for group in self._groups}
        firsts = [groups[tag].views[0].prefix + name for tag, name in touched]
        stored = dict(zip([*buckets, *firsts], read([*buckets, *firsts]), strict=True))
        for data in filter(None, map(stored.get, buckets)):
            self._known |= _read_bucket(data)
        held = [self._known[identity] for identity in self.standing.keys() & self._known.keys()]
        left = {place: touched.get(place, []) for each in held for place in each.items() if place[0] in groups}
        if not self._cautious and not self._gaps:
            for group in self._groups:
                usual = [(tag, name) for tag, name in touched if tag == group.tag and (tag, name) not in left]
                self._settle_usual(group, [(name, touched.pop((tag, name))) for tag, name in usual], stored, touched)
        self._touched = [(groups[tag], name, rows) for (tag, name), rows in (touched | left).items()]
        closely = touched | left if self._cautious else left
        more = [key for tag, name in closely for view in groups[tag].views if (key := view.prefix + name) not in stored]
        self._foresee(stored | dict(zip(more, read(more), strict=True)))

    def _settle_usual(
        self,
        group: EntityGroup,
        entities: Sequence[tuple[bytes, list[int]]],
        stored: Mapping[bytes, bytes | None],
        others: dict[tuple[bytes, bytes], list[int]],
    ) -> None:
        """Settle the entities for which a row with a new id is the newest from now on; the rest is added to `others`."""
        first, tag, bucket, moves = group.views[0], group.tag, self._index.bucket, self._usual_moves
        forms = [(view.prefix, self._forms[view.prefix]) for view in group.views]
        for name, rows in entities:
            best = rows[0] if len(rows) == 1 else self._newest(rows)
            old = stored[first.prefix + name]
            order = None if best is None else self._rows[best].order
            if order is None or self.standing.get(order[2]) != best:
                others[tag, name] = rows
                continue
            if old:
                before = first.order(old)
                if old[:1] != ROW_WITH_ID or before >= order or before[2] in self.standing:
                    others[tag, name] = rows
                    continue
                moves.setdefault(bucket(before[2]), []).append((before[2], tag, name, False))
            moves.setdefault(bucket(order[2]), []).append((order[2], tag, name, True))
            for prefix, data in forms:
                self._usual.append((prefix + name, data[best]))  # type: ignore[index]

    def begin(self, *, moved_on: bool) -> None:
        """A transaction begins, perhaps again; `moved_on` is whether others have written since `prepare`."""
        if moved_on and not self._cautious:
            raise StaleUpdate("another process wrote meanwhile")
        self._moved_on = moved_on
        self._moves, self._held, self._bests = {}, {}, {}
        if moved_on and self._vacancies:
            self._successors = self._find(self._vacancies)

    def pairs(self) -> Pairs:
        """The keys that the update writes, each with what stands for its change: of an entity's row the newer row (see `later`) or what
        `stand` takes, of a bucket what `enter` takes."""
        self._targets = [(group, view, name, rows) for group, name, rows in self._touched for view in group.views]
        stands = [(view.prefix + name, STAND + i.to_bytes(4, "big")) for i, (_, view, name, _) in enumerate(self._targets)]
        self._buckets = [*(self._foreseen | self._usual_moves.keys())]
        return [*self._usual, *stands, *[(bucket, ENTER + i.to_bytes(4, "big")) for i, bucket in enumerate(self._buckets)]]

    def _foresee(self, stored: Mapping[bytes, bytes | None]) -> None:
        for group, name, rows in self._touched:
            for view in group.views:
                key = view.prefix + name
                if key not in stored:
                    continue
                old = stored[key]
                best = self._best(group, view, name, rows)
                new, replaced = self._settled(view, old, best)
                if replaced is not None:
                    self._vacancies.append(Vacancy(view, key, replaced.id))
                if replaced is not None or view.id_of(old) != view.id_of(new):
                    self._expect(view.id_of(old))
                    self._expect(None if best is None else self._rows[best].order[2])
        if self._cautious:
            self._foreseen.update(self._identities)
        self._successors = self._find(self._vacancies) if self._vacancies else {}
        for vacancy in self._vacancies:
            self._expect(vacancy.view.id_of(self._successors[vacancy.key]))

    def _expect(self, identity: bytes | None) -> None:
        if identity is not None:
            self._foreseen.add(self._index.bucket(identity))

    def _best(self, group: EntityGroup, view: RowView, name: bytes, rows: Sequence[int]) -> int | None:
        """The newest of the rows that count, which is the same in all views of the group but one that cannot compute it."""
        place = (group.tag, name)
        if place not in self._bests:
            self._bests[place] = self._newest(rows)
        best = self._bests[place]
        if best is None or self._forms[view.prefix][best]:
            return best
        return self._newest([i for i in rows if self._forms[view.prefix][i]])

    def _newest(self, rows: Sequence[int]) -> int | None:
        standing = [i for i in rows if self.standing.get(self._rows[i].order[2]) == i]
        return max(standing, key=lambda i: self._rows[i].order) if standing else None

    def _settled(self, view: RowView, old: bytes | None, best: int | None) -> tuple[bytes | None, ServedRow | None]:
        """What stands for an entity after the update; and, if that takes a look into the history, the row whose earlier form stood there."""
        new = None if best is None else self._forms[view.prefix][best]
        if not old:
            return new, None
        before = view.order(old)
        place = self.standing.get(before[2])
        if place is None or self._rows[place].order[1] <= before[1]:
            return (new if best is not None and self._rows[best].order > before else old), None
        if best is not None and self._rows[best].order >= before:
            return new, None
        return new, self._rows[place]

    def stand(self, new: bytes, old: bytes | None) -> bytes:
        """The row of an entity after the update; `new` is what stands for it in `pairs`."""
        group, view, name, rows = self._targets[int.from_bytes(new[1:], "big")]
        return self._stand(group, view, name, rows, old)

    def _stand(self, group: EntityGroup, view: RowView, name: bytes, rows: Sequence[int], old: bytes | None) -> bytes:
        new, replaced = self._settled(view, old, self._best(group, view, name, rows))
        if replaced is not None:
            key = view.prefix + name
            if key not in self._successors:
                raise StaleUpdate(f"an entity of view {view.view.name!r} was changed by another process at the same time")
            new = max(filter(None, (new, self._successors[key])), key=view.order, default=None)
        before, after = view.id_of(old), view.id_of(new)
        if after is not None and len(group.views) > 1:
            self._held.setdefault((group.tag, name), set()).add(after)
        if before != after:
            self._move(group, name, before, after)
        return new or b""

    def _move(self, group: EntityGroup, name: bytes, before: bytes | None, after: bytes | None) -> None:
        """Another id stands for an entity: the served index, behind the rows, is to know it."""
        if before is not None:
            self._moves.setdefault(self._index.bucket(before), []).append((before, group.tag, name, False))
        if after is not None:
            bucket = self._index.bucket(after)
            if bucket not in self._foreseen:
                raise StaleUpdate("an entity was changed by another process at the same time")
            self._moves.setdefault(bucket, []).append((after, group.tag, name, True))

    def enter(self, new: bytes, old: bytes | None) -> bytes:
        """A bucket of the served index after the update; `new` is what stands for it in `pairs`."""
        bucket = self._buckets[int.from_bytes(new[1:], "big")]
        moves = self._usual_moves.get(bucket, _NO_MOVES)
        if bucket in self._moves:
            moves = moves + self._moves[bucket]
        if len(moves) == 1 and moves[0][3] and (not old or old == _EMPTY) and not self._moved_on:
            return _pack({moves[0][0]: {moves[0][1]: moves[0][2]}})
        if not moves and not self._moved_on:
            return old or encoded({})
        places: Places = _read_bucket(old) if old else {}
        if self._moved_on:
            for identity in self._identities.get(bucket, ()):
                if places.get(identity, {}).items() - self._known.get(identity, {}).items():
                    raise StaleUpdate("a row came to stand for an entity through another process at the same time")
        for identity, tag, name, stands in moves:
            if stands:
                places.setdefault(identity, {})[tag] = name
            elif identity not in self._held.get((tag, name), ()) and places.get(identity, {}).get(tag) == name:
                del places[identity][tag]
                if not places[identity]:
                    del places[identity]
        return encoded(places)


def created_time(data: bytes) -> Micros:
    """When the stored row was created."""
    return int.from_bytes(data[9:17], "little", signed=True)


def grouped(names: Sequence[bytes | None]) -> dict[bytes, list[int]]:
    """The positions of each name, without those that have none."""
    groups: dict[bytes, list[int]] = {}
    for i, name in enumerate(names):
        if name is not None:
            groups.setdefault(name, []).append(i)
    return groups


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=size).digest()
