"""Blobs: immutable bytes named by their SHA-256."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from rota.records.time import Micros


class Blobs(Protocol):
    """Content-addressed storage.

    Law: `put` returns the digest (64 hex digits) and is atomic, durable on return and idempotent: no reader ever sees half a
    blob, and a kill leaves no visible rest. `get` checks the digest on every read and raises `Corrupt` on a mismatch,
    `NotFound` for an unknown digest, `InvalidInput` for a text that is no digest (never touching the engine).
    `put_stream` and `stream` do the same in pieces of bounded size, whatever the blob's (digest and size in bytes are returned;
    an iterator that raises leaves nothing; `stream` raises `Corrupt` at the end, so what was read counts only when it ended).
    `size` is in bytes, `NotFound` when there is none. `digests` names every blob; `delete` of a missing blob is a no-op. Thread-safe, multi-process.
    `touched_us` is when the bytes were last put (also when they were there already), by the store's own clock, `NotFound` when
    there is none. `expire` deletes a blob that was last put before the moment and returns whether it did; a put that returns
    while it does so is not lost.
    """

    def put(self, data: bytes) -> str: ...

    def put_stream(self, chunks: Iterable[bytes]) -> tuple[str, int]: ...

    def get(self, digest: str) -> bytes: ...

    def stream(self, digest: str) -> Iterator[bytes]: ...

    def size(self, digest: str) -> int: ...

    def exists(self, digest: str) -> bool: ...

    def delete(self, digest: str) -> None: ...

    def touched_us(self, digest: str) -> Micros: ...

    def expire(self, digest: str, before_us: Micros) -> bool: ...

    def digests(self) -> Iterator[str]: ...
