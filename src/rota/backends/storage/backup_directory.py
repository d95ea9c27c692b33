"""A backup place in a directory: PLACE/objects/ab/abcdef..., PLACE/manifests/<id>.json, readable by its owner only.

An object is written to PLACE/incoming, synced, and renamed into place; the folders are synced before a manifest is, and that is renamed
last. So what a killed process or a power cut leaves has no manifest, or everything that its manifest names.
"""

import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rota.backends.shared.disk_errors import disk_errors
from rota.backends.shared.safe_names import check_digest
from rota.durable_files import sync_directory
from rota.errors import InvalidInput, NotFound, Refused
from rota.records.record import check_name

MARK = "rota-backups"
"""A file of this name makes a directory, and an object of it a prefix, a place for backups."""
_PIECE = 1_048_576


class BackupDirectory:
    """BackupPlace (port) on a local file system; made with mode 0700 when it is written first."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._touched: set[Path] = set()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return str(self._root)

    @contextmanager
    def turn(self) -> Iterator[None]:
        with disk_errors("opening the backups", self._root):
            self._make()
            descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(f"another process writes backups into {self} at this moment; wait until it is done", place=str(self)) from None
            for left in (self._root / "incoming").iterdir():  # of a process that was killed
                left.unlink()
            yield
        finally:
            os.close(descriptor)

    def objects(self) -> dict[str, int]:
        found: dict[str, int] = {}
        with disk_errors("listing the backups", self._root):
            for folder in self._root.glob("objects/[0-9a-f][0-9a-f]"):
                for entry in os.scandir(folder):
                    with suppress(InvalidInput):
                        found[check_digest(entry.name)] = entry.stat().st_size
        return found

    def write(self, chunks: Iterable[bytes], *, digest: str = "") -> tuple[str, int]:
        found, size = hashlib.sha256(), 0
        temporary = self._root / "incoming" / secrets.token_hex(16)
        try:
            with disk_errors("storing a backup", self._root):
                file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
            with file:
                for chunk in chunks:
                    if not digest:
                        found.update(chunk)
                    size += len(chunk)
                    with disk_errors("storing a backup", self._root):
                        _write_all(file.fileno(), chunk)
                digest = digest or found.hexdigest()
                with disk_errors("storing a backup", self._root):
                    os.fsync(file.fileno())
                    self._place(temporary, self._path(digest))
        finally:
            temporary.unlink(missing_ok=True)
        return digest, size

    def read(self, digest: str, offset: int, size: int) -> Iterator[bytes]:
        with disk_errors(f"reading object {digest}", self._root):
            try:
                file = self._path(digest).open("rb")
            except FileNotFoundError:
                raise NotFound(f"object {digest} is missing in {self}", digest=digest) from None
            with file:
                file.seek(offset)
                while size and (piece := file.read(min(size, _PIECE))):
                    size -= len(piece)
                    yield piece

    def discard(self, digest: str) -> None:
        with disk_errors(f"removing object {digest}", self._root):
            self._path(digest).unlink(missing_ok=True)

    def ids(self) -> list[str]:
        with disk_errors("listing the backups", self._root):
            return sorted(path.stem for path in self._root.glob("manifests/*.json"))

    def manifest(self, id: str) -> bytes:
        with disk_errors(f"reading the manifest of backup {id}", self._root):
            try:
                return self._manifest(id).read_bytes()
            except FileNotFoundError:
                raise NotFound(f"there is no backup {id!r} in {self}; `rota backup list` shows those that there are", id=id) from None

    def finish(self, id: str, manifest: bytes) -> None:
        path, temporary = self._manifest(id), self._root / "incoming" / f"{id}.json"
        with disk_errors(f"finishing backup {id}", self._root):
            with self._lock:
                folders, self._touched = self._touched, set()
            for folder in {*folders, self._root / "objects", self._root}:
                sync_directory(folder)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(manifest)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            sync_directory(path.parent)

    def forget(self, id: str) -> None:
        with disk_errors(f"removing backup {id}", self._root):
            self._manifest(id).unlink(missing_ok=True)
            sync_directory(self._root / "manifests")

    def _make(self) -> None:
        """A place is a new or empty directory, or one with our mark."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = self._root / MARK
        if not mark.exists():
            if any(self._root.iterdir()):
                raise Refused(f"{self} is not empty and no place for backups (it has no file {MARK}); give a new directory", place=str(self))
            mark.touch(mode=0o600)
        for name in ("objects", "manifests", "incoming"):
            (self._root / name).mkdir(mode=0o700, exist_ok=True)

    def _place(self, temporary: Path, path: Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary.rename(path)
        with self._lock:
            self._touched.add(path.parent)

    def _path(self, digest: str) -> Path:
        return self._root / "objects" / check_digest(digest)[:2] / digest

    def _manifest(self, id: str) -> Path:
        return self._root / "manifests" / f"{check_name('backup', id)}.json"


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
