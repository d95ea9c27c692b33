"""A journal as append-only files ROOT/<stream>/<unix-us>-<pid>-<random>.seg, one being written per stream and process.

An entry is a 12-byte header (length, CRC-32 of the length, CRC-32 of the payload; little-endian) and the payload. The
length has a CRC of its own so that a damaged length cannot pass for a half-written tail. Bytes once written never change:
a writer that could not write an entry whole leaves its segment and goes on in a new one.

The writer holds an exclusive flock on its segment, which the kernel gives back however the process ends.

Damage costs the entry it is in and no other: a reader goes on with the next whole one, and when the segment has been read it is moved
to ROOT/damaged instead of removed. What a kill or a power cut leaves at the end of a segment is no damage.

A segment that somebody removed, moved or cut while it is written would take entries into the void: each append looks at it first, goes on
in a new one, and leaves a note in ROOT/damaged.
"""

import errno
import fcntl
import logging
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
from rota.durable_files import make_directories, sync_directory
from rota.errors import InvalidInput
from rota.ports.journal import Chunk, DamagedSegment

logger = logging.getLogger("rota.storage")

_HEADER = struct.Struct("<III")
_LENGTH = struct.Struct("<I")
_SEGMENT = re.compile(r"\d{16,}-\d+-[0-9a-f]+\.seg")
_LARGEST = 2**31 - 1
_PAGE = 4_096
_DAMAGED = "damaged"
_SET_APART = ".damaged"
"""What the name of a segment in `_DAMAGED` ends with: it is no segment of any stream."""
_GONE = ".gone"
"""What the name of a note in `_DAMAGED` ends with, about a segment that was taken away while it was written."""


