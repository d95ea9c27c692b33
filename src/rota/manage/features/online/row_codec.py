"""How the online store keeps a view: keys of entities, and the newest row of each as fixed bytes.

Key: 8 bytes that name the view's definition, then the join key values, each with its type and length (past 400 bytes: their
BLAKE2b). A changed definition has other keys, so an old model keeps reading the rows that were made for it.

Row: tag "R", event and created time, null bitmap, one fixed field per number, bool or timestamp, then the others (texts, lists, bytes,
decimals as texts) as one MessagePack list. Tag "I": the same of a row that has an id, with 16 bytes of the id's digest before that list, so that a
correction finds the row that it replaces. The first byte of a value is its format; another format gets another letter.
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from rota.manage.features.expressions import compiler
from rota.records.data import Feature, FeatureView
from rota.records.record import encode
from rota.records.schema import Type
from rota.records.time import Micros, micros
from rota.records.value_types import family, sql_type

ROW = b"R"
ROW_WITH_ID = b"I"
ID_BYTES = 16
VIEW = b"v"
"""First byte of all keys of views; what steers an update has a smaller one, so it comes first in key order too."""
_TIMES = struct.Struct("<cqq")
_EVENT = struct.Struct("<q")
FORMATS = {"float": "d", "int": "q", "timestamp": "q", "bool": "?"}
_EMPTY: dict[str, Any] = {"float": 0.0, "int": 0, "timestamp": 0, "bool": False}
_FOLDED = ("min", "max", "last")
_LONGEST = 400
_texts = msgspec.msgpack


def prefix(view: FeatureView) -> bytes:
    """The first bytes of all keys of a view: a digest of what its stored values follow from (not of ttl, owner, description, nor of
    columns that it does not use: a source may get new ones)."""
    source = view.source
    used = compiler.columns_of_all([feature.expression for feature in view.features.values()], source.fields)
    definition = [
        view.name,
        [(key, sql_type(source.fields[key])) for key in view.join_keys],
        [source.name, source.timestamp_field, sorted((name, sql_type(source.fields[name])) for name in used)],
        [(name, feature.identity) for name, feature in layout(view)],
        micros(view.hop) if view.windowed else None,
    ]
    if any(feature.aggregation in _FOLDED for feature in view.features.values()):
        definition.append(source.id_field)  # rows that have ids are kept in the tiles
    return VIEW + hashlib.blake2b(encode(definition), digest_size=7).digest()


def layout(view: FeatureView) -> list[tuple[str, Feature]]:
    """The view's features in the order in which they are stored: by name, for a record's own order is lost in JSON."""
    return sorted(view.features.items(), key=lambda item: item[0])


def entity_key(start: bytes, values: Sequence[Any]) -> bytes | None:
    """The key of an entity; None when one of its join keys is null: nothing is stored of it."""
    name = entity_name(values)
    return None if name is None else start + name


def entity_name(values: Sequence[Any]) -> bytes | None:
    """What the keys of an entity in all views end with; None when one of its join keys is null."""
    parts = []
    for value in values:
        if value is None:
            return None
        if type(value) is str:
            data = value.encode()
            parts.append(b"s%d:" % len(data) + data)
        else:
            parts.append(b"i%d;" % value)
    name = b"".join(parts)
    return name if len(name) <= _LONGEST else b"h" + hashlib.blake2b(name, digest_size=32).digest()


def entity_names(columns: Sequence[Sequence[Any]]) -> list[bytes | None]:
    """`entity_name` of many entities, given as the columns of their join keys."""
    if len(columns) > 1:
        return [entity_name(values) for values in zip(*columns, strict=True)]
    return [b"i%d;" % value if type(value) is int else entity_name((value,)) for value in columns[0]]


def id_digest(value: Any) -> bytes:
    """What stands for the id of a row in the online store."""
    return hashlib.blake2b(repr(value).encode(), digest_size=ID_BYTES).digest()


def event_time(data: bytes) -> Micros:
    """The newest event time of a stored value, a row or tiles: both have it behind their tag."""
    return int(_EVENT.unpack_from(data, 1)[0])


def ttl_us(view: FeatureView) -> float:
    """How old the newest row of an entity may be to be read, in microseconds; infinite for a view without a ttl."""
    return math.inf if view.ttl is None else micros(view.ttl)


class Entities:
    """How the entity of a row is found and named in the store."""

    def __init__(self, view: FeatureView) -> None:
        self.prefix = prefix(view)
        self.join_keys = view.join_keys
        self._single = view.join_keys[0] if len(view.join_keys) == 1 else None

    def entity_of(self, row: Mapping[str, Any]) -> Any:
        """The entity's join key value, or the tuple of them."""
        return row.get(self._single) if self._single is not None else tuple([row.get(name) for name in self.join_keys])

    def key_of(self, entity: Any) -> bytes | None:
        return entity_key(self.prefix, entity if self._single is None else (entity,))

    def key(self, row: Mapping[str, Any]) -> bytes | None:
        """The key of a row's entity; None when one of its join keys is null: nothing is stored of it."""
        return self.key_of(self.entity_of(row))


