"""Blobs as files of one directory: ROOT/ab/abcdef..., the file's name being the SHA-256 of its bytes."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rota.backends.disk_errors import disk_errors
from rota.backends.safe_names import check_digest
from rota.errors import Corrupt, InvalidInput, NotFound
from rota.records.record import digest as digest_of

_ABANDONED_S = 3_600


class BlobDirectory:
    """Blobs (port) on a local file system.

    A blob is written to ROOT/incoming, synced, and renamed into place, so it appears whole and survives a power cut.
    What a killed process left in `incoming` is removed an hour later by whoever opens the directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._incoming = self._root / "incoming"
        with disk_errors("opening the blobs", self._root):
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_abandoned(self._incoming)

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        path = self._path(digest)
        with disk_errors(f"storing a blob of {len(data)} bytes", self._root):
            if not _holds(path, digest):
                self._write(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        path = self._path(digest)
        with disk_errors(f"reading blob {digest}", self._root):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                raise NotFound(f"there is no blob {digest} in {self._root}; was it deleted, or is this another home?", digest=digest) from None
        if digest_of(data) != digest:
            raise Corrupt(f"blob {digest} in {self._root} does not hold what was stored; put the same bytes again or restore it", digest=digest)
        return data

    def exists(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def delete(self, digest: str) -> None:
        with disk_errors(f"deleting blob {digest}", self._root):
            self._path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        for folder in sorted(self._root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                with suppress(InvalidInput):
                    yield check_digest(path.name)

    def _path(self, digest: str) -> Path:
        return self._root / check_digest(digest)[:2] / digest

    def _write(self, path: Path, data: bytes) -> None:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(self._root)
        temporary = self._incoming / secrets.token_hex(16)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def _holds(path: Path, digest: str) -> bool:
    """Whether the blob is there and undamaged; a damaged one is written again."""
    return path.exists() and digest_of(path.read_bytes()) == digest


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    oldest = time.time() - _ABANDONED_S
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
