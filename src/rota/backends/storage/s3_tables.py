"""Where Delta tables lie in a bucket: no locks there, so a commit is a conditional put, and a drop is one new object.

The first table of a name lies at PREFIX/<table>, the one after the k-th drop at PREFIX/<table>/_life-k. A drop puts the
object PREFIX/<table>/_dropped/k; from then on that life is over, for every process at once, and a writer that was in the
middle of it finds out before it acknowledges anything. What the life held is deleted afterwards.
"""

import logging
import secrets
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rota.backends.storage.delta_commits import LOG, commit_name
from rota.backends.storage.delta_places import Life
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.s3_blobs import S3Blobs
from rota.backends.storage.s3_bucket import Bucket, open_bucket
from rota.backends.storage.table_folders import DAMAGED, StoredFile, TableFolder
from rota.errors import RotaError

HOLD_LOOK_S = 1.0
"""How often a writer looks whether all are to wait, and so how long whoever asks for it waits before."""
SETTLED_S = 2.0
"""How long most commits take that began before."""
LONGEST_HOLD_S = 30.0
"""How long a writer waits at the most."""
logger = logging.getLogger("rota.storage")
_DROPPED, _LIFE = "_dropped", "_life-"
_HOLD, _HOLD_PAUSE_S = "_hold", 0.05


class BucketFolder:
    """A folder of a bucket. What the store has taken is durable."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self.scan_options: dict[str, Any] | None = bucket.scan_options

    def address(self, name: str) -> str:
        return self._bucket.url(f"{self._folder}/{name}")

    def store(self, write: Callable[[str], object]) -> tuple[str, int]:
        name = f"part-00000-{uuid.uuid4()}-c000.zstd.parquet"
        write(self.address(name))
        return name, self._bucket.size(f"{self._folder}/{name}")

    def damage(self, files: Mapping[str, int]) -> str:  # noqa: ARG002 - the port's form
        """Nothing: the store applies a request whole or not at all, and checks what it holds."""
        return ""

    def read(self, name: str) -> bytes | None:
        return self._bucket.read(f"{self._folder}/{name}")

    def create(self, name: str, data: bytes) -> bool:
        return self._bucket.create(f"{self._folder}/{name}", data)

    def replace(self, name: str, data: bytes) -> None:
        self._bucket.write(f"{self._folder}/{name}", data)

    def settle(self, names: Sequence[str]) -> None:
        """Nothing to do: a request that was answered has been carried out."""

    def files(self, within: str = "") -> list[StoredFile]:
        objects = self._bucket.objects(f"{self._folder}/{within}".rstrip("/"))
        return [StoredFile(path.removeprefix(f"{self._folder}/"), size, written_us) for path, size, written_us in objects]

    def delete(self, names: Sequence[str]) -> None:
        if names:
            self._bucket.delete(*(f"{self._folder}/{name}" for name in names))

    def set_aside(self, name: str) -> None:
        data = self._bucket.read(f"{self._folder}/{name}")
        if data is not None:
            self._bucket.write(f"{self._folder}/{DAMAGED}/{name.rpartition('/')[2]}", data)
            self._bucket.delete(f"{self._folder}/{name}")


class S3Tables:
    """A place (see `delta_places`) in an S3-compatible store that honours If-None-Match, as AWS, MinIO and Ceph do."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lives: dict[str, int] = {}
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._hold = _Hold(bucket)
        self.options: Mapping[str, str] | None = bucket.options
        self.scan_options: dict[str, Any] | None = bucket.scan_options

    def __str__(self) -> str:
        return str(self._bucket)

    @contextmanager
    def turn(self, table: str) -> Iterator[None]:
        """The threads of one process need not run into each other; other processes are met at the commit, or hold all back for a moment."""
        with self._turns[table]:
            self._hold.wait()
            yield

    def held_back(self) -> AbstractContextManager[None]:
        """A context at whose begin the writers of all processes were told to wait; one that was in the middle of a commit may still make it."""
        return self._hold.placed()

    def errors(self, doing: str) -> AbstractContextManager[None]:
        return self._bucket.errors(doing)

    def failed(self, table: str, error: BaseException) -> RotaError:
        return self._bucket.translated(f"work on table {table!r}", error)

    def life(self, table: str) -> Life:
        number = self._lives.get(table)
        if number is None:
            ended = [int(path.rpartition("/")[2]) for path in self._bucket.paths(f"{table}/{_DROPPED}")]
            number = max(ended, default=-1) + 1
        else:
            while self._bucket.has(_end_of(table, number)):
                number += 1
        self._lives[table] = number
        return Life(self._bucket.url(_folder(table, number)), number)

    def has_commit(self, life: Life, version: int) -> bool:
        return self._bucket.has(f"{self._path(life.uri)}/{commit_name(version)}")

    def folder(self, life: Life) -> TableFolder:
        return BucketFolder(self._bucket, self._path(life.uri))

    def drop(self, table: str) -> None:
        life = self.life(table)
        if self.has_commit(life, 0):
            self._bucket.write(_end_of(table, self._lives[table]), b"")
            life = self.life(table)
        self._sweep(table, self._lives[table])

    def tables(self) -> Iterator[str]:
        yield from self._tables_in("")

    def _tables_in(self, folder: str) -> Iterator[str]:
        for path in self._bucket.level(folder)[0]:
            name = path.rpartition("/")[2]
            if name.startswith("_"):
                continue
            if self.has_commit(self.life(path), 0):
                yield path
            yield from self._tables_in(path)

    def _sweep(self, table: str, current: int) -> None:
        """Delete what ended lives left, also what a killed drop did."""
        folders, objects = self._bucket.level(table)
        if current > 0:
            folders = [path for path in folders if path.endswith(f"/{LOG}") or _is_ended(path, current)]
            left = [path for path in objects if path.endswith(".parquet")]
            for folder in folders:
                left.extend(self._bucket.paths(folder))
            if left:
                self._bucket.delete(*left)

    def _path(self, uri: str) -> str:
        return uri.removeprefix(self._bucket.url() + "/")


