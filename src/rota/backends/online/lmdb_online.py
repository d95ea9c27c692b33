"""Online rows in LMDB: one memory-mapped file shared by every process of a home; reading is a look-up in mapped memory."""

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import cast

import lmdb

from rota.backends.shared.disk_errors import disk_errors
from rota.backends.shared.safe_names import check_keys, position_key
from rota.errors import Corrupt, Refused, Unavailable
from rota.ports.online import Merge

_NUMBER = struct.Struct(">q")
_MAX_READERS = 2_048


class LmdbOnline:
    """Online (port) in the directory `path`, on a local disk.

    `size_mb` is the largest size; the file is sparse and grows as needed. With `sync=False` an update survives kill -9 but
    a power cut may damage the file: delete the directory then and rebuild it from the offline tables. `sync=True` syncs
    every update (some milliseconds each). A process opens a store once and shares the object among its threads; after a
    fork the child must not use it (LMDB's rule), so it is refused there: start processes by spawn, or open after the fork.
    """

    def __init__(self, path: Path, *, size_mb: int = 4_096, sync: bool = False) -> None:
        self._path = path.resolve()
        self._size_mb = size_mb
        self._pid = os.getpid()
        with disk_errors("opening the online store", self._path), self._lmdb_errors():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._env = lmdb.open(
                str(self._path),
                map_size=size_mb * 1_048_576,
                max_dbs=2,
                max_readers=_MAX_READERS,
                max_spare_txns=64,  # finished read transactions are kept and renewed: no lock and no system call on a read
                readahead=False,
                sync=sync,
            )
            self._env.reader_check()  # forgets readers that were killed, whose snapshots would keep old pages alive
            self._rows = self._env.open_db(b"rows")
            self._positions = self._env.open_db(b"positions")

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        check_keys(keys)
        if os.getpid() != self._pid:
            self._refuse_after_fork()
        try:
            snapshot = self._env.begin(db=self._rows)
            try:
                return list(map(snapshot.get, keys))
            finally:
                snapshot.abort()
        except lmdb.Error as error:
            raise self._translated(error) from error

    def update(self, rows: Iterable[tuple[bytes, bytes]], merge: Merge, *, position: tuple[str, int] | None = None) -> bool:
        changes = list(rows)
        check_keys([key for key, _ in changes])
        # Keys are independent and the sort is stable: each key sees its values in order, and LMDB writes neighbours together.
        changes.sort(key=itemgetter(0))
        with self._writing() as writing:
            if position is not None:
                key = position_key(position[0])
                if position[1] <= _number(writing.get(key, db=self._positions)):
                    return False
                writing.put(key, _NUMBER.pack(position[1]), db=self._positions)
            get, put = cast("Callable[[bytes], bytes | None]", writing.get), writing.put
            for key, new in changes:
                put(key, merge(get(key), new))
        return True

    def position(self, stream: str) -> int:
        key = position_key(stream)
        self._refuse_after_fork()
        with self._lmdb_errors(), self._env.begin(db=self._positions) as snapshot:
            return _number(snapshot.get(key))

    def delete(self, prefix: bytes) -> int:
        deleted = 0
        with self._writing() as writing, writing.cursor(db=self._rows) as cursor:
            found = cursor.set_range(prefix) if prefix else cursor.first()
            while found and bytes(cursor.key()).startswith(prefix):
                found = cursor.delete() and bool(cursor.key())
                deleted += 1
        return deleted

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._env.close()

    @contextmanager
    def _writing(self) -> Iterator[lmdb.Transaction]:
        """The one write transaction, waited for; committed at the end, aborted by any error."""
        self._refuse_after_fork()
        with self._lmdb_errors(), self._env.begin(write=True, db=self._rows) as writing:
            yield writing

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
        if isinstance(error, (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)):
            return Corrupt(f"the online store {self._path} is damaged ({error}); delete it and rebuild it from the offline tables", **facts)
        if "already open" in str(error):
            return Refused(f"the online store {self._path} is already open in this process; share the one object", **facts)
        return Unavailable(f"the online store {self._path} failed: {error}; check its disk and who else uses it", **facts)


def _number(stored: bytes | memoryview | None) -> int:
    return -1 if stored is None else int(_NUMBER.unpack(stored)[0])
