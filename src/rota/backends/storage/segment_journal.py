"""A journal as append-only files ROOT/<stream>/<unix-us>-<pid>-<random>.seg, one being written per stream and process.

An entry is a 12-byte header (length, CRC-32 of the length, CRC-32 of the payload; little-endian) and the payload. The
length has a CRC of its own so that a damaged length cannot pass for a half-written tail. Bytes once written never change:
a writer that could not write an entry whole leaves its segment and goes on in a new one.

The writer holds an exclusive flock on its segment, which the kernel gives back however the process ends.
"""

import fcntl
import os
import re
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rota.backends.shared.disk_errors import disk_errors, unavailable
from rota.backends.shared.safe_names import check_path
from rota.errors import Corrupt, InvalidInput
from rota.ports.journal import Chunk

_HEADER = struct.Struct("<III")
_LENGTH = struct.Struct("<I")
_SEGMENT = re.compile(r"\d{16,}-\d+-[0-9a-f]+\.seg")
_LARGEST = 2**31 - 1


class SegmentJournal:
    """Journal (port) on a local file system. An append is one write to the kernel: it survives kill -9, with `sync` a power cut.

    A segment is left for a new one at `segment_bytes`. An entry larger than a reader's `max_bytes` comes alone in its chunk.
    """

    def __init__(self, root: Path, *, segment_bytes: int = 64_000_000) -> None:
        self._root = root.resolve()
        self._segment_bytes = segment_bytes
        self._pid = os.getpid()
        self._writers: dict[str, _Writer] = {}
        with disk_errors("opening the journal", self._root):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, stream: str, payloads: Sequence[bytes], *, sync: bool = False) -> tuple[str, int]:
        if os.getpid() != self._pid:  # after a fork the parent's segments stay the parent's
            self._leave_to_parent()
        writer = self._writers.get(stream) or self._writers.setdefault(stream, _Writer(self._folder(stream), self._segment_bytes))
        data = b"".join(map(_entry, payloads))
        try:
            return writer.append(data, sync)
        except OSError as error:
            raise unavailable(error, f"appending {len(data)} bytes to stream {stream!r}", self._root) from error

    def read(self, stream: str, after: dict[str, int] | None = None, *, max_bytes: int = 16_000_000) -> Iterator[Chunk]:
        offsets = after or {}
        for path in _segments(self._folder(stream)):
            yield from _chunks(path, offsets.get(path.name, 0), max_bytes)

    def drop(self, stream: str, segment: str, end: int) -> bool:
        folder = self._folder(stream)
        if not _SEGMENT.fullmatch(segment):
            raise InvalidInput(f"{segment!r} is no segment name of a journal", stream=stream, segment=segment)
        with disk_errors(f"dropping {segment} of stream {stream!r}", self._root):
            return _drop(folder / segment, end)

    def segments(self, stream: str) -> dict[str, int]:
        found = {}
        for path in _segments(self._folder(stream)):
            with suppress(FileNotFoundError):  # dropped since it was listed
                found[path.name] = path.stat().st_size
        return found

    def streams(self) -> list[str]:
        found = {path.parent.relative_to(self._root).as_posix() for path in self._root.rglob("*.seg")}
        return sorted(found)

    def close(self) -> None:
        """Give every segment back; a later append opens new ones."""
        if os.getpid() == self._pid:
            for writer in self._writers.values():
                writer.close()

    def _leave_to_parent(self) -> None:
        inherited = self._writers.values()
        self._pid, self._writers = os.getpid(), {}
        for writer in inherited:
            writer.forget()

    def _folder(self, stream: str) -> Path:
        return self._root / check_path("stream", stream)