class RowView(Entities):
    """A view of scalar features as it is stored: the newest row of each entity."""

    def __init__(self, view: FeatureView) -> None:
        super().__init__(view)
        self.view = view
        self.timestamp_field = view.source.timestamp_field
        self.ttl_us = ttl_us(view)
        expressions = [feature.expression for _, feature in layout(view)]
        kinds: list[Type] = [compiler.type_of(expression, view.source.fields) for expression in expressions]
        self._compute = compiler.compile_values(expressions, view.source.fields)
        self.empty = (None,) * len(kinds)
        self._blank = tuple(_EMPTY.get(kind) for kind in kinds)
        self._texts = [i for i, kind in enumerate(kinds) if kind not in FORMATS]
        self._decimals = [i for i in self._texts if family(kinds[i]) == "decimal"]
        self._fixed = [i for i, kind in enumerate(kinds) if kind in FORMATS]
        self._bytes = (len(kinds) + 7) // 8
        self._struct = struct.Struct(f"<cqq{self._bytes}s" + "".join(FORMATS[kinds[i]] for i in self._fixed))
        self.id_field = view.source.id_field
        self._tag = ROW if self.id_field is None else ROW_WITH_ID
        self.unpack = self._struct.unpack_from
        self.no_nulls = bytes(self._bytes)
        self.plain = not self._texts  # then the fixed fields are the values, in their order

    def encode(self, row: Mapping[str, Any], created_us: Micros, identity: bytes | None = None) -> bytes:
        """The stored bytes of one row of the source; `identity` is its `id_digest` where that is known already."""
        values = self._compute(row)
        nulls = 0
        for i, value in enumerate(values):
            if value is None:
                nulls |= 1 << i
        if nulls:
            values = tuple(blank if value is None else value for value, blank in zip(values, self._blank, strict=True))
        bitmap = nulls.to_bytes(self._bytes, "little")
        data = self._struct.pack(self._tag, row[self.timestamp_field], created_us, bitmap, *[values[i] for i in self._fixed])
        if self.id_field is not None:
            data += identity or id_digest(row[self.id_field])
        return data + _texts.encode([values[i] for i in self._texts]) if self._texts else data

    def encode_all(self, rows: Iterable[tuple[Micros, Mapping[str, Any]]]) -> list[bytes]:
        """`encode` of many (created time, row)."""
        return [self.encode(row, created_us) for created_us, row in rows]

    def order(self, data: bytes) -> tuple[Micros, Micros, bytes]:
        """What the newest row of an entity is the largest of, where rows have ids: event time, created time, id."""
        _, event_us, created_us = _TIMES.unpack_from(data)
        return event_us, created_us, self.id_of(data) or b""

    def id_of(self, data: bytes | None) -> bytes | None:
        """The digest of a stored row's id; None where nothing is stored, or was before ids were."""
        return data[self._struct.size : self._struct.size + ID_BYTES] if data and data[:1] == ROW_WITH_ID else None

    def newest_rows(self, names: Sequence[bytes | None], stored: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Key and bytes of the newest of some stored rows for each entity, given by what its keys end with (None: left out)."""
        best: dict[bytes, bytes] = {}
        for name, data in zip(names, stored, strict=True):
            if name is not None:
                known = best.get(name)
                best[name] = data if known is None else newest(known, data)
        return [(self.prefix + name, data) for name, data in best.items()]

    def decode(self, data: bytes | None, now_us: Micros) -> tuple[Any, ...]:
        """The feature values at a moment, in the order of `layout`; all null for an unknown entity and for a row older than the view's ttl."""
        if not data:
            return self.empty
        found = self.unpack(data)
        if now_us - found[1] > self.ttl_us:
            return self.empty
        return found[4:] if self.plain and found[3] == self.no_nulls else self._spread(data, found)

    def decode_all(self, datas: Sequence[bytes | None], now_us: Micros) -> list[tuple[Any, ...]]:
        """`decode` of many; one loop, for most rows are alive and without nulls."""
        unpack, oldest_us = self.unpack, now_us - self.ttl_us
        no_nulls = self.no_nulls if self.plain else None
        made = []
        for data in datas:
            if not data:
                made.append(self.empty)
                continue
            found = unpack(data)
            if found[1] < oldest_us:
                made.append(self.empty)
            else:
                made.append(found[4:] if found[3] == no_nulls else self._spread(data, found))
        return made

    def _spread(self, data: bytes, found: tuple[Any, ...]) -> tuple[Any, ...]:
        """The values of a row with texts or nulls, each in its place."""
        values = list(self._blank)
        for i, value in zip(self._fixed, found[4:], strict=True):
            values[i] = value
        if self._texts:
            start = self._struct.size + (ID_BYTES if data[:1] == ROW_WITH_ID else 0)
            for i, value in zip(self._texts, _texts.decode(data[start:]), strict=True):
                values[i] = value
            for i in self._decimals:
                written: Any = values[i]
                values[i] = None if written is None else Decimal(written)
        nulls = int.from_bytes(found[3], "little")
        return tuple([None if nulls >> i & 1 else value for i, value in enumerate(values)])


def newest(old: bytes, new: bytes) -> bytes:
    """Of two rows of one entity: the later event, then the later created, then the larger bytes, in whatever order they come."""
    _, new_event, new_created = _TIMES.unpack_from(new)
    _, old_event, old_created = _TIMES.unpack_from(old)
    if new_event != old_event:
        return new if new_event > old_event else old
    return new if (new_created, new) >= (old_created, old) else old
