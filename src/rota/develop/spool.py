"""The spool: a crash-safe buffer of a run's metric points between `log_metric` and the tracking store.

A spool is a folder of one process and one run:

    owner             locked while its process lives: 8 bytes last sign of life, then the header (a line of JSON)
    names             metric names, a JSON text a line; a record names its metric by the line's number
    end               how the run ended (JSON), written when its block is left
    00000001.segment  records of 32 bytes in a memory-mapped file: value, step, moment, number of the name, commit word

A record is written by one copy into mapped memory, no lock and no system call, and its commit word (place + 1) last: a process
that is killed in the middle leaves a record without it, which is not read. Mapped memory belongs to the kernel, so it survives
kill -9; a power cut may take what was not stored yet. Segments are allocated before they are mapped, so that a full disk is an
error of the call that needs a new one, never a SIGBUS. A change of the format raises VERSION, and `read_owner` refuses what it does not know.
"""

import errno
import fcntl
import json
import mmap
import os
import shutil
import struct
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rota.errors import Corrupt, InvalidInput, Refused, Unavailable
from rota.records.record import encode
from rota.records.time import Micros
from rota.records.tracking import MAX_KEY, MetricPoint

VERSION = 1
FIRST, LARGEST = 1_024, 65_536
"""Records of the first segment of a spool, and of every one from the fourth on (2 MB)."""
MOST_SEGMENTS = 64
"""Segments that may wait to be stored (about four million points, 128 MB); then `log_metric` waits."""
WAIT_S = 60.0
CHUNK = 16_384
"""Points given to the tracking store at once."""
VOID = 2**32 - 1
"""The name of a place that was taken for a value that could not be written."""
_RECORD = struct.Struct("<dqqII")
_RECORDS = np.dtype([("value", "<f8"), ("step", "<i8"), ("at", "<i8"), ("name", "<u4"), ("commit", "<u4")])
_ALIVE = struct.Struct("<q")
_PACK = _RECORD.pack_into
OWNER, SUFFIX = "owner", ".segment"
NEW, GONE = ".new-", ".gone-"
"""How names of folders begin that are not yet, or no longer, a spool."""


class Header(NamedTuple):
    """`per_us`: units of a point's moment in a microsecond. `ends`: whether the run ends with this process; a forked child only adds to it."""

    run: str
    per_us: int
    ends: bool


@dataclass(slots=True, eq=False)
class _Segment:
    path: Path
    capacity: int
    memory: Any
    take: Callable[[], int] = field(default_factory=lambda: count().__next__)
    stored: int = 0
    hole: int = -1
    retired: bool = False


def _no_segment() -> _Segment:
    """What a spool begins and ends with: there is no room in it."""
    return _Segment(Path(), 0, None, retired=True)


