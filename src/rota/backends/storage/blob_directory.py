"""Blobs as files of one directory: ROOT/ab/abcdef..., the file's name being the SHA-256 of its bytes."""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from rota.backends.shared.disk_errors import disk_errors
from rota.backends.shared.safe_names import check_digest
from rota.durable_files import make_directories, sync_directory
from rota.errors import Corrupt, InvalidInput, NotFound
from rota.records.record import digest as digest_of
from rota.records.time import Micros

T = TypeVar("T")
_ABANDONED_S = 3_600
_PIECE = 1_048_576


class BlobDirectory:
    """Blobs (port) on a local file system.

    A blob is written to ROOT/incoming, synced, and renamed into place, so it appears whole and survives a power cut.
    What a killed process left in `incoming` is removed by whoever opens the directory an hour after its last byte.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._incoming = self._root / "incoming"
        with disk_errors("opening the blobs", self._root):
            make_directories(self._incoming)
            _remove_abandoned(self._incoming)

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        path = self._path(digest)
        with disk_errors(f"storing a blob of {len(data)} bytes", self._root):
            if _kept_young(path, digest):
                sync_directory(path.parent)  # whoever put it a moment ago may not have come to that
            else:
                self._write(path, data)
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        found, size = hashlib.sha256(), 0
        with self._incoming_file() as (temporary, file):
            for chunk in chunks:  # what the caller's iterator raises is the caller's
                found.update(chunk)
                size += len(chunk)
                with disk_errors("storing a blob", self._root):
                    file.write(chunk)
            digest = found.hexdigest()
            with disk_errors(f"storing a blob of {size} bytes", self._root):
                self._place(temporary, file, self._path(digest))
        return digest, size

    def get(self, digest: str) -> bytes:
        with disk_errors(f"reading blob {digest}", self._root):
            data = self._found(digest, lambda path: path.read_bytes())
        if digest_of(data) != digest:
            raise self._damaged(digest)
        return data

    def stream(self, digest: str) -> Iterator[bytes]:
        with disk_errors(f"reading blob {digest}", self._root):
            file = self._found(digest, lambda path: path.open("rb"))
        return self._pieces(file, digest)

    def size(self, digest: str) -> int:
        with disk_errors(f"looking at blob {digest}", self._root):
            return self._found(digest, lambda path: path.stat().st_size)

    def exists(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def delete(self, digest: str) -> None:
        with disk_errors(f"deleting blob {digest}", self._root):
            self._path(digest).unlink(missing_ok=True)

    def touched_us(self, digest: str) -> Micros:
        with disk_errors(f"looking at blob {digest}", self._root):
            return _touched_us(self._found(digest, lambda path: path.stat()))

    def expire(self, digest: str, before_us: Micros) -> bool:
        """The blob is taken aside first: a put that comes later finds nothing and writes it again, one that came before has made it young."""
        path, aside = self._path(digest), self._incoming / secrets.token_hex(16)
        with disk_errors(f"expiring blob {digest}", self._root):
            try:
                if _touched_us(path.stat()) >= before_us:
                    return False
                path.rename(aside)
            except FileNotFoundError:
                return False
            if _touched_us(aside.stat()) >= before_us:
                aside.rename(path)
                return False
            aside.unlink()
        return True

    def digests(self) -> Iterator[str]:
        for folder in sorted(self._root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                with suppress(InvalidInput):
                    yield check_digest(path.name)

    def _path(self, digest: str) -> Path:
        return self._root / check_digest(digest)[:2] / digest

    def _found(self, digest: str, look: Callable[[Path], T]) -> T:
        try:
            return look(self._path(digest))
        except FileNotFoundError:
            raise NotFound(f"there is no blob {digest} in {self._root}; was it deleted, or is this another home?", digest=digest) from None

    def _damaged(self, digest: str) -> Corrupt:
        return Corrupt(f"blob {self._path(digest)} does not hold what was stored; put the same bytes again or restore that file", digest=digest)

    def _pieces(self, file: BinaryIO, digest: str) -> Iterator[bytes]:
        found = hashlib.sha256()
        with file:
            while piece := self._read(file, digest):
                found.update(piece)
                yield piece
        if found.hexdigest() != digest:
            raise self._damaged(digest)

    def _read(self, file: BinaryIO, digest: str) -> bytes:
        with disk_errors(f"reading blob {digest}", self._root):
            return file.read(_PIECE)

    def _write(self, path: Path, data: bytes) -> None:
        with self._incoming_file() as (temporary, file):
            file.write(data)
            self._place(temporary, file, path)

    @contextmanager
    def _incoming_file(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file in `incoming`, gone afterwards unless it was placed."""
        temporary = self._incoming / secrets.token_hex(16)
        try:
            with disk_errors("storing a blob", self._root):
                file = temporary.open("xb")
            try:
                yield temporary, file
            finally:
                with suppress(OSError):  # what was placed is on disk already, the rest is not wanted
                    file.close()
        finally:
            temporary.unlink(missing_ok=True)

    def _place(self, temporary: Path, file: BinaryIO, path: Path) -> None:
        """Let the written file appear as the blob, for good."""
        file.flush()
        os.fsync(file.fileno())
        make_directories(path.parent)
        temporary.rename(path)
        sync_directory(path.parent)


def _kept_young(path: Path, digest: str) -> bool:
    """Whether the blob is there and undamaged, and put anew as of now; a damaged one, or one that just expired, is written again."""
    try:
        if digest_of(path.read_bytes()) != digest:
            return False
        os.utime(path, ns=(time.time_ns(),) * 2)  # the kernel's own stamp is up to 10 ms late
        path.stat()  # an expiry may have taken the file aside while its time was being set, and have seen the old time
    except FileNotFoundError:
        return False
    return True


def _touched_us(found: os.stat_result) -> Micros:
    return found.st_mtime_ns // 1_000


def _remove_abandoned(folder: Path) -> None:
    oldest = time.time() - _ABANDONED_S
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