class SegmentJournal:
    """Journal (port) on a local file system. An append is one write to the kernel: it survives kill -9, with `sync` a power cut.

    A segment is left for a new one at `segment_bytes`. An entry larger than a reader's `max_bytes` comes alone in its chunk.
    """

    def __init__(self, root: Path, *, segment_bytes: int = 64_000_000) -> None:
        self._root = root.resolve()
        self._segment_bytes = segment_bytes
        self._pid = os.getpid()
        self._writers: dict[str, _Writer] = {}
        self._damage: dict[Path, str] = {}
        with disk_errors("opening the journal", self._root):
            make_directories(self._root)

    def append(self, stream: str, payloads: Sequence[bytes], *, sync: bool = False) -> tuple[str, int]:
        if os.getpid() != self._pid:  # after a fork the parent's segments stay the parent's
            self._leave_to_parent()
        writer = self._writers.get(stream) or self._writers.setdefault(stream, _Writer(self._root, check_path("stream", stream), self._segment_bytes))
        data = b"".join(map(_entry, payloads))
        try:
            return writer.append(data, sync)
        except OSError as error:
            raise unavailable(error, f"appending {len(data)} bytes to stream {stream!r}", self._root) from error

    def read(self, stream: str, after: dict[str, int] | None = None, *, max_bytes: int = 16_000_000) -> Iterator[Chunk]:
        offsets = after or {}
        for path in _segments(self._folder(stream)):
            yield from self._chunks(path, offsets.get(path.name, 0), max_bytes)

    def drop(self, stream: str, segment: str, end: int) -> bool:
        folder = self._folder(stream)
        if not _SEGMENT.fullmatch(segment):
            raise InvalidInput(f"{segment!r} is no segment name of a journal", stream=stream, segment=segment)
        with disk_errors(f"dropping {segment} of stream {stream!r}", self._root):
            return self._dropped(folder / segment, end)

    def damaged(self) -> list[DamagedSegment]:
        apart, found = self._root / _DAMAGED, []
        for path in sorted(apart.rglob(f"*{_SET_APART}")):
            stream = path.parent.relative_to(apart).as_posix()
            found.append(DamagedSegment(stream, path.name.removesuffix(_SET_APART), str(path), "set apart, its other entries were read"))
        for note in sorted(apart.rglob(f"*{_GONE}")):
            stream, why = note.parent.relative_to(apart).as_posix(), note.read_text(errors="replace")
            found.append(DamagedSegment(stream, note.name.removesuffix(_GONE), str(note), why))
        in_place = [(path, why) for path, why in self._damage.items() if path.exists()]
        return found + [DamagedSegment(path.parent.relative_to(self._root).as_posix(), path.name, str(path), why) for path, why in in_place]

    def _chunks(self, path: Path, start: int, max_bytes: int) -> Iterator[Chunk]:
        """Chunks of one segment up to its size now, so that a busy writer cannot hold a reader for ever."""
        with disk_errors("reading the journal", path):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return  # dropped since it was listed
        try:
            size = os.fstat(descriptor).st_size
            if start > size:
                self._note(path, f"it has {size} bytes, and {start} were read from it before")
                return
            while start < size:
                with disk_errors("reading the journal", path):
                    entries = _Entries(descriptor, start, size, max_bytes)
                for at in entries.damaged:
                    self._note(path, f"an entry at byte {at} is not what was written")
                if not entries.payloads:
                    return
                yield Chunk(path.name, start, entries.end, tuple(entries.payloads))
                start = entries.end
        finally:
            os.close(descriptor)

    def _note(self, path: Path, why: str) -> None:
        if path not in self._damage:
            self._damage[path] = why
            logger.error("segment %s is damaged: %s; the rest of it is read", path, why, extra={"action": "damaged_segment", "segment": path.name})

    def _dropped(self, path: Path, end: int) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(descriptor).st_size
            if not _is_same(os.fstat(descriptor), path):
                return False
            if end > size and self._damage.get(path, "").startswith("it has"):  # what is left of it was read before it was cut short
                self._set_apart(path)
                return True
            last, damaged = _whole(descriptor, size)
            if last != end:
                return False
            if damaged:
                self._set_apart(path)
            else:
                path.unlink()
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(descriptor)

    def _set_apart(self, path: Path) -> None:
        target = self._root / _DAMAGED / path.parent.relative_to(self._root) / f"{path.name}{_SET_APART}"
        make_directories(target.parent)
        path.rename(target)
        sync_directory(target.parent)
        sync_directory(path.parent)
        self._damage.pop(path, None)
        logger.error("damaged segment %s was set apart as %s", path.name, target, extra={"action": "set_apart", "segment": path.name})

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

    def __init__(self, root: Path, stream: str, segment_bytes: int) -> None:
        self._root = root
        self._folder = root / stream
        self._notes = root / _DAMAGED / stream
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._name, self._path = "", self._folder
        self._size = 0

    def append(self, data: bytes, sync: bool) -> tuple[str, int]:
        with self._lock:
            if self._descriptor >= 0 and (gone := self._gone()):
                self._note(gone)
                self._leave()
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

    def _gone(self) -> str:
        """What somebody did to the open segment, so that nothing may be written there any more."""
        written = os.fstat(self._descriptor)
        if written.st_size != self._size:
            return f"it had {self._size} bytes, and somebody changed it to {written.st_size} while it was written"
        if written.st_nlink and _is_same(written, self._path):
            return ""
        return f"somebody removed or moved it while it was written, with {self._size} bytes of entries"

    def _note(self, why: str) -> None:
        """Tell the other processes; what the disk does not take is in the log at least."""
        why = f"{why}: what of them was not in a table yet is lost unless it is put back; later entries are in a new segment"
        logger.error("segment %s: %s", self._folder / self._name, why, extra={"action": "segment_gone", "segment": self._name})
        with suppress(OSError):
            self._make(self._notes)
            (self._notes / f"{self._name}{_GONE}").write_text(why)

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

    def _make(self, folder: Path) -> None:
        """Make a folder of the journal, also anew; a home that was moved away is not begun a second time."""
        if not self._root.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the home was removed or moved", str(self._root.parent))
        make_directories(folder)

    def _open(self) -> None:
        self._make(self._folder)
        for path in _segments(self._folder):
            _drop_empty(path)
        while True:
            self._name = f"{time.time_ns() // 1_000:016d}-{os.getpid()}-{secrets.token_hex(4)}.seg"
            path = self._folder / self._name
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same(os.fstat(descriptor), path):
                break
            os.close(descriptor)  # another process took the still empty segment for an abandoned one and dropped it
        self._descriptor, self._size, self._path = descriptor, 0, path
        sync_directory(self._folder)

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