class Spool:
    """The writing half. `append` may be called by any thread, and after a fork by the child, which gets a folder of its own.

    `full` is called when `append` has to wait for room, `forked` when a child logs its first point.
    """

    def __init__(self, home: Path, header: Header, now: Callable[[], int], *, full: Callable[[], None], forked: Callable[[], None]) -> None:
        self._home = home
        self._header = header
        self._now = now
        self._full = full
        self._forked = forked
        self._lock = threading.Condition()
        self._numbers: dict[str, int] = {}
        self._segments: list[_Segment] = []
        self._segment = _no_segment()
        self._made = 0
        self._refuses = ""
        self._moved = False
        self.folder, self._owner = _settled(home, header)
        _watched().add(self)

    def append(self, name: str, value: Any, step: Any = 0) -> None:
        """Keep a point. It survives kill -9 of this process once this returns."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbered(name)
        segment = self._segment
        place = segment.take()
        try:
            if place < segment.capacity:
                _PACK(segment.memory, place * 32, value, step, self._now(), number, place + 1)
                if not segment.retired:  # else it was read for the last time, perhaps before this point: once more, equal points are one
                    return
        except (struct.error, TypeError, ValueError, OverflowError) as error:
            if not segment.retired:
                _PACK(segment.memory, place * 32, 0.0, 0, 0, VOID, place + 1)
                raise _unfit(name, value, step) from error
        self._roll(segment)
        self.append(name, value, step)

    def pending(self) -> Iterator[list[MetricPoint]]:
        """Points that are not stored yet, in pieces; asking for the next piece says that the one before is stored.

        One consumer at a time. All that was appended before is contained.
        """
        with self._lock:
            segments = list(self._segments)
        for segment in segments:
            segment.retired = segment.retired or segment is not self._segment or segment.hole == segment.stored
            yield from self._unstored(segment)
            if segment.retired:
                self._drop(segment)

    def alive(self, now_us: Micros) -> None:
        """Leave a sign of life: the moment at which a killed run is said to have ended."""
        with self._lock:
            if self._owner >= 0:
                os.pwrite(self._owner, _ALIVE.pack(now_us), 0)

    def ending(self, status: str, ended_us: Micros) -> None:
        """Take no more points, and note how the run ended in case that this process dies before all is stored."""
        with self._lock:
            self._refuses = status
            self._segment.retired = True
            self._segment = _no_segment()
            if self._owner < 0:
                return
            with suppress(OSError):  # on a full disk this is only not noted
                (self.folder / "end").write_bytes(encode({"status": status, "ended_us": ended_us}))

    def close(self, *, remove: bool) -> None:
        """Let go of everything. What is not removed is found by `drain`, which is free to take it from now on."""
        with self._lock:
            self._refuses = self._refuses or "ended"
            mine = self._owner >= 0
            if remove and mine:
                discard(self.folder)
            self._let_go()

    def after_fork(self) -> None:
        """In a child: what is open is the parent's, and its lock must be let go of, or the parent's death would not be noticed."""
        self._lock = threading.Condition()
        if not self._refuses:
            self._let_go()
            self._header = self._header._replace(ends=False)
            self._numbers = {}
            self._moved = True

    def _let_go(self) -> None:
        for segment in self._segments:
            segment.retired = True
            segment.memory.close()
        self._segment, self._segments = _no_segment(), []
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    def _numbered(self, name: str) -> int:
        if not isinstance(name, str) or not name or len(name) > MAX_KEY or not name.isprintable():
            raise InvalidInput(f"{name!r} cannot name a metric; use 1-{MAX_KEY} printable characters", name=name)
        with self._lock:
            self._arrive()
            if name not in self._numbers:
                try:
                    _add_line(self.folder / "names", encode(name))
                except OSError as error:
                    raise _no_room(self.folder, error) from error
                self._numbers[name] = len(self._numbers)
            return self._numbers[name]

    def _arrive(self) -> None:
        """Refuse what comes too late; give a forked child its own folder."""
        if self._refuses:
            raise Refused(f"run {self._header.run!r} has {self._refuses} and takes no more values; log inside its block", run=self._header.run)
        if self._moved:
            self.folder, self._owner = _settled(self._home, self._header)
            self._made = 0
            self._moved = False
            self._forked()

    def _roll(self, full: _Segment) -> None:
        """Replace a segment that is full or retired by a new one, unless another thread did."""
        with self._lock:
            self._arrive()
            if self._segment is full and len(self._segments) >= MOST_SEGMENTS:
                self._await_room(full)
            if self._segment is full:
                try:
                    self._segment = _new_segment(self.folder / f"{self._made + 1:08d}{SUFFIX}", min(FIRST * 4 ** min(self._made, 9), LARGEST))
                except OSError as error:
                    raise _no_room(self.folder, error) from error
                self._made += 1
                self._segments.append(self._segment)

    def _await_room(self, full: _Segment) -> None:
        self._full()
        if not self._lock.wait_for(lambda: len(self._segments) < MOST_SEGMENTS or self._segment is not full, WAIT_S):
            raise Unavailable(
                f"{MOST_SEGMENTS} segments of run {self._header.run!r} wait in {self.folder} and none was stored within {WAIT_S:g} s; "
                "nothing that was logged is lost: look at the metadata store, then log again",
                folder=str(self.folder),
            )

    def _unstored(self, segment: _Segment) -> Iterator[list[MetricPoint]]:
        """The written places behind those that are stored. A place taken by a thread that has not written yet is looked at again."""
        at, hole, last = segment.stored, -1, -1
        while at < segment.capacity:
            rows, written = unpacked(segment.memory[at * 32 : min(at + CHUNK, segment.capacity) * 32], at)
            if not written.any():
                break
            if hole < 0 and not written.all():
                hole = at + int(np.argmin(written))
            last = at + int(np.flatnonzero(written)[-1])
            yield points(rows[written], list(self._numbers), self._header.per_us)
            at += len(rows)
            segment.stored = hole if hole >= 0 else at
        segment.hole = hole if hole < last else -1

    def _drop(self, segment: _Segment) -> None:
        with self._lock:
            if segment in self._segments:
                self._segments.remove(segment)
                segment.memory.close()
                segment.path.unlink(missing_ok=True)
            if self._segment is segment:
                self._segment = _no_segment()
            self._lock.notify_all()


def unpacked(data: bytes, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The records of a piece of a segment that begins with place `first`, and which of them were written to their end."""
    rows = np.frombuffer(data, _RECORDS, count=len(data) // _RECORD.size)
    return rows, rows["commit"] == np.arange(first + 1, first + 1 + len(rows))


def points(rows: np.ndarray, names: Sequence[str], per_us: int) -> list[MetricPoint]:
    """Records as metric points."""
    return [MetricPoint(names[number], value, step, at // per_us) for value, step, at, number, _ in rows.tolist() if number != VOID]


def discard(folder: Path) -> None:
    """Remove a spool. Its name changes first: a removal that is killed leaves nothing that looks like a spool."""
    gone = folder.with_name(f"{GONE}{folder.name}")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def read_owner(descriptor: int) -> tuple[Micros, Header]:
    """The last sign of life and the header of an owner file; raises `Corrupt` when it is none."""
    data = os.pread(descriptor, 65_536, 0)
    try:
        found = json.loads(data[_ALIVE.size :])
        if found["version"] != VERSION:
            raise Corrupt(f"a spool has format {found['version']}; this Rota reads {VERSION}", version=found["version"])
        return _ALIVE.unpack_from(data)[0], Header(str(found["run"]), int(found["per_us"]), bool(found["ends"]))
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise Corrupt(f"the owner file of a spool cannot be read: {error}") from error


def _settled(home: Path, header: Header) -> tuple[Path, int]:
    """A new folder with its owner file locked; it gets its name last, so nobody takes it for one whose process is gone."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=NEW, dir=home))
        owner = os.open(made / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(owner, _ALIVE.pack(0) + encode({"version": VERSION, **header._asdict()}))
        return made.rename(home / f"{header.run}.{made.name.removeprefix(NEW)}"), owner
    except OSError as error:
        raise _no_room(home, error) from error


def _new_segment(path: Path, capacity: int) -> _Segment:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, capacity * _RECORD.size)
        return _Segment(path, capacity, mmap.mmap(descriptor, capacity * _RECORD.size))
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _add_line(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line + b"\n") <= len(line):
            os.ftruncate(descriptor, size)  # half a line would spoil the next one
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _unfit(name: str, value: object, step: object) -> InvalidInput:
    try:
        struct.pack("d", value)
    except (struct.error, TypeError, ValueError, OverflowError) as error:
        return InvalidInput(f"metric {name!r}: {value!r} is no number ({error})", metric=name)
    return InvalidInput(f"metric {name!r}: step {step!r} is no whole number of 64 bits", metric=name, step=step)


def _no_room(folder: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the spool in {folder} cannot grow: {error}; make room on that disk. What was logged before is kept", folder=str(folder))


@cache
def _watched() -> "weakref.WeakSet[Spool]":
    """Every living spool of this process, told when it finds itself in a forked child."""
    living: weakref.WeakSet[Spool] = weakref.WeakSet()

    def tell() -> None:
        for spool in list(living):
            spool.after_fork()

    os.register_at_fork(after_in_child=tell)
    return living
