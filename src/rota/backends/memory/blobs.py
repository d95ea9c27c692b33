"""Blobs in memory: the reference that says what every blob store does."""

import time
from collections.abc import Iterable, Iterator

from rota.backends.shared.safe_names import check_digest
from rota.errors import Corrupt, NotFound
from rota.records.record import digest as digest_of
from rota.records.time import Micros

_PIECE = 1_048_576


class MemoryBlobs:
    """Blobs (port) of one process, gone with it. `stored` and `touched` are open so that tests can damage and age it."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.touched: dict[str, Micros] = {}

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        self.stored[digest] = bytes(data)
        self.touched[digest] = time.time_ns() // 1_000
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        data = b"".join(chunks)
        return self.put(data), len(data)

    def get(self, digest: str) -> bytes:
        data = self.stored.get(check_digest(digest))
        if data is None:
            raise NotFound(f"there is no blob {digest} in memory", digest=digest)
        if digest_of(data) != digest:
            raise Corrupt(f"blob {digest} in memory does not hold what was stored; put the same bytes again", digest=digest)
        return data

    def stream(self, digest: str) -> Iterator[bytes]:
        data = self.get(digest)
        return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))

    def size(self, digest: str) -> int:
        return len(self.stored[digest]) if self.exists(digest) else len(self.get(digest))

    def exists(self, digest: str) -> bool:
        return check_digest(digest) in self.stored

    def delete(self, digest: str) -> None:
        self.stored.pop(check_digest(digest), None)

    def touched_us(self, digest: str) -> Micros:
        self.size(digest)
        return self.touched.get(digest, 0)

    def expire(self, digest: str, before_us: Micros) -> bool:
        if not self.exists(digest) or self.touched_us(digest) >= before_us:
            return False
        self.delete(digest)
        return True

    def digests(self) -> Iterator[str]:
        return iter(sorted(self.stored))
