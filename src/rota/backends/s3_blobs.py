"""Blobs as objects of a bucket: PREFIX/ab/abcdef..., the object's name being the SHA-256 of its bytes."""

from collections.abc import Iterator
from contextlib import suppress

from rota.backends.s3_bucket import Bucket
from rota.backends.safe_names import check_digest
from rota.errors import Corrupt, InvalidInput, NotFound
from rota.records.record import digest as digest_of


class S3Blobs:
    """Blobs (port) in an S3-compatible store.

    A put is one request (several parts where the blob is large), which the store applies whole or not at all; two at once
    write the same bytes under the same name.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        # Written even where it is: what is there may be damaged, and asking costs as much as writing a small one.
        self._bucket.write(_path(digest), data)
        return digest

    def get(self, digest: str) -> bytes:
        data = self._bucket.read(_path(digest))
        if data is None:
            raise NotFound(f"there is no blob {digest} in {self._bucket}; was it deleted, or is this another home?", digest=digest)
        if digest_of(data) != digest:
            raise Corrupt(f"blob {digest} in {self._bucket} does not hold what was stored; put the same bytes again or restore it", digest=digest)
        return data

    def exists(self, digest: str) -> bool:
        return self._bucket.has(_path(digest))

    def delete(self, digest: str) -> None:
        self._bucket.delete(_path(digest))

    def digests(self) -> Iterator[str]:
        for path in self._bucket.paths():
            with suppress(InvalidInput):
                yield check_digest(path.rpartition("/")[2])


def _path(digest: str) -> str:
    return f"{check_digest(digest)[:2]}/{digest}"
