"""The stored form of records, the same in every metadata engine: canonical bytes, columns to find by, the audit chain.

What a store accepts it must be able to give back, so a record is read again before it is written: a NaN in a float
field, for example, becomes a JSON null that no reader could decode.
"""

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

import msgspec

from rota.errors import Conflict, Corrupt, InvalidInput
from rota.records.kinds import BY_RECORD, Kind, key_parts, node
from rota.records.record import Record, decode, digest, encode
from rota.records.signal import AuditEntry

MAX_INTEGER = 2**63 - 1
UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL refuses a NUL, UTF-8 half a surrogate pair


@dataclass(frozen=True, slots=True)
class StoredField:
    """A field that records are found by; `path` may be dotted, `column` is its name in a table."""

    path: str
    column: str
    number: bool
    key: bool

    @property
    def stored_types(self) -> tuple[type, ...]:
        """Of the values in its column: the parts of a key are texts and always there."""
        return (str,) if self.key else (int if self.number else str, type(None))

    def stored(self, value: object) -> str | int:
        """A value asked for, as it is kept: key parts are texts, numbers among them zero-padded."""
        if isinstance(value, bool) or not isinstance(value, int if self.number else str):
            raise InvalidInput(
                f"field {self.path!r} is looked up by {'a whole number' if self.number else 'a text'}, not by {value!r}", field=self.path, value=value
            )
        stored = key_parts(value)[0] if self.key else value
        return _storable(self.path, stored)


def kind_of(record: type[Record]) -> Kind:
    """The row of KINDS for a record type."""
    if record not in BY_RECORD:
        raise InvalidInput(f"{getattr(record, '__name__', record)} is no stored kind; add it to rota.records.kinds.KINDS", record=str(record))
    return BY_RECORD[record]


@cache
def fields_of(kind: Kind) -> Mapping[str, StoredField]:
    """The key and index fields of a kind by path, key fields first and in order."""
    return {path: StoredField(path, path.replace(".", "_"), _is_number(kind.record, path), path in kind.key) for path in kind.key + kind.index}


def key_for(kind: Kind, parts: tuple[str | int, ...]) -> tuple[str, ...]:
    """The stored key for the parts a caller gives."""
    if len(parts) != len(kind.key):
        raise InvalidInput(f"a {kind.name} is named by {kind.key}, not by {len(parts)} parts {parts}", kind=kind.name, key=parts)
    return tuple(str(_storable(path, part)) for path, part in zip(kind.key, key_parts(*parts), strict=True))


def values_of(record: Record) -> dict[str, str | int | None]:
    """What the key and index columns hold for a record."""
    fields = fields_of(kind_of(type(record)))
    values = {}
    for field in fields.values():
        value = attrgetter(field.path)(record)
        values[field.column] = None if value is None else _storable(field.path, key_parts(value)[0] if field.key else value)
    return values


def body_of(record: Record) -> str:
    """Canonical JSON of a record, proven readable; raises `InvalidInput` for what would not come back."""
    name = type(record).__name__
    try:
        return encode(decode(encode(record), type(record))).decode()
    except (Corrupt, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"this {name} cannot be stored, it would not read back: {error}", record=name) from error


def json_of(value: object) -> str:
    """Canonical JSON of plain values such as a step's result."""
    try:
        return encode(value).decode()
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{type(value).__name__} value cannot be stored as JSON: {error}") from error


def same(body: str, other: str, record: type[Record]) -> bool:
    """Whether two bodies hold equal records, also when an older version of the code wrote one of them with fewer fields."""
    return body == other or encode(decode(body, record)) == encode(decode(other, record))


def check_unchanged(stored: str | None, record: Record, expected: Record) -> None:
    """Raise `Conflict` unless the body stored under a record's key holds the value `expected`."""
    if stored is None or type(expected) is not type(record) or not same(stored, body_of(expected), type(record)):
        seen = "is gone" if stored is None else "was changed by someone else"
        raise Conflict(f"{node(record)} {seen}; read it again, then decide", node=node(record))


def ordering(kind: Kind, order: str) -> tuple[list[StoredField], bool]:
    """The fields to sort by and whether descending; the key breaks ties, so "-x" is the exact reverse of "x"."""
    fields = fields_of(kind)
    key = [fields[path] for path in kind.key]
    if not order:
        return key, False
    first = field_of(kind, order.removeprefix("-"))
    return [first, *(field for field in key if field != first)], order.startswith("-")


def field_of(kind: Kind, path: str) -> StoredField:
    """The field by which records may be found; raises `InvalidInput` for any other."""
    fields = fields_of(kind)
    if path not in fields:
        raise InvalidInput(f"a {kind.name} cannot be found or ordered by {path!r}; possible are {list(fields)}", kind=kind.name, field=path)
    return fields[path]


def checked_limit(limit: int) -> int:
    """A number of rows to read at most."""
    if not 0 <= limit <= MAX_INTEGER:
        raise InvalidInput(f"limit {limit} must lie between 0 and {MAX_INTEGER}", limit=limit)
    return limit


def checked_position(position: int) -> int:
    """A place in the log of events or of audit entries, which need not be taken."""
    if abs(position) > MAX_INTEGER:
        raise InvalidInput(f"position {position} does not fit into 64 bits; a log begins behind position 0", position=position)
    return position


def listing_of(kind: Kind, where: Mapping[str, str | int] | None, order: str) -> tuple[object, ...]:
    """What decides the items of a list of records and their order."""
    return kind.name, sorted((where or {}).items()), order


def chained(entry: AuditEntry, position: int, previous: str) -> tuple[str, str]:
    """The text that an audit entry is kept as (its hash left empty) and the hash over the previous hash and that text."""
    text = body_of(msgspec.structs.replace(entry, position=position, previous=previous, hash=""))
    return text, digest(previous.encode() + text.encode())


def _is_number(record: type[Record], path: str) -> bool:
    hint: typing.Any = record
    for name in path.split("."):
        hint = typing.get_type_hints(hint)[name]
    return hint is int or int in typing.get_args(hint)


def _storable(path: str, value: str | int) -> str | int:
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise InvalidInput(f"field {path!r} = {value} does not fit into 64 bits", field=path)
    elif UNKEEPABLE.search(value):
        raise InvalidInput(f"field {path!r} = {value!r} holds a NUL or half a character, which no engine keeps", field=path)
    return value
