"""Blobs as objects of a bucket: PREFIX/ab/abcdef..., the object's name being the SHA-256 of its bytes."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from rota.backends.shared.disk_errors import disk_errors
from rota.backends.shared.safe_names import check_digest
from rota.backends.storage.s3_bucket import Bucket
from rota.errors import Corrupt, InvalidInput, NotFound
from rota.records.record import digest as digest_of
from rota.records.time import Micros

_IN_MEMORY = 8_000_000


class S3Blobs:
    """Blobs (port) in an S3-compatible store.

    A put is one request (several parts where the blob is large), which the store applies whole or not at all; two at once
    write the same bytes under the same name. A stream's name is known at its end, so it is spooled to a temporary file
    first: an upload under another name would cost a copy and leave rests that nobody owns.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        # Written even where it is: what is there may be damaged, and asking costs as much as writing a small one.
        self._bucket.write(_path(digest), data)
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        found, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            for chunk in chunks:
                found.update(chunk)
                size += len(chunk)
                with disk_errors("spooling an upload", Path(tempfile.gettempdir())):
                    spool.write(chunk)
            spool.seek(0)
            self._bucket.write_file(_path(found.hexdigest()), spool)
        return found.hexdigest(), size

    def get(self, digest: str) -> bytes:
        data = self._bucket.read(_path(digest))
        if data is None:
            raise self._missing(digest)
        if digest_of(data) != digest:
            raise self._damaged(digest)
        return data

    def stream(self, digest: str) -> Iterator[bytes]:
        pieces = self._bucket.pieces(_path(digest))
        if pieces is None:
            raise self._missing(digest)
        return self._checked(pieces, digest)

    def size(self, digest: str) -> int:
        path = _path(digest)
        if not self._bucket.has(path):  # `Bucket.size` takes a missing object for damage
            raise self._missing(digest)
        return self._bucket.size(path)

    def exists(self, digest: str) -> bool:
        return self._bucket.has(_path(digest))

    def delete(self, digest: str) -> None:
        self._bucket.delete(_path(digest))

    def touched_us(self, digest: str) -> Micros:
        found = self._bucket.written_us(_path(digest))
        if found is None:
            raise self._missing(digest)
        return found

    def expire(self, digest: str, before_us: Micros) -> bool:
        """Two requests: a put between them would be lost, so `before_us` should lie well before now, as a grace of hours does."""
        found = self._bucket.written_us(_path(digest))
        if found is None or found >= before_us:
            return False
        self._bucket.delete(_path(digest))
        return True

    def digests(self) -> Iterator[str]:
        for path in self._bucket.paths():
            with suppress(InvalidInput):
                yield check_digest(path.rpartition("/")[2])

    def _checked(self, pieces: Iterator[bytes], digest: str) -> Iterator[bytes]:
        found = hashlib.sha256()
        for piece in pieces:
            found.update(piece)
            yield piece
        if found.hexdigest() != digest:
            raise self._damaged(digest)

    def _missing(self, digest: str) -> NotFound:
        return NotFound(f"there is no blob {digest} in {self._bucket}; was it deleted, or is this another home?", digest=digest)

    def _damaged(self, digest: str) -> Corrupt:
        return Corrupt(f"blob {digest} in {self._bucket} does not hold what was stored; put the same bytes again or restore it", digest=digest)


def _path(digest: str) -> str:
    return f"{check_digest(digest)[:2]}/{digest}"