class _Entries:
    """Whole entries of an open segment from `start`, together at most `max_bytes` of payload (the first one always).

    `end` is where the last of them ends, `damaged` where entries begin that are not what was written. Damage with nothing
    whole behind it is not passed: what follows it may be on its way.
    """

    def __init__(self, descriptor: int, start: int, size: int, max_bytes: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._piece = max_bytes + _HEADER.size
        self._data, self._base = b"", start
        self.payloads: list[bytes] = []
        self.damaged: list[int] = []
        self.end = start
        self._read(start, max_bytes)

    def _read(self, at: int, max_bytes: int) -> None:
        taken = 0
        while at + _HEADER.size <= self._size:
            length, length_crc, payload_crc = _HEADER.unpack(self._bytes(at, _HEADER.size))
            if zlib.crc32(_LENGTH.pack(length)) != length_crc:
                if self._is_zero(at):
                    return  # a power cut may leave a tail of zeros
                self.damaged.append(at)
                at = self._next_header(at + 1)
                continue
            end = at + _HEADER.size + length
            if end > self._size or (self.payloads and taken + length > max_bytes):
                return
            payload = self._bytes(at + _HEADER.size, length)
            if zlib.crc32(payload) == payload_crc:
                self.payloads.append(payload)
                taken += length
                self.end = end
            elif end == self._size and self._is_unwritten(at, end):
                return
            else:
                self.damaged.append(at)
            at = end

    def _bytes(self, at: int, count: int) -> bytes:
        if at < self._base or at + count > self._base + len(self._data):
            self._data, self._base = os.pread(self._descriptor, min(self._size - at, max(self._piece, count)), at), at
        return self._data[at - self._base : at - self._base + count]

    def _next_header(self, at: int) -> int:
        """Where the next whole entry begins, or the segment's size. Entries have less than 16 MB, so that a length ends with a zero byte."""
        while at + _HEADER.size <= self._size:
            piece = self._bytes(at, min(1_000_000, self._size - at))
            zero = piece.find(b"\0", 3)
            while 3 <= zero <= len(piece) - _HEADER.size + 3:
                if self._is_entry(at + zero - 3):
                    return at + zero - 3
                zero = piece.find(b"\0", zero + 1)
            at += max(1, len(piece) - _HEADER.size + 1)
        return self._size

    def _is_entry(self, at: int) -> bool:
        header = os.pread(self._descriptor, _HEADER.size, at)
        length, length_crc, payload_crc = _HEADER.unpack(header)
        if zlib.crc32(header[: _LENGTH.size]) != length_crc or at + _HEADER.size + length > self._size:
            return False
        return bool(zlib.crc32(os.pread(self._descriptor, length, at + _HEADER.size)) == payload_crc)

    def _is_zero(self, at: int) -> bool:
        while at < self._size:
            piece = os.pread(self._descriptor, 1_000_000, at)
            if piece.strip(b"\0"):
                return False
            at += len(piece)
        return True

    def _is_unwritten(self, at: int, end: int) -> bool:
        """Whether a power cut may have left the last entry so: pages of the file that were never written read as zeros."""
        return self._is_zero(max(at + _HEADER.size, (end - 1) // _PAGE * _PAGE))


def _whole(descriptor: int, size: int) -> tuple[int, bool]:
    """Where the last whole entry of a segment ends (what follows it in a segment that nobody holds is torn for ever), and whether it has damage."""
    end, damaged = 0, False
    while True:
        entries = _Entries(descriptor, end, size, 1_000_000)
        damaged = damaged or bool(entries.damaged)
        if not entries.payloads:
            return end, damaged
        end = entries.end


def _drop_empty(path: Path) -> None:
    """Remove a segment that a process left before it had written a whole entry."""
    with suppress(FileNotFoundError, BlockingIOError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first = _Entries(descriptor, 0, os.fstat(descriptor).st_size, 1)
            if _is_same(os.fstat(descriptor), path) and not first.payloads and not first.damaged:
                path.unlink()
        finally:
            os.close(descriptor)


def _is_same(opened: os.stat_result, path: Path) -> bool:
    """Whether the file that was opened still lies there."""
    try:
        return os.path.samestat(opened, path.stat())
    except FileNotFoundError:
        return False
