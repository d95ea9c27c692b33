"""Blobs: immutable bytes named by their SHA-256."""

from collections.abc import Iterator
from typing import Protocol


class Blobs(Protocol):
    """Content-addressed storage.

    Law: `put` returns the digest (64 hex digits) and is atomic, durable on return and idempotent: no reader ever sees half a
    blob, and a kill leaves no visible rest. `get` checks the digest on every read and raises `Corrupt` on a mismatch,
    `NotFound` for an unknown digest, `InvalidInput` for a text that is no digest (never touching the engine).
    `delete` of a missing blob is a no-op. Thread-safe, multi-process.
    """

    def put(self, data: bytes) -> str: ...

    def get(self, digest: str) -> bytes: ...

    def exists(self, digest: str) -> bool: ...

    def delete(self, digest: str) -> None: ...

    def digests(self) -> Iterator[str]: ...
