"""An envelope for model bytes without a checksum of their own: a header line with the SHA-256 of what follows.

Damage is seen before a native parser is given anything. An envelope proves nothing about who made it: parsers behind it still
treat what it holds as foreign.
"""

import hashlib

from rota.errors import Corrupt, InvalidInput

_LONGEST_HEADER = 200
LARGEST = 2_000_000_000
"""Bytes of a model, before and after it is unpacked: more than this is refused before it is parsed."""


def wrapped(magic: str, data: bytes) -> bytes:
    """The bytes in an envelope of this kind."""
    check_size(magic, data)
    return f"{magic} {hashlib.sha256(data).hexdigest()}\n".encode() + data


def unwrapped(magic: str, data: bytes) -> bytes:
    """What the envelope holds; raises `Corrupt` unless it is one of this kind and undamaged."""
    header = bytes(data[:_LONGEST_HEADER]).partition(b"\n")[0]
    body = data[len(header) + 1 :]
    if len(data) > LARGEST or header != f"{magic} {hashlib.sha256(body).hexdigest()}".encode():
        raise Corrupt(f"these bytes are no model that Rota kept as {magic.removeprefix('rota-')}, or they are damaged; restore the blob")
    return body


def bare(magic: str, file: bytes) -> bytes:
    """The framework's own bytes of a file, which may lie in an envelope already."""
    return unwrapped(magic, file) if file.startswith(magic.encode() + b" ") else file


def check_size(what: str, data: bytes) -> None:
    """Refuse what is too large to be held in memory twice."""
    if not data or len(data) > LARGEST:
        raise InvalidInput(f"a {what} file of {len(data)} bytes is not taken; it must have 1 to {LARGEST} bytes", size=len(data))