class _Writer:
    """The segment that this process writes for one stream."""

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._name = ""
        self._size = 0

    def append(self, data: bytes, sync: bool) -> tuple[str, int]:
        with self._lock:
            if self._descriptor < 0 or (self._size and self._size + len(data) > self._segment_bytes):
                self._leave()
                self._open()
            self._write(data)
            if sync:
                self._sync()
            return self._name, self._size

    def close(self) -> None:
        with self._lock:
            self._leave()

    def forget(self) -> None:
        """Close the descriptor a fork inherited; the parent keeps its own, and with it the segment's lock."""
        self._leave()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            if len(rest) < len(data):  # a part was written, so the segment's tail is torn: nothing may follow it
                self._leave()
            raise
        self._size += len(data)

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError:
            self._leave()  # the kernel may have thrown the pages away: nothing may follow them
            raise

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in _segments(self._folder):
            if path.stat().st_size == 0:
                _drop(path, 0)
        while True:
            self._name = f"{time.time_ns() // 1_000:016d}-{os.getpid()}-{secrets.token_hex(4)}.seg"
            path = self._folder / self._name
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_file(descriptor, path):
                break
            os.close(descriptor)  # another process took the still empty segment for an abandoned one and dropped it
        self._descriptor, self._size = descriptor, 0
        _sync_directory(self._folder)

    def _leave(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _entry(payload: bytes) -> bytes:
    if len(payload) > _LARGEST:
        raise InvalidInput(f"a journal entry of {len(payload)} bytes is too large; the limit is {_LARGEST}", size_bytes=len(payload))
    length = _LENGTH.pack(len(payload))
    return _HEADER.pack(len(payload), zlib.crc32(length), zlib.crc32(payload)) + payload


def _segments(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _SEGMENT.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _chunks(path: Path, start: int, max_bytes: int) -> Iterator[Chunk]:
    """Chunks of one segment up to its size now, so that a busy writer cannot hold a reader for ever."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # dropped since it was listed
    with file:
        size = os.fstat(file.fileno()).st_size
        if start > size:
            raise Corrupt(f"segment {path} has {size} bytes, but {start} were read from it before; restore it", segment=path.name, size=size)
        while start < size:
            payloads, end = _entries(path, file.fileno(), start, size, max_bytes)
            if not payloads:
                return
            yield Chunk(path.name, start, end, payloads)
            start = end


def _entries(path: Path, descriptor: int, start: int, size: int, max_bytes: int) -> tuple[tuple[bytes, ...], int]:
    """Whole entries from `start`, together at most `max_bytes` of payload (the first one always), and where they end."""
    payloads: list[bytes] = []
    taken, at = 0, start
    data, base = b"", start
    while at + _HEADER.size <= size:
        if at + _HEADER.size > base + len(data):
            data, base = os.pread(descriptor, min(size - at, max_bytes + _HEADER.size), at), at
        length, length_crc, payload_crc = _HEADER.unpack_from(data, at - base)
        if zlib.crc32(_LENGTH.pack(length)) != length_crc:
            _check_torn(path, descriptor, at, size)
            break
        end = at + _HEADER.size + length
        if end > size or (payloads and taken + length > max_bytes):
            break
        if end > base + len(data):
            data, base = os.pread(descriptor, end - at, at), at
        payload = data[at + _HEADER.size - base : end - base]
        if zlib.crc32(payload) != payload_crc:
            if end == size:
                break  # the last entry: a power cut may leave its header without its payload
            raise _damaged(path, at)
        payloads.append(payload)
        taken, at = taken + length, end
    return tuple(payloads), at


def _check_torn(path: Path, descriptor: int, at: int, size: int) -> None:
    """A power cut may leave a tail of zeros; anything else that is no header is damage."""
    while at < size:
        piece = os.pread(descriptor, 1_000_000, at)
        if piece.strip(b"\0"):
            raise _damaged(path, at)
        at += len(piece)


def _damaged(path: Path, at: int) -> Corrupt:
    return Corrupt(f"segment {path} is damaged at byte {at}; restore the file, or set it aside to go on without its rest", segment=path.name, at=at)


def _drop(path: Path, end: int) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_file(descriptor, path) or _last_end(path) != end:
            return False
        path.unlink()
    except (BlockingIOError, Corrupt):
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _last_end(path: Path) -> int:
    """Where the last whole entry of a segment ends; what follows it in a segment that nobody holds is torn for ever."""
    return max((chunk.end for chunk in _chunks(path, 0, 1_000_000)), default=0)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
