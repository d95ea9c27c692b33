"""Online rows in LMDB: one memory-mapped file shared by every process of a home; reading is a look-up in mapped memory.

What is stored is derived from the offline tables and the journal. A file that is damaged or too short is therefore set aside, and an
empty store begun in its place, which who compares it with its source fills again.
"""

import errno
import logging
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import lmdb

from rota.backends.online import lmdb_file
from rota.backends.shared.disk_errors import disk_errors, unavailable
from rota.backends.shared.safe_names import check_keys, position_key
from rota.errors import Corrupt, Refused, Unavailable
from rota.ports.online import Merge, StoreReport

_log = logging.getLogger("rota.backends")
_NUMBER = struct.Struct(">q")
_MAX_READERS = 2_048
_NEARLY_FULL = 0.9
_DAMAGED = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A mapped file: which one it is, and its two databases."""

    env: lmdb.Environment
    rows: Any
    positions: Any
    file: tuple[int, int]


class LmdbOnline:
    """Online (port) in the directory `path`, on a local disk.

    `size_mb` is the largest size; the file is sparse and grows as needed. With `sync=False` an update survives kill -9 but
    a power cut may damage the file. `sync=True` syncs every update (some milliseconds each). A file that is cut off or damaged is moved to
    PATH.damaged, and an empty store begun; so is one that somebody removed or exchanged while it is open: the next write or `report`
    goes to what lies there now. A process opens a store once and shares the object among its threads; after a fork the child must not use
    it (LMDB's rule), so it is refused there: start processes by spawn, or open after the fork.
    """

    def __init__(self, path: Path, *, size_mb: int = 4_096, sync: bool = False) -> None:
        self._path = path.resolve()
        self._size_mb = size_mb
        self._sync = sync
        self._pid = os.getpid()
        self._opening = threading.Lock()
        self._setbacks = 0
        self._last_transaction = 0
        self._damage = ""
        self._opened = self._open()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        check_keys(keys)
        if os.getpid() != self._pid:
            self._refuse_after_fork()
        opened = self._opened
        try:
            snapshot = opened.env.begin(db=opened.rows)
            try:
                return list(map(snapshot.get, keys))
            finally:
                snapshot.abort()
        except lmdb.BadTxnError as error:  # a page that was read first is none, and LMDB gave the whole snapshot up
            raise self._translated(lmdb.CorruptedError(str(error))) from error
        except lmdb.Error as error:
            raise self._translated(error) from error

    def update(self, rows: Iterable[tuple[bytes, bytes]], merge: Merge, *, position: tuple[str, int] | None = None) -> bool:
        changes = list(rows)
        check_keys([key for key, _ in changes])
        # Keys are independent and the sort is stable: each key sees its values in order, and LMDB writes neighbours together.
        changes.sort(key=itemgetter(0))
        with self._writing() as (opened, writing):
            if position is not None:
                key = position_key(position[0])
                if position[1] <= _number(writing.get(key, db=opened.positions)):
                    return False
                writing.put(key, _NUMBER.pack(position[1]), db=opened.positions)
            get, put = cast("Callable[[bytes], bytes | None]", writing.get), writing.put
            for key, new in changes:
                put(key, merge(get(key), new))
        return True

    def position(self, stream: str) -> int:
        key = position_key(stream)
        self._refuse_after_fork()
        opened = self._current()
        with self._lmdb_errors(), opened.env.begin(db=opened.positions) as snapshot:
            return _number(snapshot.get(key))

    def delete(self, prefix: bytes) -> int:
        deleted = 0
        with self._writing() as (opened, writing), writing.cursor(db=opened.rows) as cursor:
            found = cursor.set_range(prefix) if prefix else cursor.first()
            while found and bytes(cursor.key()).startswith(prefix):
                found = cursor.delete() and bool(cursor.key())
                deleted += 1
        return deleted

    def report(self) -> StoreReport:
        self._refuse_after_fork()
        self._damage = self._damage or lmdb_file.fault(self._path)  # cut off while it is mapped: to touch what is missing would end this process
        opened = self._current()
        with self._lmdb_errors():
            info, page_bytes = opened.env.info(), opened.env.stat()["psize"]
        self._setbacks += info["last_txnid"] < self._last_transaction  # an older copy was written over the file
        self._last_transaction = info["last_txnid"]
        used = (info["last_pgno"] + 1) * page_bytes / (self._size_mb * 1_048_576)
        full = f"the online store {self._path} is {used:.0%} full; raise the setting online_size_mb and restart, or retire old versions of views"
        device, inode = opened.file
        return StoreReport(f"{device}:{inode}:{self._setbacks}", problem=full if used >= _NEARLY_FULL else "")

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._opened.env.close()

    def _open(self) -> _Opened:
        """The store as it lies there; one that is damaged is set aside first."""
        with disk_errors("opening the online store", self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with lmdb_file.one_opener(self._path):
                if damage := lmdb_file.fault(self._path) or (self._damage if self._opened_is_there() else ""):
                    self._set_aside(damage)
                self._damage = ""
                try:
                    return self._mapped()
                except lmdb.Error as error:
                    if not isinstance(error, _DAMAGED):
                        raise self._translated(error) from error
                    self._set_aside(str(error))
                with self._lmdb_errors():
                    return self._mapped()

    def _mapped(self) -> _Opened:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        env = lmdb.open(
            str(self._path),
            map_size=self._size_mb * 1_048_576,
            max_dbs=2,
            max_readers=_MAX_READERS,
            max_spare_txns=64,  # finished read transactions are kept and renewed: no lock and no system call on a read
            readahead=False,
            sync=self._sync,
        )
        env.reader_check()  # forgets readers that were killed, whose snapshots would keep old pages alive
        rows, positions = env.open_db(b"rows"), env.open_db(b"positions")
        self._last_transaction = env.info()["last_txnid"]
        return _Opened(env, rows, positions, self._file() or (0, 0))

    def _set_aside(self, damage: str) -> None:
        facts = {"action": "set_aside", "path": str(self._path)}
        aside = lmdb_file.set_aside(self._path)
        _log.warning("the online store was damaged (%s); it lies in %s now, and its rows are brought online anew", damage, aside, extra=facts)

    def _file(self) -> tuple[int, int] | None:
        """Device and inode of the file that lies there now."""
        try:
            found = os.stat(self._path / lmdb_file.DATA)  # noqa: PTH116 - half the time of Path.stat, on the way of each push
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _current(self) -> _Opened:
        """The store that lies there now: another one was put there, or all of it removed, or it proved damaged, once in its life."""
        opened = self._opened
        return opened if self._file() == opened.file and not self._damage else self._reopened(opened)

    def _opened_is_there(self) -> bool:
        """Whether what is open lies there still: if not, another process has set it aside already."""
        return "_opened" in self.__dict__ and self._file() == self._opened.file

    def _reopened(self, before: _Opened) -> _Opened:
        """Open again what lies there. The old mapping goes with its last reader: another thread may be reading in it."""
        with self._opening:
            if self._opened is before:
                reason = self._damage or "another file lies there"
                _log.warning("the online store is opened again: %s", reason, extra={"action": "reopen", "path": str(self._path)})
                self._opened = self._open()
            return self._opened

    @contextmanager
    def _writing(self) -> Iterator[tuple[_Opened, lmdb.Transaction]]:
        """The one write transaction, waited for; committed at the end, aborted by any error."""
        self._refuse_after_fork()
        opened = self._current()
        try:
            with self._lmdb_errors(), opened.env.begin(write=True, db=opened.rows) as writing:
                yield opened, writing
        except Unavailable as error:
            if isinstance(error.__cause__, lmdb.PanicError):  # LMDB gives a mapping up when the disk refuses the very end of a write
                self._reopened(opened)
            raise

    def _refuse_after_fork(self) -> None:
        if os.getpid() != self._pid:
            raise Refused(f"the online store {self._path} was opened before this process forked; open it after the fork", path=str(self._path))

    @contextmanager
    def _lmdb_errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: lmdb.Error) -> Exception:
        facts = {"path": str(self._path), "size_mb": self._size_mb}
        if isinstance(error, lmdb.MapFullError):
            message = f"the online store {self._path} is full at {self._size_mb} MB; raise the setting online_size_mb and restart, or delete old rows"
            return Unavailable(message, **facts)
        if isinstance(error, _DAMAGED):
            self._damage = str(error)
            message = f"the online store {self._path} is damaged ({error}); it is set aside with the next write, and its rows are brought online anew"
            return Corrupt(message, **facts)
        if "already open" in str(error):
            return Refused(f"the online store {self._path} is already open in this process; share the one object", **facts)
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            if os.strerror(number) in str(error):
                return unavailable(OSError(number, os.strerror(number)), "writing the online store", self._path)
        if os.strerror(errno.EIO) in str(error):  # how LMDB tells of a write of which the disk took a part only
            message = f"the online store {self._path} was not written: the disk is full, or it fails ({error}); free space there, then retry"
            return Unavailable(message, **facts)
        return Unavailable(f"the online store {self._path} failed: {error}; check its disk and who else uses it", **facts)


def _number(stored: bytes | memoryview | None) -> int:
    return -1 if stored is None else int(_NUMBER.unpack(stored)[0])
