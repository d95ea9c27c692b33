"""Copying into a backup place: large files as objects of their own, small ones packed together, and nothing that is there already.

A pack is one object, so that many small files cost few syncs or requests; each file in it has its place and its own digest.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from rota.errors import Corrupt, NotFound
from rota.ports.backup import BackupPlace, SourceFile
from rota.records.backup import BLOBS, BackedFile, BackupManifest
from rota.records.record import digest as digest_of

LARGE = 1_000_000
"""Bytes from which on a file is an object of its own."""
PACK = 16_000_000
_THREADS = 4
_WAITING = 8


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a backup, a verification or a restore is: bytes dealt with, and the bytes in all as far as they are known."""

    done_bytes: int
    total_bytes: int
    copied_bytes: int = 0


Report = Callable[[CopyProgress], None]


class Copier:
    """Copies files into a place; `known` is the newest backup there, whose files need not be read again where their stamp is the same.

    `tick` is called every now and then, and may raise to end it.
    """

    def __init__(self, place: BackupPlace, known: BackupManifest | None, tick: Callable[[], None], report: Report) -> None:
        self.copied_bytes = 0
        self.faults: list[str] = []
        self.total_bytes = 0
        self._place, self._tick, self._report = place, tick, report
        self._sizes = place.objects()
        self._whole = {name: size for name, size in known.objects.items() if self._sizes.get(name) == size} if known else {}
        files = [file for file in known.files if file.object in self._whole] if known else []
        self._by_path = {file.path: file for file in files if file.stamp}
        self._by_digest = {file.digest: file for file in files}
        self._files: dict[str, BackedFile] = {}
        self._done = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="backup")
        self._waiting: set[Future[None]] = set()
        self._pack: list[tuple[SourceFile, str, bytes]] = []
        self._packed = 0

    def known_size(self, digest: str) -> int | None:
        """The size of a file with this digest that lies in the place, as its manifest says."""
        found = self._by_digest.get(digest)
        return found.size if found else None

    def add(self, file: SourceFile) -> None:
        """Take a file into the backup."""
        self._tick()
        there = self._found(file)
        if there is not None:
            self._keep(file, there.digest, there.object, there.offset, there.size)
        elif file.size_bytes >= LARGE:
            self._submit(lambda: self._copy(file))
        else:
            self._add_small(file)

    def finish(self) -> tuple[tuple[BackedFile, ...], dict[str, int]]:
        """Every file of the backup, once all of them are in the place, and the sizes of the objects that they lie in."""
        self._write_pack()
        while self._waiting:
            self._settle()
        files = tuple(self._files[path] for path in sorted(self._files))
        return files, {file.object: self._whole[file.object] for file in files}

    def close(self) -> None:
        """End the threads; what is not copied yet will not be."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _found(self, file: SourceFile) -> BackedFile | None:
        """The file as it lies in the place, where it does and that can be told without reading it."""
        if file.digest:
            if self._sizes.get(file.digest) == file.size_bytes:
                self._whole[file.digest] = file.size_bytes
                return BackedFile(file.path, file.size_bytes, file.digest, file.digest)
            return self._by_digest.get(file.digest)
        before = self._by_path.get(file.path) if file.stamp else None
        return before if before is not None and (before.size, before.stamp) == (file.size_bytes, file.stamp) else None

    def _keep(self, file: SourceFile, digest: str, object_: str, offset: int, size: int) -> None:
        with self._lock:
            self._files[file.path] = BackedFile(file.path, size, digest, object_, offset, file.stamp)
            self._by_digest.setdefault(digest, self._files[file.path])
            self._done += size
            progress = CopyProgress(self._done, max(self.total_bytes, self._done), self.copied_bytes)
        self._report(progress)

    def _add_small(self, file: SourceFile) -> None:
        try:
            data = b"".join(file.read())
        except (NotFound, Corrupt) as error:
            self._lacks(file, error)
            return
        digest = file.digest or digest_of(data)
        with self._lock:
            there = self._by_digest.get(digest)
        if there is not None:
            self._keep(file, digest, there.object, there.offset, there.size)
            return
        if self._packed + len(data) > PACK:
            self._write_pack()
        self._pack.append((file, digest, data))
        self._packed += len(data)

    def _write_pack(self) -> None:
        pack, self._pack, self._packed = self._pack, [], 0
        if pack:
            self._submit(lambda: self._copy_pack(pack))

    def _copy_pack(self, pack: list[tuple[SourceFile, str, bytes]]) -> None:
        object_, size = self._place.write([b"".join(data for _, _, data in pack)])
        offset = 0
        with self._lock:
            self.copied_bytes += size
            self._whole[object_] = size
        for file, digest, data in pack:
            self._keep(file, digest, object_, offset, len(data))
            offset += len(data)

    def _copy(self, file: SourceFile) -> None:
        try:
            digest, size = self._place.write(self._ticking(file.read()), digest=file.digest)
        except (NotFound, Corrupt) as error:
            self._lacks(file, error)
            return
        with self._lock:
            self.copied_bytes += size
            self._whole[digest] = size
        self._keep(file, digest, digest, 0, size)

    def _ticking(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._tick()
            yield chunk

    def _lacks(self, file: SourceFile, error: Exception) -> None:
        """A blob that nothing named any more may have been collected by a collection that had begun before; all else is a fault of the platform."""
        if not (file.path.startswith(BLOBS) and isinstance(error, NotFound)):
            with self._lock:
                self.faults.append(f"{file.path}: {error}")

    def _submit(self, work: Callable[[], None]) -> None:
        while len(self._waiting) >= _WAITING:
            self._settle()
        self._waiting.add(self._pool.submit(work))

    def _settle(self) -> None:
        done, self._waiting = wait(self._waiting, return_when=FIRST_COMPLETED)
        for each in done:
            each.result()


def lacking(place: BackupPlace, needed: Mapping[str, int]) -> list[str]:
    """The objects that a backup needs and that the place does not have whole."""
    there = place.objects()
    return sorted(name for name, size in needed.items() if there.get(name) != size)
