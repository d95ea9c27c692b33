"""Where Delta tables lie, and what a place must offer so that writers of one table cannot hurt each other."""

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties

from rota.backends.shared.disk_errors import disk_errors
from rota.errors import RotaError, Unavailable

LOG = "_delta_log"
CONFIGURATION = {
    # A checkpoint each 20 commits keeps opening a table at some 5 ms; without one it grew to 100 ms in 300 commits.
    "delta.checkpointInterval": "20",
    # Versions stay readable for ever: datasets and model versions name them.
    "delta.enableExpiredLogCleanup": "false",
}
AFTER_COMMIT = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
_COMMIT = re.compile(r"\d{20}\.(json|checkpoint\..*)")
"""A file that makes a log; one that a killed writer was about to put in place has another name."""
_LOCK = "_rota.lock"


@dataclass(frozen=True, slots=True)
class Life:
    """A table from its creation until it is dropped; the next table of that name has another life, even at the same address."""

    uri: str
    token: object
    """What tells this life from others; None where there is certainly no table."""


class Place(Protocol):
    """A root below which tables lie, each at the address of its current life."""

    options: Mapping[str, str] | None
    """What deltalake needs to open addresses of this place."""
    scan_options: dict[str, Any] | None
    """What polars needs."""

    def turn(self, table: str) -> AbstractContextManager[object]:
        """Hold back the other writers that this place can hold back: the rest of a writer's safety is the commit itself."""
        ...

    def errors(self, doing: str) -> AbstractContextManager[None]:
        """Translate the place's own errors."""
        ...

    def failed(self, table: str, error: Exception) -> RotaError:
        """What to raise when deltalake failed with the table."""
        ...

    def life(self, table: str) -> Life:
        """The table's current life, be there a table or not."""
        ...

    def has_commit(self, life: Life, version: int) -> bool: ...

    def compact(self, delta: DeltaTable) -> None:
        """Rewrite small files in one commit; may raise deltalake's `CommitFailedError` when other writers were faster."""
        ...

    def drop(self, table: str) -> None:
        """End the table's life in one step, then remove what it held."""
        ...

    def tables(self) -> Iterator[str]: ...


class Directory:
    """Tables in directories ROOT/<table>; writers of one table take turns by a file lock, which a killed holder gives back.

    deltalake 1.6 needs that: two compactions at once both succeed, and the rows are then there twice. Readers take no lock.
    """

    options: Mapping[str, str] | None = None
    scan_options: dict[str, Any] | None = None

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        with disk_errors("opening the tables", self._root):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __str__(self) -> str:
        return str(self._root)

    @contextmanager
    def turn(self, table: str) -> Iterator[None]:
        path = self._root / table
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def errors(self, doing: str) -> AbstractContextManager[None]:
        return disk_errors(doing, self._root)

    def failed(self, table: str, error: Exception) -> RotaError:
        hint = "check the disk's free space and the table's files"
        return Unavailable(f"table {table!r}: the Delta engine failed: {error}; {hint}", table=table)

    def life(self, table: str) -> Life:
        path = self._root / table
        try:
            first = (path / LOG / f"{0:020d}.json").stat()
        except FileNotFoundError:
            return Life(str(path), "foreign" if (path / LOG).is_dir() else None)
        return Life(str(path), (first.st_ino, first.st_mtime_ns))

    def has_commit(self, life: Life, version: int) -> bool:
        return Path(life.uri, LOG, f"{version:020d}.json").exists()

    def compact(self, delta: DeltaTable) -> None:
        delta.optimize.compact(post_commithook_properties=AFTER_COMMIT, commit_properties=CommitProperties(max_commit_retries=0))

    def drop(self, table: str) -> None:
        path = self._root / table
        if not path.is_dir():
            return
        with self.turn(table):
            # The log goes first, in one step: without it there is no table, whatever else a kill leaves lying about.
            with suppress(FileNotFoundError):
                (path / LOG).rename(path / f"_dropped-{uuid.uuid4().hex}")
            for left in path.iterdir():
                if left.suffix == ".parquet":
                    left.unlink()
                elif left.name.startswith("_dropped-"):
                    shutil.rmtree(left)

    def tables(self) -> Iterator[str]:
        for folder, subfolders, _ in os.walk(self._root):
            if LOG in subfolders and any(_COMMIT.fullmatch(path.name) for path in Path(folder, LOG).iterdir()):
                yield Path(folder).relative_to(self._root).as_posix()
            subfolders[:] = [name for name in subfolders if not name.startswith("_")]
