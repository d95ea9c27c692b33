"""A backup place in an S3-compatible store: PREFIX/objects/ab/abcdef..., PREFIX/manifests/<id>.json, the manifest put last."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rota.backends.shared.disk_errors import disk_errors
from rota.backends.shared.safe_names import check_digest
from rota.backends.storage.backup_directory import MARK
from rota.backends.storage.s3_bucket import Bucket, open_bucket
from rota.errors import InvalidInput, NotFound, Refused
from rota.records.record import check_name

_IN_MEMORY = 34_000_000


class BackupBucket:
    """BackupPlace (port) in a bucket. It cannot hold back other writers: what a backup needs is looked for once more before its manifest is put."""

    def __init__(self, url: str) -> None:
        self._bucket: Bucket = open_bucket(url)

    def __str__(self) -> str:
        return self._bucket.url()

    @contextmanager
    def turn(self) -> Iterator[None]:
        if not self._bucket.has(MARK):
            if next(self._bucket.paths(), None) is not None:
                raise Refused(f"{self} is not empty and no place for backups (it has no object {MARK}); give a new prefix", place=str(self))
            self._bucket.write(MARK, b"")
        yield

    def objects(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path, size, _ in self._bucket.listed("objects"):
            with suppress(InvalidInput):
                found[check_digest(path.rpartition("/")[2])] = size
        return found

    def write(self, chunks: Iterable[bytes], *, digest: str = "") -> tuple[str, int]:
        found, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            for chunk in chunks:
                if not digest:
                    found.update(chunk)
                size += len(chunk)
                with disk_errors("spooling a backup", Path(tempfile.gettempdir())):
                    spool.write(chunk)
            digest = digest or found.hexdigest()
            spool.seek(0)
            self._bucket.write_file(_path(digest), spool)
        return digest, size

    def read(self, digest: str, offset: int, size: int) -> Iterator[bytes]:
        pieces = self._bucket.pieces(_path(digest), (offset, offset + size)) if size else iter(())
        if pieces is None:
            raise NotFound(f"object {digest} is missing in {self}", digest=digest)
        yield from pieces

    def discard(self, digest: str) -> None:
        self._bucket.delete(_path(digest))

    def ids(self) -> list[str]:
        return sorted(path.rpartition("/")[2].removesuffix(".json") for path in self._bucket.paths("manifests") if path.endswith(".json"))

    def manifest(self, id: str) -> bytes:
        found = self._bucket.read(_manifest(id))
        if found is None:
            raise NotFound(f"there is no backup {id!r} in {self}; `rota backup list` shows those that there are", id=id)
        return found

    def finish(self, id: str, manifest: bytes) -> None:
        self._bucket.write(_manifest(id), manifest)

    def forget(self, id: str) -> None:
        self._bucket.delete(_manifest(id))


def _path(digest: str) -> str:
    return f"objects/{check_digest(digest)[:2]}/{digest}"


def _manifest(id: str) -> str:
    return f"manifests/{check_name('backup', id)}.json"
