"""What all records share: frozen msgspec structs, one JSON codec, checked names, content digests.

Structs rather than dataclasses because unions of them carry a tag, so a FeatureService reads back as it was written
(docs/decisions/0002-records.md). A field is added with a default; a field is removed one release after its last reader.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from rota.errors import Conflict, Corrupt, InvalidInput

R = TypeVar("R")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: controls, formats (zero width, bidirectional), surrogates, private use, unassigned, separators of lines and paragraphs."""
_encoder = msgspec.json.Encoder(order="deterministic")


class Record(msgspec.Struct, frozen=True, dict=False):
    """A noun of Rota: immutable, comparable by value, JSON on the wire and in every store."""


def encode(value: object) -> bytes:
    """Canonical JSON of a record or of plain values: equal values give equal bytes."""
    return _encoder.encode(value)


def decode(data: bytes | str, kind: type[R]) -> R:
    """The record that `encode` wrote; raises `Corrupt` when the bytes do not fit the type."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidInput, RecursionError) as error:
        raise Corrupt(f"stored {kind.__name__} cannot be read: {error}", kind=kind.__name__) from error


def plain(value: object) -> Any:
    """JSON-able builtins of a record (dicts, lists, numbers, texts)."""
    return msgspec.to_builtins(value)


def digest(data: bytes) -> str:
    """SHA-256 of bytes as 64 hexadecimal digits, the name under which a blob is stored."""
    return hashlib.sha256(data).hexdigest()


def check_name(what: str, name: object) -> str:
    """The name itself when it is safe in paths, keys and URLs; raises `InvalidInput` otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{what} name {name!r} is not allowed; use 1-128 letters, digits, '_', '-' or '.', not starting with '-' or '.'",
            what=what,
            name=name,
        )
    return name


def check_person(what: str, name: str) -> str:
    """The name of a person as it is stored, in NFKC; raises `InvalidInput` when it holds what a reader cannot see or what turns the text around."""
    unseen = sorted({f"U+{ord(each):04X}" for each in name if unicodedata.category(each) in _UNSEEN})
    if unseen:
        raise InvalidInput(
            f"{what} {name!a} holds characters that nobody sees, or that turn text around ({', '.join(unseen)}); write the name without them",
            what=what,
            name=name,
        )
    return unicodedata.normalize("NFKC", name)


def folded(name: str) -> str:
    """The form in which names are compared where people or tokens name things: case-folded and NFKC (Unicode 16, 3.13 D146)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def check_spelling(what: str, name: str, known: Iterable[str]) -> None:
    """Raise `Conflict` when a new name differs from a known one only in its spelling (case, width, composition); a known one passes."""
    known = set(known)
    other = next((each for each in sorted(known) if folded(each) == folded(name)), None)
    if other is not None and name not in known:
        raise Conflict(f"there is {what} {other!r} already, and {name!r} reads as the same name; write {other!r}, or choose another name", name=other)