class _Hold:
    """An object below the tables that asks writers to wait, so that a busy platform has a moment at which nothing is written.

    Nothing relies on it: whoever placed it compares what it looked at. A writer waits for one hold once, for the time that its own clock
    counts, so a holder that was killed is waited for no longer, and clocks that differ do no harm.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._looked_s = -HOLD_LOOK_S
        self._over: bytes = b""

    def wait(self) -> None:
        """Return when there is no hold, or the one there is has lasted for too long. It is looked for once in HOLD_LOOK_S."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_s < HOLD_LOOK_S:
                return
            until_s = now_s + LONGEST_HOLD_S
            while (name := self._bucket.read(_HOLD)) not in (None, self._over):
                if time.monotonic() >= until_s:
                    self._over = name or b""
                    logger.warning("writers were asked to wait for longer than %g s and go on", LONGEST_HOLD_S, extra={"action": "hold_over"})
                    break
                time.sleep(_HOLD_PAUSE_S)
            self._looked_s = time.monotonic()

    @contextmanager
    def placed(self) -> Iterator[None]:
        self._bucket.write(_HOLD, secrets.token_hex(16).encode())
        try:
            time.sleep(HOLD_LOOK_S + SETTLED_S)  # until every writer has looked, and what was under way is done
            yield
        finally:
            self._bucket.delete(_HOLD)


def _folder(table: str, number: int) -> str:
    return table if number == 0 else f"{table}/{_LIFE}{number}"


def _end_of(table: str, number: int) -> str:
    return f"{table}/{_DROPPED}/{number:08d}"


def _is_ended(path: str, current: int) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(_LIFE) and int(name.removeprefix(_LIFE)) < current


def open_storage(url: str) -> tuple[S3Blobs, DeltaTables]:
    """The blobs below PREFIX/blobs and the tables below PREFIX/tables of an address s3://BUCKET/PREFIX.

    Makes no request, so an unreachable store is noticed at its first use.
    """
    bucket = open_bucket(url)
    return S3Blobs(bucket.within("blobs")), DeltaTables(S3Tables(bucket.within("tables")))
