"""Blobs in memory: the reference that says what every blob store does."""

from collections.abc import Iterator

from rota.backends.safe_names import check_digest
from rota.errors import Corrupt, NotFound
from rota.records.record import digest as digest_of


class MemoryBlobs:
    """Blobs (port) of one process, gone with it. `stored` is open so that tests can damage it."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        self.stored[digest] = bytes(data)
        return digest

    def get(self, digest: str) -> bytes:
        data = self.stored.get(check_digest(digest))
        if data is None:
            raise NotFound(f"there is no blob {digest} in memory", digest=digest)
        if digest_of(data) != digest:
            raise Corrupt(f"blob {digest} in memory does not hold what was stored; put the same bytes again", digest=digest)
        return data

    def exists(self, digest: str) -> bool:
        return check_digest(digest) in self.stored

    def delete(self, digest: str) -> None:
        self.stored.pop(check_digest(digest), None)

    def digests(self) -> Iterator[str]:
        return iter(sorted(self.stored))
