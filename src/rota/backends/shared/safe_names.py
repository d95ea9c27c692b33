"""Names, digests and keys that every backend of a port accepts or refuses alike, before an engine sees them."""

import re
from collections.abc import Sequence

from rota.errors import InvalidInput
from rota.records.record import check_name

MAX_KEY_BYTES = 500
MAX_PATH = 512
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_path(what: str, path: object) -> str:
    """A slash-separated name whose every part is safe; parts starting with '_' are left to the engines ("_delta_log")."""
    if not isinstance(path, str) or not 0 < len(path) <= MAX_PATH:
        raise InvalidInput(f"{what} name {path!r:.100} is not a text of 1-{MAX_PATH} characters", what=what, name=path)
    for part in path.split("/"):
        check_name(what, part)
        if part.startswith("_"):
            raise InvalidInput(f"{what} name {path!r}: the part {part!r} starts with '_', which engines keep for themselves", what=what, name=path)
    return path


def check_digest(digest: object) -> str:
    """A SHA-256 as 64 lower-case hexadecimal digits."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"{digest!r:.100} is no digest; expected 64 hexadecimal digits in lower case", digest=digest)
    return digest


def check_keys(keys: Sequence[bytes]) -> None:
    """Keys of the online store: 1-500 bytes each."""
    if not keys or (min(sizes := list(map(len, keys))) > 0 and max(sizes) <= MAX_KEY_BYTES):
        return
    for key in keys:
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise InvalidInput(f"online key {key[:20]!r} has {len(key)} bytes; it must have 1-{MAX_KEY_BYTES}", size_bytes=len(key))


def position_key(stream: str) -> bytes:
    """The key under which a stream's position is kept."""
    key = stream.encode()
    if not 0 < len(key) <= MAX_KEY_BYTES:
        raise InvalidInput(f"stream name {stream!r:.100} has {len(key)} bytes; it must have 1-{MAX_KEY_BYTES}", stream=stream)
    return key
